"""The dashboard: one page that needs nothing else, looked at in a real browser where there is one."""

from __future__ import annotations

import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ledgers import DIRECTION, QUOTE, SHA, snapshot, supported_records

from lpk.core.evidence.audit import Audit, Examined
from lpk.core.evidence.contracts import Finding
from lpk.core.evidence.dashboard import page
from lpk.core.evidence.dashboard.page import anchor, diffed, web
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.prisma import flow
from lpk.core.evidence.records import (
    Check,
    Claim,
    Disagreement,
    Document,
    PaperVersion,
    Record,
    Replication,
    Row,
    Screening,
    Verification,
    Withdrawal,
)

HOSTILE = "<script>alert('no')</script>\"><img src=x onerror=alert(1)>"
POLICY = Policy.model_validate({})


def picture(width: int = 600, height: int = 200) -> bytes:
    """A PNG: white, with a yellow band, as a page with a marked quote would be."""
    line = b"\0" + b"\xff\xff\xff" * width
    band = b"\0" + b"\xff\xe6\x00" * width
    data = b"".join(band if 80 < row < 110 else line for row in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def rich_records() -> list[Record]:
    """Every status, a superseded paper, an altered quote, replications of all four verdicts, hostile names."""
    records = supported_records()

    def add(number: int, text: str, row: dict[str, Any] | None, found: dict[str, Any] | None, **claim: Any) -> None:
        records.append(Claim.model_validate({"id": f"c-{number}", "text": text, **claim}))
        if row is not None:
            said = {"id": f"r-{number}", "claim": f"c-{number}", "paper": "arxiv:2401.00001", "version": "v1"}
            records.append(Row.model_validate({**said, "quote": QUOTE, **row}))
        if found is not None:
            values = {"row": f"r-{number}", "verdict": "verified", "document": SHA, "page": 3, "section": "4"}
            records.append(Verification.model_validate({**values, "checker": "lpk 0", "policy": POLICY.hash, **found}))

    add(2, "A candidate claim without a row.", None, None)
    add(3, "Its words were changed.", {"quote": "Removing 5 of 30 layers raises it."}, {
        "verdict": "altered", "reason": "a number differs",
        "diff": "Removing [-5-]{+4+} of 30 layers raises the perplexity", "page": None, "section": "",
    })  # fmt: skip
    add(4, "It is from another paper.", {}, {
        "verdict": "misattributed", "found_in": "arxiv:2402.00002", "reason": "found in arxiv:2402.00002",
    })  # fmt: skip
    add(5, "The claim says 53.", {}, {"disagreements": [Disagreement(what="number", claim="53", quote="52.1")]})
    add(6, "From the abstract alone.", {"basis": "abstract"}, None)
    add(7, "From a scan.", {}, {"verdict": "unverifiable", "reason": "the file has no text layer"})
    add(8, "Spoken against.", {"relation": "contradicts"}, {})
    add(9, "Not looked up.", {}, None)
    add(10, "Taken back.", {}, {})
    records += [
        Withdrawal(what="c-10", reason="stated twice"),
        PaperVersion(
            paper="arxiv:2402.00002", version="v1", title=f"Layers and {HOSTILE}", authors=("Grace Hopper", "A. Other"),
            abstract="We find that the objective matters more than the search.", url="javascript:alert(1)",
        ),
        PaperVersion(
            paper="arxiv:2402.00002", version="v2", title="Layers, reconsidered", authors=("Grace Hopper",),
            abstract="We find that the calibration matters about as much as the search.", published="2024-02-02",
            url="https://arxiv.org/abs/2402.00002v2",
        ),
        Screening(paper="arxiv:2402.00002", decision="include", reason="in-scope", note=HOSTILE),
        Document(
            paper="arxiv:2402.00002", version="v1", sha256="cd" * 32, file="x.pdf", media="application/pdf", pages=9,
            text_sha256=SHA, reader="lpk/pdf 1",
        ),
        PaperVersion(paper="arxiv:2403.00003", version="v1", title="Signal modulation", withdrawn="an error in Lemma 2"),
        Screening(paper="arxiv:2403.00003", decision="exclude", reason="not-llm"),
        PaperVersion(paper="arxiv:2404.00004", version="v1", title="Nobody has decided about this one"),
    ]  # fmt: skip
    add(11, "The objective matters more than the search.", {"paper": "arxiv:2402.00002"}, {"document": "cd" * 32},
        questions=("RQ1",), check=Check(expression='variance_share("objective") > variance_share("searcher")'))  # fmt: skip
    for verdict, effect in (("replicated", 0.4), ("not replicated", -0.2), ("inconclusive", 0.1)):
        records.append(
            Replication(
                claim="c-11",
                expression="x > 0",
                study=SHA,
                title="A study",
                models=("demo",),
                verdict=verdict,
                effect=effect,
                low=effect - 0.1,
                high=effect + 0.1,
                count=12,
                needed=40 if verdict == "inconclusive" else None,
            )
        )
    records.append(
        Replication(claim="c-11", expression="x > 0", study=SHA, verdict="out of scope", reason="no Qwen in it")
    )
    return records


def audit_of(ledger: Snapshot, *, blocked: bool = True) -> Audit:
    found = (Finding(f"its quote is altered: {HOSTILE}", ("r-3", "c-3")), Finding("a number differs", ("r-5",)))
    return Audit(
        ledger.policy.hash,
        tuple(ledger.heads),
        (
            Examined("R-ID-1", "lpk/r-id-1", 1, "error", "Ids are well formed", "Correct the id", 11, ()),
            Examined(
                "R-QUOTE-1", "lpk/r-quote-1", 3, "error", "Quotes are in the paper", "Quote what is printed", 9,
                found if blocked else (),
            ),
            Examined("R-VER-1", "lpk/r-ver-1", 2, "warning", "Rows quote the latest version", "Read it", 1, ()),
            Examined("R-COVER-2", "lpk/r-cover-2", 5, "info", "What is cited is screened", "Collect it", 0, ()),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def html() -> str:
    ledger = snapshot(rich_records())
    return page(ledger, audit_of(ledger), {"r-1": picture(), "r-3": picture()})


class Page(HTMLParser):
    """What a page would load, its ids, and which of its tags are left open."""

    VOID = frozenset({"meta", "link", "path", "rect", "br", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.headings: list[int] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data", "srcset"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_well_formed_and_loads_nothing(html: str) -> None:
    parsed = Page(html)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.handlers == []
    inside = [load[1:] for load in parsed.loads if load.startswith("#")]
    assert set(inside) <= set(parsed.ids)
    outside = [load for load in parsed.loads if not load.startswith(("#", "data:"))]
    assert set(outside) == {"https://arxiv.org/abs/2401.00001v1", "https://arxiv.org/abs/2402.00002v2"}
    assert not re.search(r"@import|url\(", html)
    steps = zip(parsed.headings, parsed.headings[1:], strict=False)
    assert parsed.headings[0] == 1
    assert all(after - before <= 1 for before, after in steps)


def test_what_is_not_ours_is_escaped(html: str) -> None:
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "javascript:" not in html
    assert "&lt;script&gt;alert(&#39;no&#39;)" in html


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://arxiv.org/abs/1", True),
        ("javascript:alert(1)", False),
        (" https://x", False),
        ("data:text/html,x", False),
    ],
)
def test_only_the_web_is_linked(address: str, kept: bool) -> None:
    assert bool(web(address)) is kept


def test_a_diff_in_pieces() -> None:
    assert list(diffed("Removing [-5-]{+4+} of 30")) == [
        ("same", "Removing "), ("del", "5"), ("ins", "4"), ("same", " of 30"),
    ]  # fmt: skip


def test_every_status_and_verdict_is_shown(html: str) -> None:
    for status in (
        "supported", "candidate", "rejected", "located", "preliminary-linked", "unverifiable", "contradicted", "linked",
        "withdrawn", "stale",
    ):  # fmt: skip
        assert f'data-status="{status}"' in html, status
    for verdict in ("replicated", "not replicated", "inconclusive", "out of scope"):
        assert f">{verdict}</span>" in html, verdict
    assert "About 40 observations would decide" in html
    assert "<del>5</del><ins>4</ins>" in html
    assert html.count("data:image/png;base64,") == 2


def test_the_flow_adds_up() -> None:
    counted = flow(snapshot(rich_records())).counts
    assert counted["identified"] == counted["undescribed"] + counted["waiting"] + counted["screened"] == 4
    assert counted["screened"] == counted["included"] + sum(counted["excluded"].values()) == 3
    assert counted["included"] == counted["withdrawn"] + counted["unread"] + counted["read"] == 2
    assert counted["excluded"] == {"not-llm": 1}
    assert (counted["waiting"], counted["read"]) == (1, 2)


def test_the_same_ledger_gives_the_same_bytes(html: str) -> None:
    ledger = snapshot(rich_records())
    assert page(ledger, audit_of(ledger), {"r-1": picture(), "r-3": picture()}) == html


def test_an_empty_ledger_has_a_page() -> None:
    ledger = snapshot([])
    empty = page(ledger, Audit(ledger.policy.hash, (), ()))
    assert "There are no claims yet" in empty
    assert "nothing passes over zero items" in empty
    assert Page(empty).open == []


def test_an_open_gate_says_so() -> None:
    ledger = snapshot(supported_records())
    assert 'class="gate open"' in page(ledger, audit_of(ledger, blocked=False))


# ---------------------------------------------------------------------------------------------------------------------
# In a browser
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser: Any, html: str, tmp_path: Path) -> Any:
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    browser.set_window_size(1280, 900)
    browser.get(f"file://{tmp_path}/index.html")
    return browser


def _visible(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('article.claim:not([hidden])')].map(a => a.id)"
    return list(browser.execute_script(script))


def test_it_says_nothing_to_the_console_and_runs_nothing_foreign(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.execute_script("return document.querySelectorAll('script').length") == 1


def test_claims_are_filtered_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    everything = _visible(opened)
    assert len(everything) == 11
    field = opened.find_element(By.ID, "filter-text")
    field.send_keys("objective search")
    assert _visible(opened) == ["id-c-11"]
    assert opened.find_element(By.ID, "filter-count").text == "1 of 11 claims shown"
    field.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    Select(opened.find_element(By.ID, "filter-status")).select_by_value("rejected")
    assert _visible(opened) == ["id-c-3", "id-c-4"]
    opened.execute_script("location.hash = 'id-c-1'")
    opened.implicitly_wait(1)
    assert _visible(opened) == everything


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_scrolls_sideways(opened: Any, width: int) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_printing_opens_what_is_folded(opened: Any) -> None:
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    assert len(opened.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 20_000


def test_contrast_and_names(opened: Any) -> None:
    """Text of every status has at least 4.5:1 against the page, light and dark (WCAG 2.2, 1.4.3)."""
    script = """
      const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const l = (c) => { const [r, g, b] = rgb(c).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
        return .2126 * r + .7152 * g + .0722 * b };
      const page = l(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll('.status, .soft, .note, .id, a, td span')].map(e => {
        const t = l(getComputedStyle(e).color); return (Math.max(t, page) + .05) / (Math.min(t, page) + .05) })"""
    for scheme in ("light", "dark"):
        opened.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        assert min(opened.execute_script(script)) >= 4.5, scheme
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_many_claims_stay_usable(browser: Any, tmp_path: Path) -> None:
    records = supported_records()
    for number in range(300):
        records.append(Claim(id=f"c-m{number}", text=f"Claim {number} about {number % 7} layers."))
        records.append(Row(id=f"r-m{number}", claim=f"c-m{number}", paper=f"arxiv:2405.{number % 60:05}", quote=QUOTE))
    ledger = snapshot(records)
    (tmp_path / "many.html").write_text(page(ledger, audit_of(ledger, blocked=False)), encoding="utf-8")
    browser.get(f"file://{tmp_path}/many.html")
    script = "const n = performance.getEntriesByType('navigation')[0]; return n.loadEventEnd - n.startTime"
    assert browser.execute_script(script) < 30_000  # a second here; a guard against quadratic scripts only
    assert len(_visible(browser)) == 301
    assert browser.execute_script("return document.querySelectorAll('.matrix tbody tr').length") == 301


def test_anchors_are_words() -> None:
    assert anchor("c-1") == "id-c-1"
    assert re.fullmatch(r"id-[0-9a-f]{12}", anchor("arxiv:2401.00001"))
    assert anchor("x y") != anchor("x  y")
    assert DIRECTION.id in page(snapshot([]), Audit("0" * 64, (), ()))
