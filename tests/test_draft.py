"""The draft says what the ledger bears out: no status, number, quote or finding that is not the ledger's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import warm
from hypothesis import given, settings
from ledger_strategies import TEXTS, directions, records
from ledgers import DIRECTION, QUOTE, TOML, in_folder, snapshot, supported_records
from markdown_it import MarkdownIt

from lpk.core.contracts import Options
from lpk.core.errors import UsageError
from lpk.core.evidence.artifacts.draft import markdown, paper
from lpk.core.evidence.artifacts.render import render, settled, write
from lpk.core.evidence.audit import Audit, audit
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.ledger import Ledger, Snapshot
from lpk.core.evidence.records import Claim, Direction, PaperVersion, Record, Replication, Row, Screening, Verification
from lpk.core.evidence.states import Status, of_claim, of_row

PAGE = MarkdownIt("gfm-like", {"linkify": True})
SECTIONS = [
    "Abstract",
    "1. Introduction",
    "2. Research direction and contribution",
    "3. Method: evidence-ledger production protocol",
    "4. Evidence base",
    "5. System comparison",
    "6. Findings and answers to the research questions",
    "7. Evaluation agenda",
    "8. Limitations and threats to validity",
    "9. Conclusion",
    "Reproducibility statement",
    "Ethics and conflict of interest statement",
    "Demo and proof",
    "References",
    "Claim audit status",
]


def drafted(ledger: Snapshot) -> str:
    return paper(ledger, audit(ledger, [])).decode()


def section(text: str, name: str) -> str:
    return text.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def preliminary_records() -> list[Record]:
    """What the first draft of this kind had: rows from abstracts, and nothing else."""
    quote = "GradMAP outperforms previous layer pruning methods by 5.5% at a speedup of 4.5 times."
    return [
        PaperVersion(
            paper="arxiv:2602.14649",
            version="v1",
            title="GradMAP",
            authors=("A. One",),
            published="2026-02-16",
            abstract=quote,
        ),
        Screening(paper="arxiv:2602.14649", decision="include", reason="in-scope"),
        Claim(id="c-fast", text="GradMAP is 4.5 times as fast as previous methods.", questions=("RQ1",)),
        Row(id="r-fast", claim="c-fast", paper="arxiv:2602.14649", version="v1", basis="abstract", quote=quote),
    ]


# -- what it says -----------------------------------------------------------------------------------------------------


def test_it_has_the_sections_of_the_protocol_in_order() -> None:
    for made in ([], supported_records(), preliminary_records()):
        assert re.findall(r"^## (.*)$", drafted(snapshot(made)), re.MULTILINE) == SECTIONS


def test_a_supported_claim_is_stated_with_quote_page_section_and_date() -> None:
    text = drafted(snapshot(supported_records()))
    assert "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1." in section(text, "Abstract")
    findings = section(text, SECTIONS[6])
    assert (
        f"“{QUOTE}” ([arxiv:2401.00001v1](#paper-arxiv-2401.00001), page 3, section 4 Results; checked 2026-05-20)"
        in findings
    )
    assert "Ada Lovelace, Alan Turing (2024). *Depth pruning of language models*. arxiv:2401.00001v1." in section(
        text, "References"
    )


def test_what_is_preliminary_is_no_finding_and_none_of_its_numbers_is_told_of_a_paper() -> None:
    text = drafted(snapshot(preliminary_records()))
    assert "No claim is supported: nothing below is a finding about the literature." in section(text, "Abstract")
    assert "concludes nothing" in section(text, "9. Conclusion")
    for name in ("Abstract", "9. Conclusion"):
        assert "GradMAP" not in section(text, name)
    assert "outperforms" not in text
    assert "5.5" not in text
    for line in text.splitlines():
        assert "4.5" not in line or "preliminary-linked" in line
    assert "Rows from abstracts alone, which support nothing: 1[^" in text
    assert "- preliminary-linked: [c-fast](#claim-c-fast) (preliminary-linked)" in text


def test_a_claim_that_papers_disagree_on_is_no_finding() -> None:
    against = [
        Row(id="r-2", claim="c-1", paper="arxiv:2401.00001", version="v1", relation="contradicts", quote="It does not matter at all."),
        *(
            record.model_copy(update={"row": "r-2"})
            for record in supported_records()
            if isinstance(record, Verification)
        ),
    ]  # fmt: skip
    text = drafted(snapshot([*supported_records(), *against]))
    assert "perplexity to 52.1" not in section(text, "Abstract")
    assert "### Claims that are contested" in text
    assert "Claims that verified quotes speak against: 1[^" in section(text, SECTIONS[8])


def test_what_the_paper_says_stands_beside_what_was_measured() -> None:
    measured = Replication(
        claim="c-1", expression="delta(ppl) > 0", study="cd" * 32, models=("smollm2-135m",), verdict="not replicated",
        effect=-0.25, low=-0.5, high=0.0, count=8,
    )  # fmt: skip
    text = drafted(snapshot([*supported_records(), measured]))
    row = next(line for line in text.splitlines() if "delta(ppl)" in line)
    assert f"“{QUOTE}”" in row
    assert "effect -0.25; interval -0.5 to 0; 8 observations; on smollm2-135m | not replicated |" in row


def test_an_empty_ledger_has_a_draft_that_says_nothing() -> None:
    text = drafted(snapshot([]))
    assert "No claim is supported" in text
    assert "Papers screened in:" not in section(text, "Abstract")
    assert "| n/a |" not in text
    assert "n/a: there is nothing to count over" in section(text, SECTIONS[7])


def test_limitations_are_the_ledgers() -> None:
    found = section(drafted(snapshot(supported_records())), SECTIONS[8])
    assert [line.split(":")[0] for line in found.strip().splitlines()] == [
        "- Supported claims that rest on one paper",
        "- All papers come from one source",
        "- Screening was done by one person",
    ]


# -- laws -------------------------------------------------------------------------------------------------------------

SOME = settings(max_examples=30)


@SOME
@given(records(), directions())
def test_no_status_that_the_records_do_not_give(made: list[Record], direction: Direction) -> None:
    ledger = snapshot(made, direction)
    text = drafted(ledger)
    told = dict(re.findall(r'^- <a id="claim-[^"]*"></a>`([^`]*)`, ([a-z-]+) \(', text, re.MULTILINE))
    assert told == {claim.id: str(of_claim(ledger, claim).status) for claim in ledger.claims.values()}
    rows = dict(re.findall(r'<a id="row-[^"]*"></a>`([^`]*)` \([a-z]+\), ([a-z-]+):', text))
    assert rows == {row.id: str(of_row(ledger, row).status) for row in ledger.rows.values()}
    for name, status in re.findall(r"\[([a-z0-9-]+)\]\(#claim-[^)]*\) \(([a-z-]+)\)", text):
        assert status == str(of_claim(ledger, ledger.claims[name]).status)
    assert len(re.findall(r"\(#claim-", text)) == len(re.findall(r"\(#claim-[^)]*\) \([a-z-]+\)", text))


@SOME
@given(records(), directions())
def test_no_finding_stronger_than_what_is_supported(made: list[Record], direction: Direction) -> None:
    ledger = snapshot(made, direction)
    text = drafted(ledger)
    supported = {name for name, claim in ledger.claims.items() if of_claim(ledger, claim).status is Status.SUPPORTED}
    for name in ("Abstract", "9. Conclusion"):
        stated = re.findall(r"^- \[([^\]]*)\]\(#claim-[^)]*\) \(supported\): (.*)$", section(text, name), re.MULTILINE)
        assert {claim for claim, _ in stated} == supported
        assert all(said == markdown(ledger.claims[claim].text) for claim, said in stated)
        assert bool(supported) != ("No claim is supported" in section(text, name))


@SOME
@given(records(), directions())
def test_no_number_that_is_neither_a_records_nor_a_count(made: list[Record], direction: Direction) -> None:
    ledger = snapshot(made, direction)
    text = drafted(ledger)
    written = (
        json.dumps([event.data for event in ledger.events], ensure_ascii=False)
        + direction.model_dump_json()
        + " ".join(f"{event.at[:10]} {event.by}" for event in ledger.events)
        + " ".join(
            f"{value:.4g}"
            for one in _replications(made)
            for value in (one.effect, one.low, one.high)
            if value is not None
        )
    )
    known = {
        *re.findall(r"\d+", written + markdown(written)),
        *re.findall(r"\d+", " ".join([ledger.policy.hash, *ledger.heads])),
    }
    counts = re.findall(r"\b(\d+)\[\^(\d+)\]", text)
    notes = dict(re.findall(r"^\[\^(\d+)\]: [a-z]+: (.*)$", text, re.MULTILINE))
    assert {note for _, note in counts} == notes.keys()
    for count, note in counts:
        assert len(notes[note].split(", ")) == int(count)
    fixed = r"^#+ \d*|\b\d+\[\^\d+\]|^\[\^\d+\]:|\(#[^)]*\)|top-10|first 10|lpk 0\.1\.0|supporting_papers = 1"
    for number in re.findall(r"\d+", re.sub(fixed, " ", text, flags=re.MULTILINE)):
        assert number in known or number == "0"  # a count of nothing has no note


def _replications(made: Sequence[Record]) -> Iterator[Replication]:
    return (one for one in made if isinstance(one, Replication))


@SOME
@given(records(), directions())
def test_words_of_others_are_only_words(made: list[Record], direction: Direction) -> None:
    text = drafted(snapshot(made, direction))
    tokens = PAGE.parse(text)
    plain = [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
    assert plain == SECTIONS
    assert sum(token.type == "heading_open" and token.tag == "h1" for token in tokens) == 1
    assert not {token.type for token in tokens} & {"html_block", "fence", "code_block", "hr", "blockquote_open"}
    for token in tokens:
        for inner in token.children or ():
            if inner.type == "html_inline":
                assert re.fullmatch(r'<a id="[A-Za-z0-9.-]+">|</a>', inner.content)
            if inner.type == "link_open":
                address = str(inner.attrs["href"])
                assert address.startswith("#") or address == "https://arxiv.org/abs/2401.00001v1", address
            assert inner.type not in ("image", "strong_open", "s_open") or inner.type == "strong_open"
    _tables_are_whole(tokens)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)


def _tables_are_whole(tokens: Sequence[Any]) -> None:
    width = 0
    for token in tokens:
        if token.type == "tr_open":
            cells = 0
        elif token.type in ("td_open", "th_open"):
            cells += 1
        elif token.type == "tr_close":
            width = width or cells
            assert cells == width
        elif token.type == "table_close":
            width = 0


@settings(max_examples=200)
@given(TEXTS)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    """Read back by another program, what was escaped is one paragraph with the text's words and nothing else."""
    harmless = re.sub(r"[\\${}]", "", text)  # TeX is typeset, which is another test
    tokens = PAGE.parse(markdown(harmless))
    assert [token.type for token in tokens] in (["paragraph_open", "inline", "paragraph_close"], [])
    shown = "".join(child.content for token in tokens for child in token.children or ())
    expected = re.sub("[\u200b\u202e]", "", harmless)
    assert shown.split() == re.sub("[\x00-\x1f\x85]", " ", expected).split()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (r"GradMAP: \textbf{Grad}ient, $4\times$ speedup", "GradMAP: Gradient, 4\u00d7 speedup"),
        (r"a drop of 5\% in $k$-means", "a drop of 5% in k-means"),
        ("costs $5 and $6", r"costs \$5 and \$6"),
    ],
)
def test_tex_is_typeset(written: str, shown: str) -> None:
    assert markdown(written) == shown


