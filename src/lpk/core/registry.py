"""Finds plugins, isolates broken ones, resolves names, explains conflicts."""

from __future__ import annotations

import pkgutil
import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final

import pluggy
from pydantic import ValidationError

from lpk.core import hookspecs
from lpk.core.contracts import Component, Executor, Objective, Options, Plugin, Scorer, Searcher
from lpk.core.errors import EnvironmentMissing, PluginError, UsageError, did_you_mean
from lpk.core.evidence.contracts import Rule, Source

#: kind -> (hook, what the target must be). A new kind is a row here, a hook and a contract.
KINDS: Final[Mapping[str, tuple[str, type[Plugin[Any]]]]] = {
    "scorer": ("lpk_scorers", Scorer),
    "searcher": ("lpk_searchers", Searcher),
    "objective": ("lpk_objectives", Objective),
    "executor": ("lpk_executors", Executor),
    "source": ("lpk_sources", Source),
    "rule": ("lpk_rules", Rule),
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Provider:
    """The entry point that offers a plugin, and the distribution that installed it."""

    entry_point: str
    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Entry:
    """A component that can be used."""

    kind: str
    component: Component
    provider: Provider

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def qualified(self) -> str:
        """The name that stays unambiguous whatever else is installed: ``lpk/angular``."""
        return f"{self.provider.distribution}/{self.name}"

    def options(self, values: Mapping[str, Any]) -> Options:
        """Validate option values; strings are converted to the fields' types.

        Raises:
            UsageError: an option is unknown or its value is of the wrong type.
        """
        try:
            return self.component.options.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError(self._explain(error)) from None

    def _explain(self, error: ValidationError) -> str:
        first = error.errors(include_url=False)[0]
        option = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = self.component.options.model_fields
            hint = did_you_mean(option, known) if known else "; it has none"
            return f"{self.kind} {self.name!r} has no option {option!r}{hint}"
        said = first["msg"].removeprefix("Value error, ")
        return f"{self.kind} {self.name!r}, option {option!r}: {said[:1].lower()}{said[1:]}, not {first['input']!r}"

    def create(self, values: Mapping[str, Any] | None = None) -> Plugin[Any]:
        """Import the target and make it with these options.

        Raises:
            UsageError: the options are wrong.
            EnvironmentMissing: the target needs an extra that is not installed.
            PluginError: the target cannot be imported or is not what its kind demands.
        """
        options = self.options(values or {})
        try:
            target = pkgutil.resolve_name(self.component.target)
        except ModuleNotFoundError as error:
            if self.component.extra:
                command = f'pip install "{self.component.extra}"'
                raise EnvironmentMissing(f"{self.kind} {self.name!r} needs {error.name}: {command}") from error
            raise self._broken(error) from error
        except Exception as error:
            raise self._broken(error) from error
        contract = KINDS[self.kind][1]
        if not (isinstance(target, type) and issubclass(target, contract)):
            raise self._broken(f"{self.component.target} is not a {contract.__name__}")
        try:
            made: Plugin[Any] = target(options)
        except Exception as error:
            raise self._broken(error) from error
        made.name = self.qualified
        return made

    def _broken(self, reason: object) -> PluginError:
        return PluginError(f"{self.kind} {self.name!r} of {self.provider} is broken: {_one_line(reason)}")


@dataclass(frozen=True)
class Broken:
    """An entry point that cannot be used, and why."""

    provider: Provider
    reason: str
    details: str = field(default="", compare=False)


@dataclass(frozen=True)
class Registry:
    """Every plugin that is installed, sorted by kind, name and distribution."""

    entries: tuple[Entry, ...] = ()
    broken: tuple[Broken, ...] = ()

    @classmethod
    def load(cls, points: Iterable[EntryPoint] | None = None) -> Registry:
        """Load every entry point of the group ``lpk``; a broken one is recorded and harms no other."""
        manager = pluggy.PluginManager("lpk")
        manager.add_hookspecs(hookspecs)
        entries: list[Entry] = []
        broken: list[Broken] = []
        for point in sorted(entry_points(group="lpk") if points is None else points, key=_origin):
            provider = _provider(point)
            try:
                offered = list(_components(manager, point, provider))
                _refuse_twins(offered, entries)
            except (Exception, SystemExit) as error:
                broken.append(Broken(provider, _one_line(error), traceback.format_exc()))
            else:
                entries += offered
        kinds = list(KINDS)
        entries.sort(key=lambda entry: (kinds.index(entry.kind), entry.name, entry.provider.distribution))
        return cls(tuple(entries), tuple(broken))

    def find(self, kind: str, name: str) -> Entry:
        """The component of this kind with this plain or qualified (``distribution/name``) name.

        Raises:
            UsageError: there is none.
            PluginError: two distributions offer it, or the plugin that would is broken.
        """
        found = [e for e in self.entries if e.kind == kind and name in (e.name, e.qualified)]
        if len(found) == 1:
            return found[0]
        if found:
            offers = " and ".join(str(entry.provider) for entry in found)
            ways = " or ".join(f"--{kind} {entry.qualified}" for entry in found)
            raise PluginError(f"{kind} {name!r} is offered by {offers}; say which: {ways}")
        for culprit in self.broken:
            source = culprit.provider
            if name in (source.entry_point, f"{source.distribution}/{source.entry_point}"):
                raise PluginError(f"plugin {name!r} of {source} is broken: {culprit.reason}")
        if not self.entries:
            raise UsageError(
                f"no {kind} {name!r}: no plugin is installed at all; is lpk itself installed? pip install ."
            )
        raise UsageError(f"no {kind} {name!r}{did_you_mean(name, (e.name for e in self.entries if e.kind == kind))}")


@cache
def installed() -> Registry:
    """The registry of this environment, loaded once."""
    return Registry.load()


def describe_options(options: type[Options]) -> list[dict[str, Any]]:
    """Name, type, default and help of each option, for tables and JSON."""
    schema = options.model_json_schema()
    rows = []
    for name, about in options.model_fields.items():
        kind = schema["properties"][name]
        choices = (
            kind.get("enum") or [part.get("type", "") for part in kind.get("anyOf", ())] or [kind.get("type", "any")]
        )
        default = about.get_default(call_default_factory=True) if not about.is_required() else None
        rows.append(
            {
                "name": name,
                "type": "|".join(map(str, choices)),
                "default": default,
                "required": about.is_required(),
                "help": about.description or "",
            }
        )
    return rows


def _origin(point: EntryPoint) -> tuple[str, str, str]:
    """Hooks run in no order that matters; this one makes listings and conflicts reproducible."""
    return (point.dist.name if point.dist else "", point.name, point.value)


def _provider(point: EntryPoint) -> Provider:
    name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "0")
    return Provider(point.name, point.value, re.sub(r"[-_.]+", "-", name).lower(), version)


