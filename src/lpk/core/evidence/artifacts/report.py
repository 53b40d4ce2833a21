"""What an audit found, written down: for people (Markdown), for programs (JSON), for editors and CI (SARIF 2.1.0).

There is no clock in any of them: the same ledger, policy, rules and versions give the same bytes.
SARIF: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lpk import __version__
from lpk.core.evidence.artifacts.render import write as write_files
from lpk.core.evidence.audit import ROUNDS, Audit, Examined, MutationScore
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.ledger import Ledger

#: Findings of one rule that a report in Markdown lists; the JSON has all.
LISTED: Final = 20

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def write(ledger: Ledger, audit: Audit, tested: MutationScore) -> list[Path]:
    """Write every report into the ledger; one that says the same is left alone."""
    made = files(audit, tested, event_lines(ledger.log.text()))
    write_files(ledger.folder, {name: text.encode() for name, text in made.items()})
    return [ledger.folder / name for name in made]


def files(audit: Audit, tested: MutationScore, lines: Mapping[str, int] | None = None) -> dict[str, str]:
    """Every report: file name -> text.

    Args:
        audit: what was found.
        tested: what the rules were tested with.
        lines: id of a row, claim or paper -> its line in ``events.jsonl``, for editors to go to.
    """
    return {
        "audit_report.md": markdown(audit, tested),
        "audit_report.json": _dump(as_json(audit, tested)),
        "audit.sarif": _dump(sarif(audit, lines or {})),
    }


def gate(audit: Audit) -> str:
    """``ready`` or ``blocked``."""
    return "ready" if audit.ready else "blocked"


def why(audit: Audit) -> list[str]:
    """Why the gate is shut: a line for each rule that blocks."""
    blocking = [rule for rule in audit.rules if rule.verdict == "fail"]
    if not blocking and not audit.ready:
        return ["no rule had anything to look at"]
    return [f"{rule.rule}, {times(len(rule.findings), 'finding')} against: {rule.title}" for rule in blocking]


def as_json(audit: Audit, tested: MutationScore) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "format": 1,
        "gate": gate(audit),
        "why": why(audit),
        "policy": audit.policy,
        "heads": list(audit.heads),
        "versions": {"lpk": __version__} | dict(sorted(audit.versions.items())),
        "turned_off": list(audit.off),
        "findings": counted(audit),
        "mutants": {
            "killed": tested.killed,
            "survived": list(tested.survived),
            "false_alarms": list(tested.alarms),
            "rules_without": [rule.rule for rule in audit.rules if not tested.made.get(rule.rule)],
            "hash": tested.hash,
        },
        "rounds": [
            {
                "round": number,
                "about": ROUNDS.get(number, "Plugins"),
                "verdict": verdict(audit.of_round(number)),
                "rules": [_rule(rule, tested) for rule in audit.of_round(number)],
            }
            for number in audit.rounds
        ],
    }


def _rule(rule: Examined, tested: MutationScore) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "plugin": rule.plugin,
        "severity": rule.severity,
        "must_hold": rule.title,
        "looked_at": rule.count,
        "verdict": rule.verdict,
        "mutants_killed": _killed(rule.rule, tested),
        "remedy": rule.remedy,
        "findings": [{"message": found.message, "subjects": list(found.subjects)} for found in rule.findings],
    }


def verdict(rules: Iterable[Examined]) -> str:
    """A round's: the worst of its rules; n/a if none had anything to look at."""
    seen = {rule.verdict for rule in rules}
    return next((each for each in ("fail", "warn", "note", "pass") if each in seen), "n/a")


# Markdown ------------------------------------------------------------------------------------------------------------


def markdown(audit: Audit, tested: MutationScore) -> str:
    """The report for people."""
    counts = counted(audit)
    said = [
        "# Audit report",
        "",
        f"**Gate: {gate(audit)}.** {times(counts['error'], 'error')}, {times(counts['warning'], 'warning')}, "
        f"{times(counts['info'], 'info')} of {len(audit.rules)} rules.",
        "",
        *(f"- {_escaped(reason)}" for reason in why(audit)),
        *([""] if why(audit) else []),
        "The gate is no mean of scores: one error shuts it. A rule that had nothing to look at has not passed; it is n/a.",
        "",
        f"- policy: `{audit.policy}`",
        f"- ledger: `{'`, `'.join(audit.heads) or 'no events'}`",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in _versions(audit)),
        *([f"- turned off by the policy: {', '.join(audit.off)}"] if audit.off else []),
        f"- rules tested: {tested.killed} mutants found, {times(len(tested.alarms), 'false alarm')} in the clean ledger "
        f"(mutants `{tested.hash}`)",
        *(f"  - not found: {_escaped(each)}" for each in tested.survived),
        *(f"  - false alarm: {_escaped(each)}" for each in tested.alarms),
    ]
    for number in audit.rounds:
        said += ["", *_round(number, audit.of_round(number), tested)]
    return "\n".join(said) + "\n"


