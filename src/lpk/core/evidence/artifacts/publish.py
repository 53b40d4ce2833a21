"""An audit with every installed rule, and the artifacts that say what it says."""

from __future__ import annotations

from lpk.core.evidence.artifacts.render import settled
from lpk.core.evidence.audit import Audit, offering, rules
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.work import snapshot
from lpk.core.registry import Registry


def audited(ledger: Ledger, registry: Registry) -> tuple[Audit, dict[str, bytes]]:
    """:func:`lpk.core.evidence.artifacts.settled` with every rule and the full texts at hand.

    Raises:
        PluginError: a rule is broken.
        UsageError: as for ``settled``; or the policy has a severity for a rule that there is not.
    """
    return settled(ledger, rules(registry, ledger.policy), snapshot(ledger, registry).texts, offering(registry))