# -- the same bytes ---------------------------------------------------------------------------------------------------

RENDER = """
import sys
from pathlib import Path
from lpk.core.evidence.artifacts.render import settled, write
from lpk.core.evidence.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
write(Path(sys.argv[2]), settled(ledger, [])[1])
"""


def rendered(folder: Path, out: Path, seed: str) -> dict[str, bytes]:
    out.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", RENDER, str(folder), str(out)], check=True, env=environment)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_same_ledger_gives_the_same_bytes(tmp_path: Path) -> None:
    made = [*supported_records(), *preliminary_records()]
    in_folder(tmp_path / "ledger", made)
    shutil.copytree(tmp_path / "ledger", tmp_path / "elsewhere")
    first = rendered(tmp_path / "ledger", tmp_path / "one", "1")
    assert len(first) == 12
    assert rendered(tmp_path / "elsewhere", tmp_path / "two", "2") == first


def test_branches_merge_to_the_same_bytes_in_either_order(tmp_path: Path) -> None:
    base = in_folder(tmp_path / "base", supported_records())
    lines = (tmp_path / "base" / "events.jsonl").read_text()
    added = []
    for name, made in (("ours", preliminary_records()), ("theirs", [Claim(id="c-9", text="Nine layers are nine.")])):
        shutil.copytree(base.folder, tmp_path / name)
        Ledger(tmp_path / name).write(made, by=name)
        added.append((tmp_path / name / "events.jsonl").read_text().removeprefix(lines))
    found = []
    for name, tail in (("first", added), ("second", added[::-1])):
        shutil.copytree(base.folder, tmp_path / name)
        (tmp_path / name / "events.jsonl").write_text(lines + "".join(tail))
        found.append(rendered(tmp_path / name, tmp_path / f"{name}-out", "0"))
    assert found[0] == found[1]
    assert b"c-9" in found[0]["claims.csv"]
    assert b"c-fast" in found[0]["claims.csv"]


