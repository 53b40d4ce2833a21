"""The audit: every rule over everything it is about, round by round, and the gate.

The gate is no mean of scores: one finding whose severity is error blocks. A rule that had nothing to look at has not
passed; it says so, and where the rule or the policy requires something to be there, that blocks too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lpk.core.errors import blaming
from lpk.core.evidence.contracts import Finding, Rule, Severity
from lpk.core.evidence.ledger import Snapshot
from lpk.core.registry import Registry

#: round -> what it is about. Plugins may add rounds.
ROUNDS: Final = {
    1: "Integrity",
    2: "Sources and versions",
    3: "Quotes and locators",
    4: "Claims against quotes",
    5: "Scope, screening and coverage",
    6: "Text and synthesis",
    7: "Reproducibility and gate",
}


@dataclass(frozen=True)
class Examined:
    """What one rule looked at and found.

    Attributes:
        rule: its code, such as ``R-NUM-1``.
        plugin: who offers it, e.g. ``lpk/r-num-1``.
        round: 1 to 7.
        severity: what a finding of it means: its own, or the policy's.
        title: what must hold.
        remedy: how to mend what it finds.
        count: how many things it looked at.
        findings: what was wrong with them.
    """

    rule: str
    plugin: str
    round: int
    severity: Severity
    title: str
    remedy: str
    count: int
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """``pass``, ``fail``, ``warn``, ``note``, or ``n/a`` where there was nothing to look at."""
        if self.findings:
            return {"error": "fail", "warning": "warn", "info": "note"}[self.severity]
        return "pass" if self.count else "n/a"


@dataclass(frozen=True)
class Audit:
    """All rules' findings.

    Attributes:
        policy: the hash of the policy.
        heads: the last events of the ledger that was audited.
        rules: by round, then code.
    """

    policy: str
    heads: tuple[str, ...]
    rules: tuple[Examined, ...]

    @property
    def blocking(self) -> list[tuple[Examined, Finding]]:
        """What keeps the gate shut."""
        return [(rule, found) for rule in self.rules if rule.severity == "error" for found in rule.findings]

    @property
    def ready(self) -> bool:
        """Whether the gate is open: rules looked at something, and none found an error."""
        return any(rule.count for rule in self.rules) and not self.blocking

    def of_round(self, number: int) -> list[Examined]:
        """The rules of a round."""
        return [rule for rule in self.rules if rule.round == number]

    @property
    def rounds(self) -> list[int]:
        """The rounds that have rules."""
        return sorted({rule.round for rule in self.rules})


def rules(registry: Registry) -> list[Rule[Any]]:
    """Every installed rule, by round and code.

    Raises:
        PluginError: one is broken: an audit that leaves a rule out is none.
    """
    made: list[Any] = [
        registry.find("rule", entry.qualified).create({}) for entry in registry.entries if entry.kind == "rule"
    ]
    return sorted(made, key=lambda rule: (rule.round, rule.id))


def audit(ledger: Snapshot, among: Sequence[Rule[Any]]) -> Audit:
    """Run rules over a ledger. Those that the policy turns off are left out."""
    severities = ledger.policy.severities
    examined = [_examine(ledger, rule) for rule in among if severities.get(rule.id) != "off"]
    return Audit(ledger.policy.hash, tuple(ledger.heads), tuple(examined))


def _examine(ledger: Snapshot, rule: Rule[Any]) -> Examined:
    with blaming(f"rule {rule.id}"):
        subjects = list(rule.subjects(ledger))
        findings = [found for subject in subjects for found in rule.examine(ledger, subject)]
    if rule.required and not subjects:
        findings = [Finding("there is nothing to look at, and nothing passes over zero items", (ledger.direction.id,))]
    severity: Any = ledger.policy.severities.get(rule.id, rule.severity)
    return Examined(
        rule.id, rule.name, rule.round, severity, rule.title, rule.remedy, len(subjects), tuple(findings)
    )  # fmt: skip
