"""``lpk ledger`` through its real door: from nothing to a supported claim, and every wrong turn in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import warm

from lpk.core.evidence import work
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.states import statuses
from lpk.core.registry import installed

PAPER = """# Depth pruning of small language models

## 1 Introduction

Large language models are deep, and deep models are slow. We ask which layers can go.

<!-- page 2 -->

## 2 Results

Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text. The accuracy on PIQA
does not fall by more than 2.5 points. These results may depend on the calibration data.

## 3 Conclusion

Search algorithms tend to agree under one objective.
"""
QUOTE = "Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text."
BIB = """@article{made2024,
  title = {Depth pruning of small language models},
  author = {Lovelace, Ada and Turing, Alan},
  year = {2024},
  eprint = {2401.00001v1},
  archivePrefix = {arXiv},
  abstract = {We study depth pruning of language models.},
}
"""


def lpk(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = warm.call(arguments, cwd, {**os.environ, "LPK_AUTHOR": "Ada"})
    assert done.returncode == code, done.stdout + done.stderr
    if code == 2:
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A ledger with one paper, screened in and read."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return tmp_path / "layers"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that ledger, made once: it takes six commands."""
    tmp_path = tmp_path_factory.mktemp("begun")
    (tmp_path / "paper.md").write_text(PAPER, encoding="utf-8")
    (tmp_path / "papers.bib").write_text(BIB, encoding="utf-8")
    lpk(
        "ledger", "init", "layers", "--title", "Layer redundancy", "--keyword", "layer pruning",
        "--facet", "object=language model,LLM", "--question", "How much does removing layers cost?", cwd=tmp_path,
    )  # fmt: skip
    ledger = tmp_path / "layers"
    found = lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../papers.bib", cwd=ledger)
    assert "1 found by bibtex: 1 new" in found.stdout
    assert "0 new, 0 newer versions, 0 changed, 1 known" in lpk(
        "ledger", "collect", "--source", "bibtex", "-O", "path=../papers.bib", cwd=ledger
    ).stdout  # fmt: skip
    assert "1 of 1 papers wait for a decision" in lpk("ledger", "screen", cwd=ledger).stdout
    lpk("ledger", "screen", "arxiv:2401.00001", "include", "--reason", "in-scope", cwd=ledger)
    assert "2 pages" in lpk("ledger", "read", "arxiv:2401.00001", "../paper.md", cwd=ledger).stdout
    return tmp_path


