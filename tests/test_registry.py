"""Plugins of strangers: found, isolated when broken, told apart when they clash."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable
from importlib.metadata import entry_points as installed_entry_points
from pathlib import Path

import pytest
from conftest import Lpk, refused
from fake_plugins import distribution, entry_points, scorer

from lpk.core.errors import EnvironmentMissing, LpkError, PluginError, UsageError
from lpk.core.registry import Registry, installed

ROOT = Path(__file__).parent.parent

BROKEN = {
    "import-error": ("import no_such_module", "no_such_module"),
    "syntax-error": ("def (", "SyntaxError"),
    "exits": ("import sys; sys.exit('bye')", "bye"),
    "no-hook": ("x = 1", "no lpk hook"),
    "misspelt-hook": (
        "import lpk\n@lpk.hookimpl\ndef lpk_scorer():\n    return []",
        "no hook 'lpk_scorer'; did you mean 'lpk_scorers'?",
    ),
    "wrong-arguments": ("import lpk\n@lpk.hookimpl\ndef lpk_scorers(model):\n    return []", "model"),
    "exception-in-hook": ("import lpk\n@lpk.hookimpl\ndef lpk_scorers():\n    1 / 0", "ZeroDivisionError"),
    "wrong-type": ("import lpk\n@lpk.hookimpl\ndef lpk_scorers():\n    return ['angular']", "not a Component"),
    "nothing": ("import lpk\n@lpk.hookimpl\ndef lpk_scorers():\n    return None", "not iterable"),
    "bad-name": (scorer("Bad_Name"), "'Bad_Name' is no name"),
    "bad-target": (scorer("fine", "no colon"), "not 'package.module:Class'"),
    "twice": (
        "import lpk\nfrom lpk.core.contracts import Component\n@lpk.hookimpl\ndef lpk_scorers():\n"
        "    return [Component('same', '', 'a:B'), Component('same', '', 'a:B')]",
        "offers scorer 'same' twice",
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions, importable."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_harms_no_other(case: str, site: Path) -> None:
    code, reason = BROKEN[case]
    module = f"broken_{case.replace('-', '_')}"
    distribution(site, "lpk-broken", "0.3", {module: code}, {case: module})
    distribution(site, "lpk-good", "1.0", {f"good_{module}": scorer("good")})
    registry = Registry.load(entry_points(site))
    assert [entry.name for entry in registry.entries] == ["good"]
    (culprit,) = registry.broken
    assert str(culprit.provider) == "lpk-broken 0.3"
    assert reason in culprit.reason
    assert "\n" not in culprit.reason
    with pytest.raises(PluginError, match=r"of lpk-broken 0\.3 is broken"):
        registry.find("scorer", case)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module_at_all:X", "No module named"),
        ("json:NoSuchClass", "NoSuchClass"),
        ("json:JSONDecoder", "is not a Scorer"),
    ],
)
def test_a_broken_target_is_one_clear_error_on_use(target: str, reason: str, site: Path) -> None:
    name = f"lazy_{abs(hash(target))}"
    distribution(site, "lpk-lazy", "0.1", {name: scorer("lazy", target)})
    entry = Registry.load(entry_points(site)).find("scorer", "lazy")
    with pytest.raises(PluginError, match=r"scorer 'lazy' of lpk-lazy 0\.1 is broken: .*" + reason):
        entry.create()


def test_a_missing_extra_says_how_to_get_it(site: Path) -> None:
    distribution(
        site, "lpk-extra", "0.1", {"extra_plugin": scorer("needy", "no_such_module_at_all:X", "lpk-extra[gpu]")}
    )
    entry = Registry.load(entry_points(site)).find("scorer", "needy")
    with pytest.raises(EnvironmentMissing, match=r"pip install \"lpk-extra\[gpu\]\""):
        entry.create()


def test_two_distributions_with_one_name(site: Path) -> None:
    distribution(site, "lpk-one", "1.0", {"clash_one": scorer("angular")})
    distribution(site, "LPK_Two", "2.0", {"clash_two": scorer("angular")})
    registry = Registry.load(entry_points(site))
    assert len(registry.entries) == 2
    with pytest.raises(PluginError) as caught:
        registry.find("scorer", "angular")
    for words in ("lpk-one 1.0", "lpk-two 2.0", "--scorer lpk-one/angular", "--scorer lpk-two/angular"):
        assert words in str(caught.value)
    assert registry.find("scorer", "lpk-two/angular").provider.version == "2.0"


def test_unknown_names_and_options() -> None:
    registry = installed()
    with pytest.raises(UsageError, match="no scorer 'anguler'; did you mean 'angular'"):
        registry.find("scorer", "anguler")
    with pytest.raises(UsageError, match="no searcher 'angular'"):
        registry.find("searcher", "angular")
    entry = registry.find("searcher", "optuna")
    with pytest.raises(UsageError, match="searcher 'optuna' has no option 'trails'; did you mean 'trials'"):
        entry.options({"trails": 3})
    with pytest.raises(UsageError, match=r"option 'trials'.*integer.*'many'"):
        entry.options({"trials": "many"})
    with pytest.raises(UsageError, match="it has none"):
        registry.find("searcher", "deepest").options({"x": 1})


def test_no_plugins_at_all_is_explained() -> None:
    with pytest.raises(UsageError, match="is lpk itself installed"):
        Registry.load([]).find("scorer", "angular")


def test_every_plugin_module_has_its_entry_point() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    points = dict(line.split(" = ") for line in setup["options.entry_points"]["lpk"].strip().splitlines())
    folder = ROOT / "src/lpk/plugins"
    modules = {
        ".".join(("lpk.plugins", *path.relative_to(folder).with_suffix("").parts))
        for path in folder.glob("*/*.py")
        if path.name != "__init__.py"
    }
    assert set(points.values()) == modules
    assert {point.name for point in installed_entry_points(group="lpk") if point.value in modules} == set(points)
    assert {entry.provider.entry_point for entry in installed().entries if entry.provider.distribution == "lpk"} == set(
        points
    )
    # A scorer and a searcher of one name have entry points of two; a module of several has a name of its own.
    own = [entry for entry in installed().entries if entry.provider.distribution == "lpk"]
    single = {point for point in points if sum(entry.provider.entry_point == point for entry in own) == 1}
    called = {point.removesuffix("-scorer").removesuffix("-searcher") for point in single}
    assert called <= {entry.name for entry in own}


@pytest.fixture
def strangers(tmp_path: Path) -> Callable[[dict[str, str]], dict[str, str]]:
    """An environment in which these modules are plugins of the distribution ``lpk-stranger``."""

    def environment(modules: dict[str, str]) -> dict[str, str]:
        return {"PYTHONPATH": str(distribution(tmp_path, "lpk-stranger", "0.9", modules))}

    return environment


def test_the_command_line_lists_broken_plugins_and_goes_on(lpk: Lpk, strangers: Callable[..., dict[str, str]]) -> None:
    env = strangers({"boom": "raise RuntimeError('kaputt')", "fine": scorer("fine")})
    done = lpk("plugins", "list", env=env)
    assert done.returncode == 0
    assert "fine" in done.stdout
    assert done.stderr == "broken: boom of lpk-stranger 0.9: RuntimeError: kaputt\n"
    listed = json.loads(lpk("plugins", "list", "--json", "--kind", "scorer", env=env).stdout)
    own = [
        entry.name for entry in installed().entries if entry.kind == "scorer" and entry.provider.distribution == "lpk"
    ]
    assert "angular" in own
    assert [p["name"] for p in listed["plugins"]] == sorted([*own, "fine"])
    assert listed["broken"][0]["reason"] == "RuntimeError: kaputt"
    assert lpk("run", "--dry-run", "--searcher", "greedy", env=env).returncode == 0
    refused(lpk("run", "--scorer", "boom", env=env), 3, "boom", "lpk-stranger 0.9", "kaputt")
    refused(lpk("plugins", "show", "boom", env=env), 3, "kaputt")


def test_the_command_line_tells_clashing_plugins_apart(lpk: Lpk, strangers: Callable[..., dict[str, str]]) -> None:
    env = strangers({"clash": scorer("angular")})
    refused(lpk("run", "--scorer", "angular", env=env), 3, "--scorer lpk/angular", "--scorer lpk-stranger/angular")
    assert lpk("run", "--scorer", "lpk/angular", "--searcher", "one-shot", "--dry-run", env=env).returncode == 0
    assert "lpk-stranger/angular" in lpk("plugins", "list", env=env).stdout


def test_show_tells_all_there_is_to_know(lpk: Lpk) -> None:
    shown = lpk("plugins", "show", "angular").stdout
    for words in ("https://arxiv.org/abs/2403.17887", "lpk 0.1.0", "last|all", '"last"', "padding never does"):
        assert words in shown
    described = json.loads(lpk("plugins", "show", "optuna", "--json").stdout)
    assert described["options"][0] == {
        "name": "trials",
        "type": "integer",
        "default": 32,
        "required": False,
        "help": described["options"][0]["help"],
    }


HEAVY = "torch,transformers,optuna,pymupdf,numpy,pyarrow,pandas,sqlalchemy,psycopg"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins", "list"], ["plugins", "show", "optuna"], ["run", "--help"], ["models", "list"]]
)
def test_asking_for_help_imports_nothing_heavy(arguments: list[str]) -> None:
    import subprocess
    import sys

    code = f"""
import sys, lpk.cli
try: lpk.cli.main({arguments!r})
except SystemExit as stop: assert not stop.code, stop.code
print(*[name for name in {HEAVY.split(",")!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert done.stdout


def test_errors_have_an_exit_code_and_a_hierarchy() -> None:
    assert {kind.exit_code for kind in (UsageError, PluginError, EnvironmentMissing)} == {2, 3, 4}
    assert all(issubclass(kind, LpkError) for kind in (UsageError, PluginError, EnvironmentMissing))
