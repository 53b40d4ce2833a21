"""What plugin authors test with: tiny models, and the checks that every plugin of a kind must pass.

In a test file of the plugin, installed beside lpk::

    import pytest
    import lpk.testing

    @pytest.mark.parametrize("check", lpk.testing.checks("scorer", "my-scorer"), ids=lambda check: check.name)
    def test_conformance(check):
        check()

or ``lpk plugins check my-scorer``. A source of papers takes options too, with which it finds some. The built-in plugins pass the same checks.
"""

from lpk.testing.conformance import Check, checks
from lpk.testing.tiny import random_sequences, tiny_model

__all__ = ["Check", "checks", "random_sequences", "tiny_model"]