def _round(number: int, rules: list[Examined], tested: MutationScore) -> list[str]:
    said = [
        f"## Round {number}: {ROUNDS.get(number, 'Plugins')}: {verdict(rules)}",
        "",
        "| Rule | What must hold | Looked at | Verdict | Findings | Mutants |",
        "|---|---|---:|---|---:|---:|",
    ]
    for rule in rules:
        cells = (rule.rule, rule.title, rule.count, rule.verdict, len(rule.findings), _killed(rule.rule, tested))
        said.append("| " + " | ".join(_escaped(str(cell)) for cell in cells) + " |")
    for rule in rules:
        if rule.findings:
            said += ["", f"### {rule.rule}: {_escaped(rule.title)}", "", f"To mend: {_escaped(rule.remedy)}", ""]
            said += [f"- {_item(found)}" for found in rule.findings[:LISTED]]
            if len(rule.findings) > LISTED:
                said.append(f"- and {len(rule.findings) - LISTED} more: audit_report.json has them all")
    return said


def _item(found: Finding) -> str:
    named = ", ".join(f"`{subject}`" for subject in found.subjects)
    return f"{_escaped(found.message)} ({named})" if named else _escaped(found.message)


def _escaped(text: str) -> str:
    """Words of a paper are no Markdown and no HTML."""
    text = " ".join(text.split())
    for char in "\\`*_[]|<>":
        text = text.replace(char, "\\" + char if char != "<" else "&lt;")
    return text


# SARIF ---------------------------------------------------------------------------------------------------------------


def sarif(audit: Audit, lines: Mapping[str, int]) -> dict[str, Any]:
    """The findings in SARIF 2.1.0."""
    results = [
        _result(nth, rule, found, lines) for nth, rule in enumerate(audit.rules) for found in rule.findings
    ]  # fmt: skip
    driver = {
        "name": "lpk audit",
        "version": __version__,
        "rules": [
            {
                "id": rule.rule,
                "shortDescription": {"text": rule.title},
                "help": {"text": rule.remedy},
                "defaultConfiguration": {"level": _LEVELS[rule.severity]},
                "properties": {"round": rule.round, "plugin": rule.plugin},
            }
            for rule in audit.rules
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "properties": {"gate": gate(audit), "policy": audit.policy, "heads": list(audit.heads)},
        "results": results,
    }
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _result(nth: int, rule: Examined, found: Finding, lines: Mapping[str, int]) -> dict[str, Any]:
    said = hashlib.sha256(json.dumps([rule.rule, found.message, found.subjects]).encode()).hexdigest()
    return {
        "ruleId": rule.rule,
        "ruleIndex": nth,
        "level": _LEVELS[rule.severity],
        "message": {"text": found.message},
        "locations": [_location(subject, lines) for subject in found.subjects[:10]] or [_location("", lines)],
        "partialFingerprints": {"lpkFinding/v1": said[:32]},
    }


def _location(subject: str, lines: Mapping[str, int]) -> dict[str, Any]:
    file, _, line = subject.rpartition(":")
    if file.endswith(".md") and line.isdigit():
        uri, number = file, int(line)
    elif subject.endswith((".toml", ".csv", ".json")):
        uri, number = subject, 1
    else:
        uri, number = ("events.jsonl", lines[subject]) if subject in lines else ("ledger.toml", 1)
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": number}},
        "logicalLocations": [{"name": subject or "ledger"}],
    }


def event_lines(events: str) -> dict[str, int]:
    """Which line of ``events.jsonl`` first wrote a row, claim or paper down."""
    found: dict[str, int] = {}
    for number, line in enumerate(events.splitlines(), start=1):
        try:
            data = json.loads(line)["data"]
        except (ValueError, KeyError, TypeError):
            continue
        for name in (data.get("id"), data.get("paper")):
            if isinstance(name, str):
                found.setdefault(name, number)
    return found


# -- how --------------------------------------------------------------------------------------------------------------


def counted(audit: Audit) -> dict[str, int]:
    """Findings by severity."""
    return {
        severity: sum(len(rule.findings) for rule in audit.rules if rule.severity == severity) for severity in _LEVELS
    }


def _killed(rule: str, tested: MutationScore) -> str:
    made = tested.made.get(rule, 0)
    lost = sum(each.startswith(f"{rule}: ") for each in tested.survived)
    return f"{made - lost}/{made}" if made else "none"


def _versions(audit: Audit) -> list[tuple[str, str]]:
    return list(({"lpk": __version__} | dict(sorted(audit.versions.items()))).items())


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def times(count: int, what: str) -> str:
    """``1 error``, ``2 errors``."""
    what = "note" if what == "info" else what
    return f"{count} {what}" + ("s" if count != 1 else "")


def rules_table(rules: Iterable[Rule[Any]]) -> str:
    """What each rule is about, for the documentation."""
    said: list[str] = []
    number = 0
    for rule in rules:
        if rule.round != number:
            number = rule.round
            said += ["", f"### Round {number}: {ROUNDS.get(number, 'Plugins')}", ""]
            said += ["| Rule | Severity | What must hold | To mend |", "|---|---|---|---|"]
        severity = rule.severity + (", must look at something" if rule.required else "")
        said.append("| " + " | ".join(_escaped(cell) for cell in (rule.id, severity, rule.title, rule.remedy)) + " |")
    return "\n".join([*said[1:], ""])