def test_an_audit_of_another_state_is_refused(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    before = audit(ledger.snapshot(), [])
    assert "paper/paper.md" in render(ledger, before)
    ledger.write([Claim(id="c-9", text="Nine layers are nine.")])
    with pytest.raises(UsageError, match="changed since it was audited"):
        render(ledger, before)


# -- the audit of the draft that tells of the audit -------------------------------------------------------------------


class Looks(Rule[Options]):
    """A rule that finds something where the draft does, or does not, have some words."""

    options_model = Options
    id, round, title, remedy = "R-LOOK-1", 6, "the draft is as expected", "mend it"
    words, wanted = "10. A section that there is not", True

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [ledger.direction.id]

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        if (self.words in ledger.artifacts.get("paper/paper.md", "")) is not self.wanted:
            yield Finding("not as expected", (subject,))


class Capricious(Looks):
    """It objects to a draft that tells of no objection, and to none that does."""

    id, words, wanted = "R-LOOK-2", "The gate is open", False


def test_the_draft_tells_what_the_audit_of_it_found(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    wanted = type("Wanted", (Looks,), {"words": "9. Conclusion", "wanted": True})(Options())
    found, files = settled(ledger, [wanted])
    assert found.ready
    assert b"Submission readiness: ready" in files["paper/paper.md"]
    assert json.loads(files["production_run.json"])["audit"]["gate"] == "ready"
    found, files = settled(ledger, [Looks(Options())])
    assert not found.ready
    assert b"Submission readiness: blocked" in files["paper/paper.md"]
    assert b"| R-LOOK-1 | the draft is as expected | 1[^" in files["paper/paper.md"]


def test_a_rule_that_the_draft_cannot_satisfy_is_named(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    with pytest.raises(UsageError, match="R-LOOK-2"):
        settled(ledger, [Capricious(Options())])


def test_what_lay_there_before_plays_no_part(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    rule = Looks(Options())
    _, files = settled(ledger, [rule])
    write(ledger.folder, {**files, "paper/paper.md": b"The gate is shut, says an old draft.\n"})
    assert settled(ledger, [rule])[1] == files


# -- the command ------------------------------------------------------------------------------------------------------


def lpk(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.call(arguments)


def test_the_command_renders_once(tmp_path: Path) -> None:
    in_folder(tmp_path / "ledger", supported_records(), TOML)
    first = lpk("draft", str(tmp_path / "ledger"), "--json")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert said["claims"] == {"supported": 1}
    assert set(said["changed"]) == set(said["files"])
    assert (tmp_path / "ledger" / "paper" / "paper.md").read_text().startswith(f"# {DIRECTION.title}")
    again = lpk("draft", str(tmp_path / "ledger"))
    assert "12 rendered, 0 of them changed" in again.stdout


def test_a_folder_without_a_ledger_is_told_in_a_line(tmp_path: Path) -> None:
    done = lpk("draft", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"lpk: {tmp_path} holds no ledger; make one with: lpk ledger init {tmp_path}\n"


def test_audits_say_the_same_of_a_ledger_that_did_not_change(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", supported_records())
    found: list[Audit] = [settled(ledger, [Looks(Options())])[0] for _ in range(2)]
    assert found[0] == found[1]
