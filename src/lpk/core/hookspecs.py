"""The extension points: one hook for each kind of plugin.

A plugin is a module named by an entry point in the group ``lpk``; it implements any of these hooks with
``@lpk.hookimpl``. It must import fast: no torch, transformers, optuna, pymupdf or numpy at the top of the module.
"""

from __future__ import annotations

from collections.abc import Iterable

from pluggy import HookspecMarker

from lpk.core.contracts import Component

hookspec = HookspecMarker("lpk")


@hookspec
def lpk_scorers() -> Iterable[Component]:
    """Layer scorers; each target is a :class:`lpk.core.contracts.Scorer`.

    Example::

        @lpk.hookimpl
        def lpk_scorers():
            yield Component("my-scorer", "Scores layers by ...", "my_package.scorer:MyScorer")
    """
    return ()


@hookspec
def lpk_searchers() -> Iterable[Component]:
    """Mask searchers; each target is a :class:`lpk.core.contracts.Searcher`."""
    return ()


@hookspec
def lpk_objectives() -> Iterable[Component]:
    """Calibration objectives; each target is a :class:`lpk.core.contracts.Objective`."""
    return ()


@hookspec
def lpk_executors() -> Iterable[Component]:
    """Executors; each target is a :class:`lpk.core.contracts.Executor`."""
    return ()


@hookspec
def lpk_sources() -> Iterable[Component]:
    """Evidence sources; each target is a :class:`lpk.core.evidence.contracts.Source`."""
    return ()


@hookspec
def lpk_rules() -> Iterable[Component]:
    """Audit rules; each target is a :class:`lpk.core.evidence.contracts.Rule`."""
    return ()
