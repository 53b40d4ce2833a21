"""A second ledger in which nothing is wrong, unlike the first in everything: no rule may find anything in it.

It was written before the rules were run on it, as a person would write about another subject: hedged and negated claims,
claims that differ in their conditions alone, a row from an abstract, a claim that is not supported and says so, a method,
a limitation, quotes with symbols, a paper without versions, tables, lists, code, and words that rules look for in another
meaning.
"""

from __future__ import annotations

import hashlib
from typing import Any

from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import (
    Beginning,
    Claim,
    Direction,
    Document,
    PaperVersion,
    Record,
    Row,
    Screening,
    Verification,
    Withdrawal,
)
from lpk.testing.mutants import Material, full_text

SPEED, TREE, BATCH, DOI = "arxiv:2302.01318", "arxiv:2305.09781", "arxiv:2310.18813", "doi:10.1145/3600006.3613165"
TRAIN, OLD = "arxiv:2401.10774", "openalex:W2963403868"

FIXED = (
    "With a draft model of 125M parameters, speculative decoding generates 2.1 tokens per step on summarization, and 2.8 "
    "tokens per step on code."
)
SAME = "The distribution of the output is not changed by the method."
GAIN = "Token trees may raise the acceptance rate by up to 12% when the draft model is small."
SMALL = "At a batch size of 1, latency falls by 48%."
LARGE = "At a batch size of 32, latency falls by 3%."
MEMORY = "PagedAttention wastes less than 4% of the memory of the key-value cache."
HEADS = "We find that extra decoding heads accelerate generation by 2.2 times without a draft model."

PAGES: dict[str, tuple[str, ...]] = {
    SPEED: (
        "# Accelerating Large Language Model Decoding\nwith Speculative Sampling\n\n## 1 Introduction\n\nDecoding is slow, since each token needs a pass over all weights.",
        f"## 3 Experiments\n\n### 3.1 Speed\n\n{FIXED}\n\nOther tasks lie between these. {SAME}",
    ),
    TREE: (
        f"# Token trees for speculative inference\n\n## 1 Introduction\n\nWe verify trees of tokens.\n\n## 2 Results\n\n{GAIN}",
    ),
    BATCH: (
        "# The Synergy of Speculative De-\ncoding and Batching in Serving Large Language Models\n\n## 1 Introduction\n\nServers decode many requests at once.",
        "## 2 Setup\n\nWe vary the batch size from 1 to 32.",
        f"## 3 Results\n\n{SMALL} {LARGE}",
    ),
    DOI: (f"Proceedings of 2023. doi:10.1145/3600006.3613165\n\n# Paged memory\n\n## 6 Evaluation\n\n{MEMORY}",),
}
SHA = {name: hashlib.sha256("\f".join(pages).encode()).hexdigest() for name, pages in PAGES.items()}

DIRECTION = Direction.model_validate(
    {
        "id": "speculative-decoding",
        "title": "Speculative decoding of language models: what it gains, and when",
        "category": "cs-cl/speculative-decoding",
        "thesis": "Speculative decoding lowers latency at small batch sizes, and may not at large ones.",
        "keywords": ["speculative decoding", "speculative sampling", "draft model"],
        "facets": [
            {"name": "object", "words": ["language model", "LLM"]},
            {"name": "intervention", "words": ["speculative", "draft model", "decoding head", "key-value cache"]},
        ],
        "criteria": [
            {
                "id": "in-method",
                "decision": "include",
                "text": "Speeds up decoding and reports latency, tokens or memory.",
            },
            {"id": "out-vision", "decision": "exclude", "text": "Generates images."},
            {"id": "bg-classic", "decision": "background", "text": "Older work that the field builds on."},
        ],
        "questions": [
            {"id": "RQ1", "text": "How many tokens does a step of speculative decoding generate?"},
            {"id": "RQ2", "text": "At which batch sizes does speculative decoding stop paying off?"},
            {"id": "RQ3", "text": "Is the output the same, and does anything else save as much?"},
        ],
    }
)


