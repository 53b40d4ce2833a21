"""The audit's reports, and the command that writes them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import standards
from conftest import Lpk, refused
from fake_plugins import distribution, entry_points
from ledgers import in_folder, supported_records

from lpk import __version__
from lpk.core.evidence.artifacts import report
from lpk.core.evidence.audit import Audit, MutationScore, full_audit, rules
from lpk.core.evidence.contracts import Finding
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Claim, Document
from lpk.core.registry import Registry, installed
from lpk.testing import checks
from lpk.testing.mutants import MUTANTS, clean, try_rules

ROOT = Path(__file__).parent.parent
SEED = Path(__file__).parent / "data" / "seed-ledger"
REPORTS = ["audit_report.md", "audit_report.json", "audit.sarif"]


@pytest.fixture(scope="module")
def tested() -> MutationScore:
    return try_rules(rules(installed()))


@pytest.fixture(scope="module")
def seed() -> Audit:
    return full_audit(Ledger(SEED).snapshot(), installed())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger that is blocked."""
    in_folder(tmp_path / "ledger", supported_records())
    return tmp_path / "ledger"


# -- what they say ----------------------------------------------------------------------------------------------------


def test_the_json_has_every_rule_and_finding(seed: Audit, tested: MutationScore) -> None:
    said = json.loads(report.files(seed, tested)["audit_report.json"])
    assert (said["gate"], said["policy"], said["heads"]) == ("blocked", seed.policy, list(seed.heads))
    assert said["versions"]["lpk"] == __version__
    assert [each["round"] for each in said["rounds"]] == [1, 2, 3, 4, 5, 6, 7]
    listed = {rule["rule"]: rule for each in said["rounds"] for rule in each["rules"]}
    for rule in seed.rules:
        shown = listed.pop(rule.rule)
        assert [found["message"] for found in shown["findings"]] == [found.message for found in rule.findings]
        assert [found["subjects"] for found in shown["findings"]] == [list(found.subjects) for found in rule.findings]
        assert (shown["looked_at"], shown["verdict"], shown["must_hold"], shown["remedy"]) == (
            rule.count, rule.verdict, rule.title, rule.remedy,
        )  # fmt: skip
    assert not listed
    counts = said["findings"]
    assert sum(counts.values()) == sum(len(rule.findings) for rule in seed.rules)
    assert counts["error"] == len(seed.blocking)
    assert len(said["why"]) == sum(rule.verdict == "fail" for rule in seed.rules)


def test_the_kill_rate_stands_in_every_report_with_the_hash_of_the_mutants(seed: Audit, tested: MutationScore) -> None:
    said = json.loads(report.files(seed, tested)["audit_report.json"])["mutants"]
    assert said["killed"] == f"{len(MUTANTS)}/{len(MUTANTS)}"
    assert said["hash"] == tested.hash
    assert said["rules_without"] == []
    markdown = report.files(seed, tested)["audit_report.md"]
    assert f"{said['killed']} mutants found" in markdown
    assert tested.hash in markdown


def test_a_rule_that_lost_its_eyes_is_named(seed: Audit, tested: MutationScore) -> None:
    blind = replace(tested, survived=("R-NUM-1: a number that no row quotes",))
    markdown = report.files(seed, blind)["audit_report.md"]
    assert "not found: R-NUM-1: a number that no row quotes" in markdown
    assert re.search(r"\| R-NUM-1 \|.*\| 1/2 \|", markdown)


def test_the_markdown_has_a_table_for_each_round_and_every_rule(seed: Audit, tested: MutationScore) -> None:
    markdown = report.files(seed, tested)["audit_report.md"]
    assert re.findall(r"^## Round (\d)", markdown, re.M) == list("1234567")
    rows = re.findall(r"^\| (R-[A-Z]+-\d) \|", markdown, re.M)
    assert rows == [rule.rule for rule in seed.rules]
    width = {line.count("|") - line.count("\\|") for line in markdown.splitlines() if line.startswith("|")}
    assert width == {7}
    for rule in seed.rules:
        assert (f"### {rule.rule}: " in markdown) == bool(rule.findings)


