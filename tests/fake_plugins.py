"""Installed distributions for the registry to find, made of files: no pip is needed."""

from __future__ import annotations

import textwrap
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path


def distribution(
    root: Path, name: str, version: str, modules: dict[str, str], points: dict[str, str] | None = None
) -> Path:
    """Lay a distribution down under ``root``; its entry points default to one for each module, of the module's name."""
    info = root / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{point} = {module}" for point, module in (points or {module: module for module in modules}).items()]
    (info / "entry_points.txt").write_text("[lpk]\n" + "\n".join(lines) + "\n")
    for module, code in modules.items():
        (root / f"{module}.py").write_text(textwrap.dedent(code))
    return root


def entry_points(root: Path) -> list[EntryPoint]:
    """The entry points of every distribution under ``root``."""
    return [point for info in sorted(root.glob("*.dist-info")) for point in PathDistribution(info).entry_points]


def scorer(name: str, target: str = "json:JSONDecoder", extra: str = "") -> str:
    """The code of a plugin module that offers one scorer."""
    return f"""
        import lpk
        from lpk.core.contracts import Component

        @lpk.hookimpl
        def lpk_scorers():
            yield Component({name!r}, "Scores.", {target!r}, extra={extra!r})
    """