def _records(policy: str) -> tuple[Record, ...]:
    def paper(name: str, title: str, authors: str, abstract: str, version: str = "v1", **more: Any) -> PaperVersion:
        return PaperVersion.model_validate(
            {
                "paper": name,
                "version": version,
                "title": title,
                "authors": authors.split("; "),
                "published": "2023-02-02",
                "abstract": abstract,
                "url": f"https://example.org/{name.partition(':')[2]}",
                "source": "lpk/arxiv" if version else "lpk/crossref",
                **more,
            }
        )

    def verified(row: str, paper: str, page: int, section: str, **more: Any) -> Verification:
        return Verification.model_validate(
            {
                "row": row,
                "verdict": "verified",
                "document": SHA[paper],
                "page": page,
                "page_end": page,
                "section": section,
                "checker": "lpk 0.1.0",
                "policy": policy,
                **more,
            }
        )

    def document(paper: str, version: str = "v1") -> Document:
        return Document(
            paper=paper, version=version, sha256=SHA[paper], file=f"{SHA[paper][:16]}.md", media="text/markdown",
            pages=len(PAGES[paper]), text_sha256=full_text(SHA[paper], PAGES[paper]).text_sha256, reader="lpk/text 1",
        )  # fmt: skip

    about = "is slow. We study speculative decoding of large language models with a draft model."
    return (
        Beginning(direction="speculative-decoding"),
        paper(SPEED, "Accelerating large language model decoding with speculative sampling", "Charlie Chen; Sebastian Borgeaud; "
              "Geoffrey Irving", f"Decoding {about} We find that it generates 2.1 tokens per step.", references=(OLD, TREE)),
        paper(TREE, "Token trees for speculative inference", "Xupeng Miao; Zhihao Jia",
              "Serving language models is costly. We propose trees of tokens from a draft model. Trees help when it is small.",
              "v2", references=(OLD,)),
        paper(BATCH, "The synergy of speculative decoding and batching in serving large language models",
              "Qidong Su; Christina Giannoula; Gennady Pekhimenko", f"Decoding {about} {SMALL} {LARGE}"),
        paper(DOI, "Efficient memory management for large language model serving", "Woosuk Kwon; Ion Stoica",
              "The key-value cache is large. We present PagedAttention. It wastes little memory.", "", doi=DOI[4:]),
        paper(TRAIN, "Simple decoding heads", "Tianle Cai; Tri Dao",
              f"Decoding of language models is bound by memory. {HEADS}"),
        paper("arxiv:2306.00001", "Faster sampling of diffusion models", "Ann Other", "We sample images in 4 steps."),
        paper(OLD, "Blockwise parallel decoding", "Mitchell Stern; Noam Shazeer; Jakob Uszkoreit",
              "We predict several tokens at once and verify them.", ""),
        Screening(paper=SPEED, decision="include", reason="in-scope", criterion="in-method",
                  facets={"object": "language models", "intervention": "speculative"}),
        Screening(paper=TREE, decision="background", reason="unsure", note="read it first"),
        Screening(paper=TREE, decision="include", reason="in-scope", criterion="in-method",
                  facets={"object": "language models", "intervention": "draft model"}),
        Screening(paper=BATCH, decision="include", reason="in-scope", criterion="in-method",
                  facets={"object": "large language models", "intervention": "speculative decoding"}),
        Screening(paper=DOI, decision="include", reason="alternative", criterion="in-method",
                  facets={"object": "language model", "intervention": "key-value cache"}),
        Screening(paper=TRAIN, decision="background", reason="not-read", note="the full text could not be had"),
        Screening(paper="arxiv:2306.00001", decision="exclude", reason="off-topic", criterion="out-vision"),
        Screening(paper=OLD, decision="background", reason="history", criterion="bg-classic"),
        document(SPEED), document(TREE, "v2"), document(BATCH), document(DOI, ""),
        Claim(id="c-summary", text="Speculative decoding with a draft model of 125M parameters generates 2.1 tokens per step on "
              "summarization.", questions=("RQ1",)),
        Row(id="r-summary", claim="c-summary", paper=SPEED, version="v1", quote=FIXED),
        verified("r-summary", SPEED, 2, "3.1"),
        Claim(id="c-code", text="Speculative decoding with a draft model of 125M parameters generates 2.8 tokens per step on code.",
              questions=("RQ1",)),
        Row(id="r-code", claim="c-code", paper=SPEED, version="v1", quote=FIXED, section="3.1"),
        verified("r-code", SPEED, 2, "3.1"),
        Claim(id="c-output", text="The method does not change the distribution of the output.", questions=("RQ3",)),
        Row(id="r-output", claim="c-output", paper=SPEED, version="v1", quote=SAME, page=2),
        verified("r-output", SPEED, 2, "3.1"),
        Claim(id="c-trees", text="Token trees may raise the acceptance rate by up to 12% when the draft model is small.",
              questions=("RQ1",)),
        Row(id="r-trees", claim="c-trees", paper=TREE, version="v2", quote=GAIN),
        verified("r-trees", TREE, 1, "2"),
        Claim(id="c-one", text="At a batch size of 1, latency falls by 48%.", questions=("RQ2",)),
        Row(id="r-one", claim="c-one", paper=BATCH, version="v1", quote=SMALL),
        verified("r-one", BATCH, 3, "3"),
        Claim(id="c-many", text="At a batch size of 32, latency falls by 3%.", questions=("RQ2",)),
        Row(id="r-many", claim="c-many", paper=BATCH, version="v1", quote=LARGE),
        verified("r-many", BATCH, 3, "3"),
        Claim(id="c-setup", text="Batch sizes from 1 to 32 were tried.", type="method", questions=("RQ2",)),
        Row(id="r-setup", claim="c-setup", paper=BATCH, version="v1", quote="We vary the batch size from 1 to 32."),
        verified("r-setup", BATCH, 2, "2"),
        Claim(id="c-memory", text="PagedAttention wastes less than 4% of the memory of the key-value cache.", questions=("RQ3",)),
        Row(id="r-memory", claim="c-memory", paper=DOI, quote=MEMORY),
        verified("r-memory", DOI, 1, "6"),
        Claim(id="c-trade", text="Nothing here was measured on more than one server.", type="limitation"),
        Row(id="r-trade", claim="c-trade", paper=BATCH, version="v1", quote="Servers decode many requests at once.",
            relation="background"),
        verified("r-trade", BATCH, 1, "1"),
        Claim(id="c-early", text="Speculation always pays off."),
        Withdrawal(what="c-early", reason="c-many says otherwise"),
    )  # fmt: skip


