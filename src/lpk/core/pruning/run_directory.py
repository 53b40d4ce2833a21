"""The folder a run leaves behind, and how the same command finds its way back into it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lpk.core.errors import UsageError
from lpk.core.files import PARTIAL, digest, existing, json_text, room, set_aside, sweep, write_json, write_text
from lpk.core.pruning.recipe import Recipe

#: What a run writes and no person has reason to change; ``model/`` is besides.
_RECORDS = ("recipe.yaml", "scores.json", "trials.csv", "front.csv", "mergekit.yml")
#: What must be the same when a run goes on, as it stands in ``run.json``.
_FINGERPRINTED = ("model", "calibration", "held_out")


class RunDirectory:
    """A run's folder, held by one process at a time.

    ``run.json`` says what is being run from the beginning on and is written again, whole, at the very end: its
    ``status`` is ``complete`` only when everything else is there. ``cost.json`` lists what that is.

    Attributes:
        before: what ``run.json`` said when the folder was opened, if there was one.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Look whether the folder is free for this recipe. Nothing is written before :meth:`begin`.

        Raises:
            UsageError: it holds another run or something else, is in use, or cannot be written.
        """
        self.path, self.recipe = path, recipe
        self._lock = FileLock(path / ".lock")
        self.before = self._check()
        if self.before and self.before["status"] != "complete":
            self._acquire()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release(force=True)  # of a run that goes on it is held twice

    @property
    def id(self) -> str:
        """A random name for what was begun in this folder: the same when it is resumed. Nothing but costs is kept by it."""
        return self._id.read_text(encoding="utf-8").strip()

    @property
    def _id(self) -> Path:
        return self.path / ".id"  # not in run.json, which the same recipe writes byte for byte the same

    @property
    def finished(self) -> dict[str, Any] | None:
        """``{"run": ..., "cost": ...}`` if the run is complete and what it wrote is there as it was."""
        found = read_run(self.path)
        if found and found["status"] == "complete" and not self._damage(found):
            return {"run": found, "cost": json.loads((self.path / "cost.json").read_text(encoding="utf-8"))}
        return None

    def begin(self, facts: dict[str, Any], tell: Callable[[str], None]) -> None:
        """Claim the folder and write what is being run; on resume, check that model and data are what they were.

        What a complete run wrote and is not there as it was will be written again; what lies in its place is set aside.

        Args:
            facts: what ``run.json`` says from the beginning on.
            tell: called with what a person should know.

        Raises:
            UsageError: a fingerprint differs from the one the run began with, another process was faster, or there is
                no room.
        """
        with room(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._acquire()
        before = self._check()  # again: while the model was loaded, another process may have come and gone
        for part in _FINGERPRINTED:
            if before and before.get(part, facts[part])["fingerprint"] != facts[part]["fingerprint"]:
                raise UsageError(
                    f"{self.path}: the {part.replace('_', '-')} has changed since this run began; give another --out"
                )
        sweep(self.path)
        if before and before["status"] == "lost":
            (self.path / "scores.json").unlink(missing_ok=True)  # run.json alone knew of which model they are
            tell(f"{self.path}: its run.json is lost or damaged; going on from recipe.yaml and what was measured")
        if damage := self._damage(before):
            places = [self.path / name for name in dict.fromkeys(Path(name).parts[0] for name in damage)]
            aside = [set_aside(place).name for place in places if place.exists()]
            found = ", ".join(f"{name} {wrong}" for name, wrong in damage.items())
            tell(f"{self.path}: {found}; writing it again" + (f", the old is now {', '.join(aside)}" if aside else ""))
        write_json(self.path / "run.json", {**facts, "status": "running"})
        recipe = self.recipe.model_dump(mode="json")
        if not self._id.exists():
            write_text(self._id, uuid.uuid4().hex + "\n")
        write_text(self.path / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))

    def finish(self, facts: dict[str, Any], cost: dict[str, Any]) -> dict[str, Any]:
        """Write the result and what it took, and declare the run complete; ``{"run": ..., "cost": ...}``.

        Of ``model/`` only sizes are kept: it may be large, and worked on where it is.
        """
        whole = {**facts, "status": "complete"}
        text = json_text(whole)
        records = {name: digest(self.path / name) for name in _RECORDS if (self.path / name).exists()}
        records["run.json"] = hashlib.sha256(text.encode()).hexdigest()
        saved = sorted(file for file in (self.path / "model").rglob("*") if file.is_file())
        model = {str(file.relative_to(self.path)): _size(file) for file in saved}
        cost = {**cost, "written": {"sha256": records, "bytes": model}}
        write_json(self.path / "cost.json", cost)
        write_text(self.path / "run.json", text)
        return {"run": whole, "cost": cost}

    def _damage(self, before: dict[str, Any] | None) -> dict[str, str]:
        """What a complete run wrote and is not there as it was, each with what is wrong with it."""
        if not before or before["status"] != "complete":
            return {}
        try:
            written = json.loads((self.path / "cost.json").read_text(encoding="utf-8"))["written"]
            records, model = written["sha256"].items(), written["bytes"].items()
        except FileNotFoundError:
            return {"cost.json": "is missing"}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"cost.json": "is damaged"}
        gone = {name: "is missing" for name, _ in (*records, *model) if not (self.path / name).is_file()}
        cut = {name: "is cut short" for name, size in model if name not in gone and _size(self.path / name) < size}
        other = {name: "has changed" for name, sha in records if name not in gone and digest(self.path / name) != sha}
        return {**gone, **cut, **other}

    def _acquire(self) -> None:
        try:
            with room(self.path):
                self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(f"--out {self.path} is in use by another process") from None

    def _check(self) -> dict[str, Any] | None:
        """What ``run.json`` says, if there is one, having made sure that it is this recipe's."""
        place = existing(self.path)
        if not place.is_dir():
            raise UsageError(f"--out {self.path}: {place} is a file, not a folder")
        before = read_run(self.path)
        if before is None:
            if self.path.is_dir() and any(not _is_ours(file) for file in self.path.iterdir()):
                raise UsageError(f"--out {self.path}: the folder is not empty and holds no lpk run")
        elif before["recipe"] != self.recipe.model_dump(mode="json"):
            raise UsageError(
                f"--out {self.path}: it holds another run{_difference(before, self.recipe)}; give another --out"
            )
        if (before is None or before["status"] != "complete") and not os.access(place, os.W_OK):
            raise UsageError(f"--out {self.path}: {place} cannot be written")
        return before