def status_of(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(lpk("ledger", "status", "--json", cwd=folder).stdout)
    return said


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def add(folder: Path, text: str, quote: str, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return lpk("ledger", "claim", text, "--paper", "arxiv:2401", "--quote", quote, *more, cwd=folder, code=code)


def test_from_a_paper_to_a_supported_claim(folder: Path) -> None:
    add(
        folder,
        "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.",
        QUOTE,
        "--question",
        "RQ1",
        "--id",
        "c-a",
    )
    assert status_of(folder)["claims"]["c-a"]["status"] == "linked"
    assert "1 of 1 quotes found" in lpk("ledger", "verify", cwd=folder).stdout
    said = status_of(folder)
    assert said["claims"]["c-a"]["status"] == "supported"
    lpk("ledger", "verify", cwd=folder)
    assert status_of(folder)["events"] == said["events"]  # nothing new was found, so nothing was written
    told = lpk("ledger", "explain", "c-a", cwd=folder).stdout
    assert "supported" in told
    assert "page 2, section 2" in told


@pytest.mark.parametrize(
    ("quote", "verdict"),
    [
        (QUOTE.replace("52.1", "51.2"), "altered"),
        (QUOTE.replace("raises", "lowers"), "altered"),
        ("The accuracy on PIQA does fall by more than 2.5 points.", "altered"),
        ("We show that twelve layers of a llama can be removed at no cost at all.", "not-found"),
        ("perplexity", "too-short"),
    ],
)
def test_what_is_not_in_the_paper_is_rejected(folder: Path, quote: str, verdict: str) -> None:
    add(folder, "A claim about layers.", quote, "--id", "c-a")
    done = lpk("ledger", "verify", "--json", cwd=folder, code=1)
    (found,) = json.loads(done.stdout)
    assert (found["verdict"], found["status"]) == (verdict, "rejected")
    assert status_of(folder)["claims"]["c-a"]["status"] == "rejected"


def test_a_claim_that_says_more_than_its_quote_is_not_supported(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 53.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder, code=1)
    found = status_of(folder)["claims"]["c-a"]
    assert found["status"] == "located"
    assert "number" in found["why"]


def test_a_claim_stated_anew_is_looked_up_anew(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    lpk("ledger", "claim", "Removing 4 of 30 layers raises SmolLM2's perplexity to 99.", "--id", "c-a", cwd=folder)
    assert status_of(folder)["claims"]["c-a"]["status"] == "linked"
    lpk("ledger", "verify", cwd=folder, code=1)
    assert status_of(folder)["claims"]["c-a"]["status"] == "located"


def test_a_check_is_added_to_a_claim_and_read_at_once(folder: Path) -> None:
    add(
        folder,
        "Search algorithms tend to agree.",
        "Search algorithms tend to agree under one objective.",
        "--id",
        "c-a",
    )
    lpk("ledger", "claim", "--id", "c-a", "--check", "spearman(ppl_rank, acc_rank) < 0.5", cwd=folder)
    assert "holds no" not in lpk("ledger", "check", "c-a", "--study", "nowhere", cwd=folder, code=2).stderr
    wrong = lpk("ledger", "claim", "--id", "c-a", "--check", "import os", cwd=folder, code=2)
    assert "column" in wrong.stderr


def test_what_must_hold_for_a_check_is_set_beside_it(folder: Path) -> None:
    def state(*more: str, code: int = 0) -> str:
        return lpk("ledger", "claim", *more, cwd=folder, code=code).stderr

    def check_of(claim: str) -> Any:
        lpk("ledger", "explain", claim, cwd=folder)
        return [e["data"] for e in events(folder) if e["kind"] == "claim" and e["data"]["id"] == claim][-1]["check"]

    state("Accuracy hardly falls.", "--id", "c-a", "--candidate")
    refused = state("--id", "c-a", "--tolerance", "1", code=2)
    assert "belong to a check: give it with --check" in refused
    state("--id", "c-a", "--check", "delta(acc) > -5", "--tolerance", "0.5", "--model", "smollm*", "--model", "qwen*")
    assert check_of("c-a") == {"expression": "delta(acc) > -5", "tolerance": 0.5, "models": ["smollm*", "qwen*"]}
    state("--id", "c-a", "--measure", "piqa", "--minimum", "6", "--tolerance", "0")
    changed = {"expression": "delta(acc) > -5", "models": ["smollm*", "qwen*"], "measure": "piqa", "minimum": 6}
    assert check_of("c-a") == changed
    told = lpk("ledger", "explain", "c-a", cwd=folder).stdout
    assert 'check: delta(acc) > -5 (models ["smollm*", "qwen*"], measure "piqa", minimum 6)' in told
    state("--id", "c-a", "--check", "delta(acc) > -4")  # another check is about what it says itself
    assert check_of("c-a") == {"expression": "delta(acc) > -4"}
    for wrong in (["--tolerance", "-1"], ["--tolerance", "nan"], ["--minimum", "0"], ["--check", ""]):
        state("--id", "c-a", *wrong, code=2)


def test_a_ledger_is_named_as_an_argument_an_option_or_in_the_environment(folder: Path) -> None:
    where, names = folder.parent, [["layers"], ["--ledger", "layers"]]
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    for command in (["ledger", "status"], ["draft"], ["prove"], ["audit", "--dry-run"], ["ledger", "screen"]):
        code = 1 if command[0] == "audit" else 0
        if command != ["ledger", "screen"]:  # PAPER comes first there
            lpk(*command, "layers", cwd=where, code=code)
        lpk(*command, "--ledger", "layers", cwd=where, code=code)
        done = warm.call(command, where, {**os.environ, "LPK_LEDGER": "layers"})
        assert done.returncode == code, done.stderr
    for name in names:
        lpk("ledger", "collect", "--source", "bibtex", "-O", "path=papers.bib", "--dry-run", *name, cwd=where)
    twice = lpk("audit", "layers", "--ledger", "layers", cwd=where, code=2).stderr
    assert "two ledgers are named, layers and layers: leave one out" in twice
    lpk("ledger", "init", "--ledger", "another", cwd=where)
    assert "lpk ledger init FOLDER" in lpk("ledger", "init", cwd=where, code=2).stderr
    assert "holds no ledger" in lpk("audit", ".", cwd=where, code=2).stderr


def test_an_audit_that_cannot_be_written_down_is_told_all_the_same(folder: Path, tmp_path: Path) -> None:
    def audited(*command: str, cwd: Path) -> tuple[str, str]:
        done = subprocess.run([*command], capture_output=True, text=True, cwd=cwd, check=False)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert "blocked" in done.stdout
        return done.stdout, line

    audit = [sys.executable, "-m", "lpk", "audit"]
    (folder / "audit_report.json").mkdir()
    out, line = audited(*audit, cwd=folder)
    assert "error R-LINK-1: " in out
    assert line == "lpk: no report was written: cannot write audit_report.json: Is a directory"
    (folder / "audit_report.json").rmdir()
    (empty := tmp_path / "empty").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        return  # this machine allows no mounts in a namespace of one's own
    script = 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$@"'
    for place, named in ((folder, "audit_report.json"), (empty, "runs/example-ledger")):
        _, line = audited("unshare", "-rm", "sh", "-c", script, "sh", *audit, cwd=place)
        assert line == f"lpk: no report was written: cannot write {named}: Read-only file system"
    assert list(empty.iterdir()) == []


def test_an_abstract_is_no_support(folder: Path) -> None:
    add(folder, "Depth pruning is studied.", "We study depth pruning of language models.", "--abstract", "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    assert status_of(folder)["claims"]["c-a"]["status"] == "preliminary-linked"


def test_a_newer_version_makes_stale(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    newer = BIB.replace("2401.00001v1", "2401.00001v2").replace("Depth pruning of small", "Rethinking depth pruning of")
    (folder.parent / "newer.bib").write_text(newer, encoding="utf-8")
    found = lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../newer.bib", cwd=folder)
    assert "1 newer versions" in found.stdout
    claim = status_of(folder)["claims"]["c-a"]
    assert claim["status"] == "stale"
    assert "v2 is out" in claim["why"]
    assert "v1 -> v2, title:" in lpk("ledger", "explain", "arxiv:2401.00001", cwd=folder).stdout


def test_withdrawing_keeps_the_history(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    before = (folder / "events.jsonl").read_text(encoding="utf-8")
    lpk("ledger", "withdraw", "c-a", "--reason", "stated twice", cwd=folder)
    assert status_of(folder)["claims"]["c-a"] == {"status": "withdrawn", "why": "stated twice"}
    assert (folder / "events.jsonl").read_text(encoding="utf-8").startswith(before)
    after = (folder / "events.jsonl").read_bytes()
    again = lpk("ledger", "withdraw", "c-a", "--reason", "once more", cwd=folder, code=2)
    assert again.stderr == "lpk: c-a is withdrawn already: stated twice\n"
    assert (folder / "events.jsonl").read_bytes() == after


def test_restoring_undoes_a_withdrawal_and_keeps_both(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    (row,) = [event["data"]["id"] for event in events(folder) if event["kind"] == "row"]
    assert "was not withdrawn" in lpk("ledger", "restore", "c-a", "--reason", "x", cwd=folder, code=2).stderr
    for what in ("c-a", row, "2401.00001"):
        before = (folder / "events.jsonl").read_bytes()
        lpk("ledger", "withdraw", what, "--reason", "in haste", cwd=folder)
        assert status_of(folder)["claims"]["c-a"]["status"] == "withdrawn"
        if what != row:
            above = lpk("ledger", "restore", row, "--reason", "x", cwd=folder, code=2).stderr
            assert "was not withdrawn by itself: restore " + ("c-a" if what == "c-a" else "arxiv:2401") in above
        lpk("ledger", "restore", what, "--reason", "it holds", cwd=folder)
        assert status_of(folder)["claims"]["c-a"]["status"] == "supported"
        assert (folder / "events.jsonl").read_bytes().startswith(before)
        told = lpk("ledger", "explain", what, cwd=folder).stdout
        assert told.index("withdrawal: in haste (Ada)") < told.index("restoration: it holds (Ada)")


def test_a_paper_may_be_named_without_its_scheme(folder: Path) -> None:
    assert "Depth pruning" in lpk("ledger", "explain", "2401.00001", cwd=folder).stdout
    other = BIB.replace("eprint = {2401.00001v1}", "doi = {2401.00001}").replace("archivePrefix = {arXiv},", "")
    (folder.parent / "other.bib").write_text(other.replace("2401.00001", "10.2401/00001"), encoding="utf-8")
    lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../other.bib", cwd=folder)
    assert "doi:10.2401/00001" in lpk("ledger", "explain", "10.2401/00001", cwd=folder).stdout
    assert "no claim, row or paper '00001'" in lpk("ledger", "explain", "00001", cwd=folder, code=2).stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("ledger.toml", "keywords =", "keyword =", "no key 'direction.keyword'; did you mean 'keywords'?"),
        ("ledger.toml", "\nwords = [", "\nword = [", "no key 'direction.facets.0.word'; did you mean 'words'?"),
        ("ledger.toml", "[direction]", "[diretion]", "no key 'diretion'; did you mean 'direction'?"),
        ("ledger.toml", 'title = "', 'titel = "', "no key 'direction.titel'; did you mean 'title'?"),
        ("ledger.toml", "title = ", "# title = ", "direction.title is missing"),
        (
            "ledger.toml",
            'title = "Layer redundancy"',
            "title = 7",
            "direction.title: input should be a valid string, not 7",
        ),
        ("ledger.toml", "format = 1", "format = 2", "written by a newer lpk (format 2, this one knows 1); update lpk"),
        ("ledger.toml", "format = 1", "format = ", "not TOML"),
        ("policy.toml", "", "supporting_paper = 2", "no key 'supporting_paper'; did you mean 'supporting_papers'?"),
        ("policy.toml", "", 'quotes = "lax"', "quotes: input should be 'strict' or 'seed-2026', not 'lax'"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_its_key(folder: Path, file: str, old: str, new: str, said: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8") if old else ""
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    told = lpk("ledger", "status", cwd=folder, code=2).stderr
    assert f"lpk: {file}: {said}" in told


def test_what_init_refuses_leaves_nothing_and_what_is_there_stays(tmp_path: Path) -> None:
    assert "text" in lpk("ledger", "init", "deep/layers", "--question", " ", cwd=tmp_path, code=2).stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".gitignore").write_text("*.log", encoding="utf-8")
    lpk("ledger", "init", ".", cwd=tmp_path)
    ignored = (tmp_path / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*.log"
    assert "papers/*.pdf" in ignored


def test_a_file_that_changed_is_not_trusted(folder: Path) -> None:
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    (document,) = (folder / "papers").iterdir()
    document.write_text(document.read_text(encoding="utf-8").replace("52.1", "52.2"), encoding="utf-8")
    (found,) = json.loads(lpk("ledger", "verify", "--json", cwd=folder, code=1).stdout)
    assert found["verdict"] == "unverifiable"
    assert "changed" in found["reason"]


def test_no_document_is_read_to_say_how_far_claims_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks what reads PDFs can look at a ledger, and a long one is told at once."""
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    monkeypatch.setattr(work, "read", lambda *_: pytest.fail("a document was read"))
    assert statuses(work.snapshot(Ledger(folder), installed()))["c-a"].status == "supported"


def test_a_file_that_is_not_at_hand_takes_nothing_from_what_was_found(folder: Path) -> None:
    """As in a clone: git keeps the events and no PDF."""
    add(folder, "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.", QUOTE, "--id", "c-a")
    lpk("ledger", "verify", cwd=folder)
    before = (folder / "events.jsonl").read_bytes()
    (file,) = (folder / "papers").iterdir()
    file.unlink()
    said = lpk("ledger", "verify", cwd=folder, code=1).stdout
    assert f"(not looked up now: papers/{file.name} is not at hand" in said
    assert "0 of 1 quotes found" in said
    assert (folder / "events.jsonl").read_bytes() == before
    assert status_of(folder)["claims"]["c-a"]["status"] == "supported"
    lpk("ledger", "claim", "Removing 4 layers raises SmolLM2's perplexity.", "--id", "c-a", cwd=folder)
    assert "unverifiable" in lpk("ledger", "verify", cwd=folder, code=1).stdout, "of another claim nothing was found"
    assert status_of(folder)["claims"]["c-a"]["status"] == "unverifiable"


def test_every_artifact(folder: Path) -> None:
    add(
        folder,
        "Removing 4 of 30 layers raises SmolLM2's perplexity to 52.1.",
        QUOTE,
        "--id",
        "c-a",
        "--question",
        "RQ1",
    )
    lpk("ledger", "verify", cwd=folder)
    from lpk.core.evidence.artifacts.render import RENDERED

    lpk("ledger", "export", cwd=folder)
    first = {name: (folder / name).read_bytes() for name in RENDERED if (folder / name).exists()}
    assert set(RENDERED) - set(first) <= {"paper/proof.json"}
    lpk("ledger", "export", cwd=folder)
    assert {name: (folder / name).read_bytes() for name in first} == first
    proved = lpk("prove", cwd=folder)
    assert "1 of 1" in proved.stdout
    assert json.loads((folder / "paper" / "proof.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "holds no ledger; make one with: lpk ledger init"),
        (["init", "layers"], "layers holds a ledger already"),
        (["init", "other", "--facet", "object"], "write NAME=WORD,WORD"),
        (["claim", "A claim.", "--ledger", "layers"], "a claim needs a quote"),
        (["claim", "A claim.", "--paper", "arxiv:2401", "--ledger", "layers"], "a row needs a quote"),
        (["claim", "A.", "--paper", "arxiv:2401", "--quote", " ", "--ledger", "layers"], "a row needs a quote"),
        (["claim", "A.", "--paper", "arxiv:9", "--quote", "b", "--ledger", "layers"], "has no paper 'arxiv:9'"),
        (["claim", "A.", "--candidate", "--quote", "some words of it", "--ledger", "layers"], "name it with --paper"),
        (["screen", "arxiv:2401.00001", "exclude", "--reason", " ", "--ledger", "layers"], "reason"),
        (["claim", "A.", "--id", "../x", "--candidate", "--ledger", "layers"], "claim"),
        (["claim", "A.", "--question", "RQ7", "--candidate", "--ledger", "layers"], "no research question 'RQ7'"),
        (["read", "arxiv:2401.00001", "nothing.pdf", "--ledger", "layers"], "nothing.pdf"),
        (["read", "arxiv:2401.00001", "paper.md", "--version", "v7", "--ledger", "layers"], "has no version v7"),
        (["screen", "arxiv:2401.00001", "include", "--ledger", "layers"], "say what and why"),
        (["screen", "doi:10.1/x", "include", "--reason", "x", "--ledger", "layers"], "has no paper 'doi:10.1/x'"),
        (["verify", "--ledger", "layers"], "there is no row to look up"),
        (["withdraw", "c-9", "--reason", "x", "--ledger", "layers"], "has no claim, row or paper 'c-9'"),
        (["check", "all", "--study", ".", "--ledger", "layers"], "no claim carries a check"),
        (["restore", "c-9", "--reason", "x", "--ledger", "layers"], "has no claim, row or paper 'c-9'"),
        (["withdraw", "../x", "--reason", "x", "--ledger", "layers"], "has no claim, row or paper '../x'"),
        (["claim", "--id", "c-9", "--type", "method", "--ledger", "layers"], "has no claim 'c-9'"),
        (["read", "2401.00001", ".", "--ledger", "layers"], "a folder; say which file in it"),
        (["read", "2401.00001", "paper.md", "--source", "arxiv", "--ledger", "layers"], "leave --source and -O out"),
        (["read", "2401.00001", "paper.md", "--version", "", "--ledger", "layers"], "has no version (unnumbered)"),
        (["collect", "--source", "pdf", "-O", "path=paper.md", "--ledger", "layers"], "it reads .pdf only"),
        (["init", ""], "it is empty"),
        (["status", "--ledger", ""], "it is empty"),
        (["collect", "--source", "telepathy", "--ledger", "layers"], "no source 'telepathy'"),
        (["collect", "--source", "bibtex", "-O", "path", "--ledger", "layers"], "write KEY=VALUE"),
        (["collect", "--paper", "arxiv:../../etc/passwd", "--ledger", "layers"], "arxiv"),
    ],
)
def test_wrong_turns_are_told_in_a_line(folder: Path, arguments: list[str], said: str) -> None:
    before = (folder / "events.jsonl").read_bytes()
    assert said in lpk("ledger", *arguments, cwd=folder.parent, code=2).stderr
    assert (folder / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("ledger.toml", b"x = " + b"[" * 5000, "ledger.toml: not TOML: "),
        ("ledger.toml", bytes(range(128, 256)), "ledger.toml: not TOML: "),
        ("ledger.toml", b"", "ledger.toml: format is missing"),
        ("ledger.toml", b"format = 0", "ledger.toml: format: input should be 1, not 0"),
        ("ledger.toml", b'format = 1\ndirection = "x"', "ledger.toml: direction: wanted keys and values, not 'x'"),
        ("ledger.toml", None, "ledger.toml: is a directory"),
        ("policy.toml", b"x = " + b"[" * 5000, "policy.toml: not TOML: "),
        ("policy.toml", b'[severities]\nR-NUM-9 = "off"', "no rule 'R-NUM-9'; did you mean 'R-NUM-"),
        ("policy.toml", None, "policy.toml: is a directory"),
        ("events.jsonl", b"[" * 99999 + b"\n", "events.jsonl: line 1 is damaged"),
        ("events.jsonl", b'{"id": 1, "previous": 5}\n', "events.jsonl: line 1 is no event"),
        (
            "events.jsonl",
            b'{"id": "x", "previous": [], "at": NaN, "by": "b", "kind": "claim", "data": {}}\n',
            "events.jsonl: line 1 is no event",
        ),
        (
            "events.jsonl",
            rb'{"id": "x", "previous": [], "at": "\ud800", "by": "b", "kind": "claim", "data": {}}' + b"\n",
            "events.jsonl: line 1 is no event",
        ),
        ("events.jsonl", None, "events.jsonl: is a directory"),
        ("paper", b"no folder", "cannot write paper/paper.md: File exists"),
    ],
)
def test_a_file_that_is_something_else_is_told_in_a_line(
    folder: Path, file: str, data: bytes | None, said: str
) -> None:
    (folder / file).unlink(missing_ok=True)
    if data is None:
        (folder / file).mkdir()
    else:
        (folder / file).write_bytes(data)
    assert said in lpk("draft", cwd=folder, code=2).stderr


def test_a_ledger_without_events_is_an_empty_one(folder: Path) -> None:
    (folder / "events.jsonl").unlink()
    assert "0 of 0" in lpk("ledger", "screen", cwd=folder).stdout
    assert "blocked" in lpk("audit", cwd=folder, code=1).stdout


def test_a_paper_in_latin_1_is_told(folder: Path) -> None:
    (folder.parent / "latin.md").write_bytes("Prüfung".encode("latin-1"))
    done = lpk("ledger", "read", "arxiv:2401.00001", "latin.md", "--ledger", "layers", cwd=folder.parent, code=2)
    assert "latin.md" in done.stderr
    assert "UTF-8" in done.stderr