def test_words_of_a_paper_are_neither_markdown_nor_html(tested: MutationScore) -> None:
    nasty = "x | y <script>alert(1)</script> `code` [link](http://a) **bold**\n## Round 9: pass"
    wrong = clean().plus(Claim(id="c-nasty", text=nasty))
    found = full_audit(wrong.snapshot(), installed())
    markdown = report.files(found, tested)["audit_report.md"]
    assert "alert" in markdown
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\*\*bold", markdown)
    assert not re.search(r"^## Round 9", markdown, re.M)
    assert "[link]" not in markdown


def test_a_long_list_of_findings_is_cut_in_markdown_alone(tested: MutationScore) -> None:
    many = [Claim(id=f"c-{number:03}", text=f"Claim {number} has no row at all.") for number in range(50)]
    found = full_audit(clean().plus(*many).snapshot(), installed())
    files = report.files(found, tested)
    assert "- and 30 more: audit" in files["audit_report.md"]
    assert files["audit_report.json"].count("has no row at all") >= 50


def test_the_sarif_is_of_the_standard(seed: Audit, tested: MutationScore) -> None:
    """What SARIF 2.1.0 requires (OASIS, 2020), and what GitHub does."""
    text = (SEED / "events.jsonl").read_text(encoding="utf-8")
    said = json.loads(report.files(seed, tested, report.event_lines(text))["audit.sarif"])
    standards.check("sarif-2.1.0-rtm.5", said)
    with pytest.raises(AssertionError, match="runs/0: 'tool' is a required property"):
        standards.check("sarif-2.1.0-rtm.5", {**said, "runs": [{"results": []}]})
    assert said["$schema"].endswith("sarif-2.1.0.json")
    (run,) = said["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "lpk audit"
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == [rule.rule for rule in seed.rules]
    assert len(run["results"]) == sum(len(rule.findings) for rule in seed.rules)
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        for location in result["locations"]:
            place = location["physicalLocation"]
            lines = (SEED / place["artifactLocation"]["uri"]).read_text(encoding="utf-8").splitlines()
            assert 1 <= place["region"]["startLine"] <= len(lines)
    prints = [result["partialFingerprints"]["lpkFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_the_sarif_leads_to_the_line_of_a_row_and_of_the_draft(seed: Audit, tested: MutationScore) -> None:
    text = (SEED / "events.jsonl").read_text(encoding="utf-8")
    (run,) = json.loads(report.files(seed, tested, report.event_lines(text))["audit.sarif"])["runs"]
    by_rule = {result["ruleId"]: result["locations"][0]["physicalLocation"] for result in run["results"]}
    row = by_rule["R-VER-1"]
    assert row["artifactLocation"]["uri"] == "events.jsonl"
    assert '"r-2604"' in text.splitlines()[row["region"]["startLine"] - 1]
    passage = by_rule["R-RQ-2"]
    assert passage["artifactLocation"]["uri"] == "paper/paper.md"
    draft = (SEED / "paper" / "paper.md").read_text(encoding="utf-8").splitlines()
    assert "RQ1/RQ2" in draft[passage["region"]["startLine"] - 1]


def test_verdicts_of_rounds_are_the_worst_of_their_rules(seed: Audit) -> None:
    some = [rule for rule in seed.rules if rule.verdict in ("pass", "n/a")]
    assert report.verdict(some) == "pass"
    assert report.verdict([rule for rule in some if rule.verdict == "n/a"]) == "n/a"
    warned = replace(some[0], severity="warning", findings=(Finding("x", ()),))
    assert report.verdict([*some, warned]) == "warn"
    assert report.verdict([*some, warned, replace(warned, severity="error")]) == "fail"
    assert report.verdict([]) == "n/a"


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_blocked_ledger_exits_1_and_says_what_to_do(lpk: Lpk, folder: Path) -> None:
    done = lpk("audit", folder)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"{folder}: blocked. ")
    assert "to mend: " in done.stdout
    assert f"rules tested on {len(MUTANTS)}/{len(MUTANTS)} mutants" in done.stdout
    assert sorted(path.name for path in folder.glob("audit*")) == sorted(REPORTS)


def test_a_ready_ledger_exits_0(lpk: Lpk, tmp_path: Path) -> None:
    made = clean()
    direction = made.direction.model_dump(mode="json")
    toml = "format = 1\n" + _toml("direction", direction)
    ledger = in_folder(tmp_path / "clean", made.records[1:], toml)
    for record in made.records:
        if isinstance(record, Document):
            file = ledger.papers / record.file
            file.write_text("\f".join(made.texts[record.sha256]), encoding="utf-8", newline="")
    (head,), (now,) = made.snapshot().heads, ledger.snapshot().heads
    for name, written in made.artifacts.items():
        text = written.replace(head, now)
        (ledger.folder / name).parent.mkdir(exist_ok=True)
        (ledger.folder / name).write_text(text.replace("2026-05-20", ledger.log.read()[-1].at[:10]), encoding="utf-8")
    done = lpk("audit", ledger.folder)
    assert done.returncode == 0, done.stdout
    assert ": ready. 0 errors, 0 warnings" in done.stdout.splitlines()[0]
    file.unlink()
    done = lpk("audit", ledger.folder)
    assert done.returncode == 1, done.stdout
    assert "error R-QUOTE-7" in done.stdout, "what nothing has looked up again is not ready"


def _toml(name: str, value: dict[str, Any]) -> str:
    """Enough TOML for a direction."""
    plain = {
        key: each for key, each in value.items() if not (isinstance(each, list) and each and isinstance(each[0], dict))
    }
    lines = [f"[{name}]", *(f"{key} = {json.dumps(each)}" for key, each in plain.items())]
    for key in value.keys() - plain.keys():
        for each in value[key]:
            lines += [f"[[{name}.{key}]]", *(f"{inner} = {json.dumps(said)}" for inner, said in each.items())]
    return "\n".join(lines) + "\n"


def test_reports_are_the_same_bytes_when_nothing_changed(lpk: Lpk, folder: Path) -> None:
    lpk("audit", folder)
    first = {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in REPORTS}
    for seed in ("1", "2"):
        lpk("audit", folder, env={"PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo", "LC_ALL": "C"})
        again = {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in REPORTS}
        assert again == first, "nor are they written again"


def test_a_history_that_lost_its_end_or_is_another_one_is_told_by_the_artifacts(lpk: Lpk, folder: Path) -> None:
    def found() -> tuple[int, list[str]]:
        done = lpk("audit", folder, "--only", "R-FILE-3", "--json")
        return done.returncode, [
            each["message"] for each in json.loads(done.stdout)["rounds"][0]["rules"][0]["findings"]
        ]

    assert lpk("draft", folder).returncode == 0
    assert found() == (0, [])
    ledger = Ledger(folder)
    (rendered,) = ledger.snapshot().heads
    ledger.write([Claim(id="c-later", text="Removing layers is cheap.")])
    assert found() == (0, []), "what came later is no other history"
    lines = ledger.log.path.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.log.path.write_text("".join(lines[:-2]), encoding="utf-8")
    message = f"production_run.json was rendered from event {rendered[:12]}, which the ledger does not have"
    assert found() == (1, [message])
    assert lpk("draft", folder).returncode == 0
    other = in_folder(folder.parent / "other", supported_records()[:2])
    assert lpk("draft", other.folder).returncode == 0
    shutil.copy(other.folder / "production_run.json", folder)
    assert found()[0] == 1


def test_only_some_rules_and_no_reports(lpk: Lpk, folder: Path) -> None:
    done = lpk("audit", folder, "--only", "r-chain-1", "--only", "R-LINK-1")
    assert done.returncode == 0, done.stdout
    assert "1      Integrity" in done.stdout
    assert not list(folder.glob("audit*"))
    refused(lpk("audit", folder, "--only", "R-CITE-9"), 2, "no rule 'R-CITE-9'", "did you mean 'R-CITE-1'")


def test_a_dry_run_writes_nothing(lpk: Lpk, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = lpk("audit", folder, "--dry-run", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["gate"] == "blocked"
    assert [path for path in sorted(folder.rglob("*")) if path not in before] == []


def test_the_json_that_is_printed_is_the_report(lpk: Lpk, folder: Path) -> None:
    done = lpk("audit", folder, "--json")
    assert json.loads(done.stdout) == json.loads((folder / "audit_report.json").read_text(encoding="utf-8"))


def test_the_rules_are_listed(lpk: Lpk) -> None:
    done = lpk("audit", "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [rule.id for rule in rules(installed())]
    listed = json.loads(lpk("audit", "--list", "--json").stdout)
    assert [each["id"] for each in listed] == [rule.id for rule in rules(installed())]


def test_bad_input_is_refused(lpk: Lpk, tmp_path: Path, folder: Path) -> None:
    refused(lpk("audit", tmp_path), 2, "holds no ledger", "lpk ledger init")
    (folder / "policy.toml").write_text('[severities]\n"R-NUMB-1" = "off"\n', encoding="utf-8")
    refused(lpk("audit", folder), 2, "policy.toml", "no rule 'R-NUMB-1'", "R-NUM-1")
    (folder / "policy.toml").write_text("quotes = 3\n", encoding="utf-8")
    refused(lpk("audit", folder), 2, "policy.toml", "quotes")
    (folder / "policy.toml").unlink()
    events = folder / "events.jsonl"
    events.write_text(events.read_text(encoding="utf-8").replace("Ada Lovelace", "Eve"), encoding="utf-8")
    refused(lpk("audit", folder), 2, "line 2", "was changed after it was written")


def test_the_ledger_in_the_working_directory_is_meant(lpk: Lpk, folder: Path) -> None:
    done = lpk("audit", cwd=folder)
    assert done.returncode == 1
    assert (folder / "audit_report.md").exists()


def test_without_a_ledger_the_example_is_meant(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpk.commands.audit import audit

    monkeypatch.setattr("lpk.core.evidence.example.open_example", lambda: folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert audit.main(["--json"], standalone_mode=False) == 1
    assert (folder / "audit_report.md").exists()


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lpk.cli import main\n"
        "try: main(['audit', '--list'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pymupdf', 'transformers') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


# -- the documentation ------------------------------------------------------------------------------------------------


def test_the_table_of_rules_is_that_of_the_plugins() -> None:
    """``LPK_WRITE_DOCS=1`` writes it anew."""
    path = ROOT / "docs" / "audit.md"
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- rules -->\n", "<!-- end -->\n"
    head, _, rest = text.partition(begin)
    right = head + begin + report.rules_table(rules(installed())) + end + rest.partition(end)[2]
    if os.environ.get("LPK_WRITE_DOCS"):
        path.write_text(right, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == right, (
        "LPK_WRITE_DOCS=1 python -m pytest tests/test_audit_report.py -k table"
    )


def test_the_rule_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^    import lpk\n(?:    .*\n|\n)+", text, re.M)
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "lpk-mine", "1.0", {"my_rules": textwrap.dedent(code)}, {"my-rules": "my_rules"})
    registry = Registry.load(entry_points(tmp_path))
    wordy = clean().plus(Claim(id="c-wordy", text="word " * 31))
    (found,) = full_audit(wordy.snapshot(), registry).rules
    assert [finding.message for finding in found.findings] == ["claim c-wordy has 31 words"]
    assert found.count == 5
    for check in checks("rule", "x-short-1", registry):
        if check.name != "import-is-light":  # it is in this process alone
            check()


def test_quotes_of_the_documentation_are_true() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert f"{len(rules(installed()))} rules" in text
    assert f"{len(MUTANTS)} mutants" in text
