"""``pytest`` in this folder, with lpk and this project installed."""

import pytest

import lpk.testing

PLUGINS = [("scorer", "update-size"), ("searcher", "best-swap")]
CHECKS = [
    pytest.param(check, id=f"{name}-{check.name}") for kind, name in PLUGINS for check in lpk.testing.checks(kind, name)
]


@pytest.mark.parametrize("check", CHECKS)
def test_conformance(check):
    check()