def _components(manager: pluggy.PluginManager, point: EntryPoint, provider: Provider) -> Iterable[Entry]:
    """Import one entry point, register it with pluggy and call only its own hooks."""
    module: ModuleType = point.load()
    registered = f"{provider.distribution}:{point.name}"
    if manager.register(module, registered) is None:
        raise ValueError("it is blocked or registered twice")
    try:
        callers = manager.get_hookcallers(module) or []
        if not callers:
            raise ValueError("it implements no lpk hook (is @lpk.hookimpl there?)")
        hooks = {hook: kind for kind, (hook, _) in KINDS.items()}
        for caller in callers:
            if caller.name not in hooks:
                raise ValueError(f"there is no hook {caller.name!r}{did_you_mean(caller.name, hooks)}")
            for impl in caller.get_hookimpls():
                if impl.plugin is module:
                    offered: Any = impl.function()
                    for component in offered:
                        yield Entry(hooks[caller.name], _checked(component, caller.name), provider)
    except BaseException:
        manager.unregister(module)
        raise


def _checked(component: object, hook: str) -> Component:
    if not isinstance(component, Component):
        raise TypeError(f"{hook} gave a {type(component).__name__}, not a Component")
    if not (isinstance(component.name, str) and _NAME.fullmatch(component.name)):
        raise ValueError(f"{hook}: {component.name!r} is no name: lower case letters, digits and single hyphens")
    if not (isinstance(component.target, str) and re.fullmatch(r"[\w.]+:[\w.]+", component.target)):
        raise ValueError(
            f"{hook}: the target of {component.name!r} is {component.target!r}, not 'package.module:Class'"
        )
    if not (isinstance(component.options, type) and issubclass(component.options, Options)):
        raise TypeError(f"{hook}: the options of {component.name!r} are not a subclass of lpk's Options")
    if "name" in component.options.model_fields:
        raise ValueError(f"{hook}: {component.name!r} has an option 'name'; in a recipe that is the plugin's own name")
    return component


def _refuse_twins(offered: list[Entry], known: list[Entry]) -> None:
    """One distribution may not offer one name twice; two distributions may, and the user chooses."""
    seen = {(entry.kind, entry.qualified) for entry in known}
    for entry in offered:
        key = (entry.kind, entry.qualified)
        if key in seen:
            raise ValueError(f"{entry.provider.distribution} offers {entry.kind} {entry.name!r} twice")
        seen.add(key)


def _one_line(reason: object) -> str:
    if isinstance(reason, BaseException):
        reason = f"{type(reason).__name__}: {reason}"
    return " ".join(str(reason).split())
