"""The dashboard, ``index.html``: one page that needs nothing else, rendered from a ledger and its audit."""

from lpk.core.evidence.dashboard.page import page

__all__ = ["page"]
