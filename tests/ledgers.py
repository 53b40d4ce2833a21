"""Ledgers for tests: made of records, in memory or in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lpk.core.evidence.events import Event
from lpk.core.evidence.ledger import Ledger, Snapshot
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import Claim, Direction, Document, PaperVersion, Record, Row, Screening, Verification

DIRECTION = Direction.model_validate(
    {
        "id": "layer-redundancy",
        "title": "Layer redundancy in language models",
        "category": "cs-ai/deep-llm-layer-redundancy",
        "keywords": ["layer pruning", "depth pruning"],
        "facets": [
            {"name": "object", "words": ["language model", "LLM", "transformer"]},
            {"name": "intervention", "words": ["layer pruning", "depth pruning", "remov"]},
        ],
        "criteria": [{"id": "I1", "decision": "include", "text": "Removes or skips layers of a language model."}],
        "questions": [{"id": "RQ1", "text": "How much does removing layers cost a language model?"}],
    }
)
SHA = "ab" * 32
QUOTE = "Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text."

TOML = f"""
format = 1
[direction]
id = "{DIRECTION.id}"
title = "{DIRECTION.title}"
keywords = ["layer pruning", "depth pruning"]
[[direction.questions]]
id = "RQ1"
text = "How much does removing layers cost a language model?"
"""


def supported_records() -> list[Record]:
    """One paper, screened in and read; one claim with one verified row."""
    policy = Policy.model_validate({})
    return [
        PaperVersion(
            paper="arxiv:2401.00001",
            version="v1",
            title="Depth pruning of language models",
            authors=("Ada Lovelace", "Alan Turing"),
            published="2024-01-01",
            abstract="We study depth pruning of LLMs. " + QUOTE,
            url="https://arxiv.org/abs/2401.00001v1",
            source="lpk/arxiv",
        ),
        Screening(
            paper="arxiv:2401.00001",
            decision="include",
            reason="in-scope",
            criterion="I1",
            facets={"object": "LLMs", "intervention": "depth pruning"},
        ),
        Document(
            paper="arxiv:2401.00001",
            version="v1",
            sha256=SHA,
            file=f"{SHA[:16]}.md",
            media="text/markdown",
            pages=5,
            text_sha256=SHA,
            reader="lpk/text 1",
        ),
        Claim(id="c-1", text="Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", questions=("RQ1",)),
        Row(id="r-1", claim="c-1", paper="arxiv:2401.00001", version="v1", quote=QUOTE),
        Verification(
            row="r-1",
            verdict="verified",
            document=SHA,
            page=3,
            page_end=3,
            section="4 Results",
            checker="lpk 0.1.0",
            policy=policy.hash,
        ),
    ]


def snapshot(
    records: Iterable[Record],
    direction: Direction = DIRECTION,
    policy: Policy | None = None,
    texts: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, str] | None = None,
) -> Snapshot:
    """A snapshot of events made of these records, a minute apart."""
    events: list[Event] = []
    for number, record in enumerate(records):
        at = f"2026-05-20T{number // 60:02}:{number % 60:02}:00Z"
        events.append(Event.of(record, [events[-1].id] if events else [], at, "tester"))
    return Snapshot(direction, policy or Policy.model_validate({}), events, texts, artifacts)


def in_folder(folder: Path, records: Iterable[Record], toml: str = TOML) -> Ledger:
    """A ledger in a folder."""
    ledger = Ledger.begin(folder, toml)
    ledger.write(records, by="tester")
    return ledger
