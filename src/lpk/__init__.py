"""lpk: which layers of a language model can go, and what that costs."""

from pluggy import HookimplMarker

__version__ = "0.1.0"

#: Marks a plugin module's hook functions, e.g. ``@lpk.hookimpl def lpk_scorers(): ...``.
hookimpl = HookimplMarker("lpk")