def _size(file: Path) -> int:
    return file.stat().st_size


def _is_ours(file: Path) -> bool:
    """Whether a run that was killed in its first moment may have left this."""
    return file.name == ".lock" or (file.name.startswith(".") and file.name.endswith(PARTIAL))


def _difference(before: dict[str, Any], recipe: Recipe) -> str:
    old, new = before["recipe"], recipe.model_dump(mode="json")
    for key in new:
        if old.get(key) != new[key]:
            return f" ({key} {json.dumps(old.get(key))}, not {json.dumps(new[key])})"
    return ""


def read_run(path: Path) -> dict[str, Any] | None:
    """What a folder's ``run.json`` says; of a run that has lost it, the recipe, with the status ``lost``.

    Raises:
        UsageError: it is not readable, or not one of lpk's.
    """
    try:
        data = (path / "run.json").read_bytes()
    except FileNotFoundError:
        return _lost(path)
    except NotADirectoryError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot read run.json ({error.strerror})") from None
    try:
        found: dict[str, Any] = json.loads(data)
        known = all(found[part]["fingerprint"] for part in _FINGERPRINTED)
        if known and found["status"] and isinstance(found["recipe"], dict):
            return found
    except (ValueError, KeyError, TypeError):
        pass  # damaged, or somebody else's: the recipe beside it says which
    if lost := _lost(path):
        return lost
    raise UsageError(f"{path}: its run.json is not one of lpk's; give another --out, or move it away")


def _lost(path: Path) -> dict[str, Any] | None:
    """What is left of a run without its ``run.json``: the memo knows its losses, and they are of this model and data."""
    if not (path / ".id").exists():  # else the recipe may be anybody's
        return None
    try:
        return {"recipe": Recipe.read(path / "recipe.yaml"), "status": "lost"}
    except UsageError:
        return None


def default_path(recipe: Recipe) -> Path:
    """``runs/demo-optuna-angular-1f9e6c02``: the same recipe finds the same folder, so the same command resumes."""
    digest = hashlib.sha256(json.dumps(recipe.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:8]
    model = Path(recipe.model.rstrip("/")).name or "model"
    plugins = [recipe.searcher, *([recipe.scorer] if recipe.scorer else [])]
    return Path("runs") / "-".join([model, *(plugin.name.split("/")[-1] for plugin in plugins), digest])
