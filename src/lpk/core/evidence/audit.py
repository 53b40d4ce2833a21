"""The audit: every rule over everything it is about, round by round, and the gate.

The gate is no mean of scores: one finding whose severity is error blocks. A rule that had nothing to look at has not
passed; it says so, and where the rule or the policy requires something to be there, that blocks too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lpk.core.errors import PluginError, UsageError, blaming, did_you_mean
from lpk.core.evidence.contracts import Finding, Rule, Severity
from lpk.core.evidence.ledger import Snapshot

if TYPE_CHECKING:
    from lpk.core.evidence.policy import Policy
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
class MutationScore:
    """What the rules were tested with: mutants of a ledger in which nothing is wrong (``lpk.testing.mutants``).

    Attributes:
        made: rule -> mutants that were made for it; a rule that is not here has none.
        survived: mutants that their rule did not find.
        alarms: what rules found in the ledger in which nothing is wrong.
        blind: rules that had nothing to look at there.
        hash: of all mutants.
    """

    made: Mapping[str, int]
    survived: tuple[str, ...]
    alarms: tuple[str, ...]
    blind: tuple[str, ...]
    hash: str

    @property
    def killed(self) -> str:
        """The kill rate, ``162/162``; ``n/a`` where there are no mutants."""
        total = sum(self.made.values())
        return f"{total - len(self.survived)}/{total}" if total else "n/a"


@dataclass(frozen=True)
class Audit:
    """All rules' findings.

    Attributes:
        policy: the hash of the policy.
        heads: the last events of the ledger that was audited.
        rules: by round, then code.
        versions: distribution -> version of those that offer the rules.
        off: codes of the rules that the policy turns off.
    """

    policy: str
    heads: tuple[str, ...]
    rules: tuple[Examined, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    off: tuple[str, ...] = ()

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


def rules(registry: Registry, policy: Policy | None = None) -> list[Rule[Any]]:
    """Every installed rule, by round and code.

    Raises:
        PluginError: one is broken, or two have one code: an audit that leaves a rule out is none.
        UsageError: the policy has a severity for a rule that there is not.
    """
    for culprit in registry.broken:  # it cannot be told what a broken entry point would have offered
        if culprit.provider.distribution == "lpk":
            raise PluginError(f"{culprit.provider.entry_point} of {culprit.provider} is broken: {culprit.reason}")
    made: list[Any] = [entry.create({}) for entry in registry.entries if entry.kind == "rule"]
    names: dict[str, str] = {}
    for rule in made:
        if names.setdefault(rule.id, rule.name) != rule.name:
            raise PluginError(f"rules {names[rule.id]} and {rule.name} have one code, {rule.id}; uninstall one")
    for name in policy.severities if policy else ():
        if name not in names:
            raise UsageError(f"policy.toml, severities: no rule {name!r}{did_you_mean(name, names)}")
    return sorted(made, key=lambda rule: (rule.round, rule.id))


def audit(ledger: Snapshot, among: Sequence[Rule[Any]], versions: Mapping[str, str] | None = None) -> Audit:
    """Run rules over a ledger. Those that the policy turns off are left out."""
    severities = ledger.policy.severities
    examined = [_examine(ledger, rule) for rule in among if severities.get(rule.id) != "off"]
    off = tuple(rule.id for rule in among if severities.get(rule.id) == "off")
    return Audit(ledger.policy.hash, tuple(ledger.heads), tuple(examined), versions or {}, off)


def full_audit(ledger: Snapshot, registry: Registry) -> Audit:
    """Run every installed rule over a ledger.

    Raises:
        PluginError, UsageError: as for :func:`rules`.
    """
    return audit(ledger, rules(registry, ledger.policy), offering(registry))


def offering(registry: Registry) -> dict[str, str]:
    """The distributions that offer rules, and their versions."""
    providers = [entry.provider for entry in registry.entries if entry.kind == "rule"]
    return {provider.distribution: provider.version for provider in providers}


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
