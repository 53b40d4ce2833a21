"""How pages are rendered: one jinja2 environment for all, in which a name that is not there is an error."""

from __future__ import annotations

from typing import Any

from lpk.core.errors import EnvironmentMissing


def environment(package: str, extra: str, **settings: Any) -> Any:
    """A jinja2 environment for the templates that lie in a package; HTML is escaped unless the settings say otherwise.

    Args:
        package: where the templates are.
        extra: the pip requirement that brings jinja2, for who lacks it.
        settings: jinja2's, where they differ.

    Raises:
        EnvironmentMissing: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError:
        raise EnvironmentMissing(f'pages need jinja2: pip install "{extra}"') from None
    usual: dict[str, Any] = {
        "autoescape": True,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    return Environment(loader=PackageLoader(package, "."), **(usual | settings))