DRAFT = """\
# Speculative decoding of language models: what it gains, and when

## Abstract

Of 7 papers collected, 4 papers were included, 2 papers were kept as background and 1 paper was excluded. Speculative
decoding lowers latency at a batch size of 1, and hardly at 32. This is a small review; it may not hold elsewhere.

## 1 Introduction

Decoding one token after the other leaves a GPU idle. Prior work verifies several tokens at once. We ask three questions:

1. RQ1: How many tokens does a step of speculative decoding generate?
2. RQ2: At which batch sizes does speculative decoding stop paying off?
3. RQ3: Is the output the same, and does anything else save as much?

## 2 Method

Papers were found by keyword and screened against two facets. Quotes were looked up in the full text and are given with page
and section. Not every row supports its claim: some are background. How to run it again:

```
python paper/demo.py   # needs score >= 1.0
```

## 3 Results

### RQ1: tokens per step

With a draft model of 125M parameters a step generates 2.1 tokens on summarization (c-summary) and 2.8 tokens on code
(c-code), both from 2302.01318v1, page 2. Token trees may add up to 12% (c-trees, 2305.09781v2).

### RQ2: batches

| Claim | Batch size | Latency | Source |
|---|---:|---|---|
| c-one | 1 | falls by 48% | 2310.18813v1, section 3 |
| c-many | 32 | falls by 3% | 2310.18813v1, section 3 |
| c-setup | 1 to 32 | not measured; status: verified | 2310.18813v1, section 2 |

### RQ3: the same output?

The output's distribution is not changed (c-output). PagedAttention saves memory instead: it wastes less than 4% of
the cache (c-memory). One limitation of these papers (c-trade, status: verified) is that they use one server.

## 4 What was set aside

- 2401.10774v1 could not be read.
- The older 2 studies are background.

## 5 Conclusion

Speculative decoding lowers latency at a batch size of 1. It may not pay off at 32.

## References

- Charlie Chen, Sebastian Borgeaud and Geoffrey Irving. Accelerating large language model decoding with speculative
  sampling. arXiv 2302.01318v1, 2023.
- Xupeng Miao and Zhihao Jia. Token trees for speculative inference. arXiv 2305.09781v2, 2023.
- Su et al. The synergy of speculative decoding and batching in serving large language models. arXiv 2310.18813v1, 2023.
- Woosuk Kwon and Ion Stoica. Efficient memory management for large language model serving. doi:10.1145/3600006.3613165.
"""


def second() -> Material:
    """The ledger."""
    policy = Policy.model_validate({"locator": "page"})
    texts = {SHA[name]: pages for name, pages in PAGES.items()}
    return Material(DIRECTION, policy, _records(policy.hash), {"paper/paper.md": DRAFT}, texts)
