"use strict";
// The page is whole without this: it only filters claims, and opens what is folded before printing.
(() => {
  const text = document.getElementById("filter-text");
  const status = document.getElementById("filter-status");
  const count = document.getElementById("filter-count");
  const claims = [...document.querySelectorAll("article.claim")];
  if (!text || !status || !count) return;
  const words = new Map(claims.map((claim) => [claim, claim.textContent.toLowerCase()]));
  const filter = () => {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const claim of claims) {
      const fits = (!status.value || claim.dataset.status === status.value) && wanted.every((word) => words.get(claim).includes(word));
      claim.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${claims.length} claims shown`;
  };
  text.addEventListener("input", filter);
  status.addEventListener("change", filter);
  document.getElementById("filter").hidden = false;
  filter();
  // A link to a claim that is filtered away shows it again.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const claim = target && target.closest("article.claim");
    if (claim && claim.hidden) { text.value = ""; status.value = ""; filter(); target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => { for (const folded of document.querySelectorAll("details")) folded.open = true; });
})();
