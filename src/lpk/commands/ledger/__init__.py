"""``lpk ledger``: from a research direction to claims that are supported, or are not."""

from lpk.commands.ledger import claims, papers, views  # noqa: F401 - each adds its commands to the group
from lpk.commands.ledger.common import ledger

__all__ = ["ledger"]
