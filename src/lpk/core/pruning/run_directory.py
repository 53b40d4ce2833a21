"""The folder a run leaves behind, and how the same command finds its way back into it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lpk.core.errors import UsageError
from lpk.core.files import PARTIAL, existing, room, sweep, write_json, write_text
from lpk.core.pruning.recipe import Recipe


class RunDirectory:
    """A run's folder, held by one process at a time.

    ``run.json`` says what is being run from the beginning on and is written again, whole, at the very end: its
    ``status`` is ``complete`` only when everything else is there.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Look whether the folder is free for this recipe. Nothing is written before :meth:`begin`.

        Raises:
            UsageError: it holds another run or something else, is in use, or cannot be written.
        """
        self.path, self.recipe = path, recipe
        self._lock = FileLock(path / ".lock")
        before = self._check()
        if before and before["status"] != "complete":
            self._acquire()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def id(self) -> str:
        """A random name for what was begun in this folder: the same when it is resumed. Nothing but costs is kept by it."""
        return self._id.read_text(encoding="utf-8").strip()

    @property
    def _id(self) -> Path:
        return self.path / ".id"  # not in run.json, which the same recipe writes byte for byte the same

    @property
    def finished(self) -> dict[str, Any] | None:
        """``{"run": ..., "cost": ...}`` if the run is complete and its parts are there."""
        found = read_run(self.path)
        parts = [self.path / "cost.json", self.path / "trials.csv", self.path / "model" / "config.json"]
        if found and found["status"] == "complete" and all(part.exists() for part in parts):
            return {"run": found, "cost": json.loads(parts[0].read_text(encoding="utf-8"))}
        return None

    def begin(self, facts: dict[str, Any]) -> None:
        """Claim the folder and write what is being run; on resume, check that model and data are what they were.

        Raises:
            UsageError: a fingerprint differs from the one the run began with, another process was faster, or there is
                no room.
        """
        with room(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._acquire()
        before = self._check()  # again: while the model was loaded, another process may have come and gone
        for part in ("model", "calibration", "held_out"):
            if before and before[part]["fingerprint"] != facts[part]["fingerprint"]:
                raise UsageError(
                    f"{self.path}: the {part.replace('_', '-')} has changed since this run began; give another --out"
                )
        sweep(self.path)
        write_json(self.path / "run.json", {**facts, "status": "running"})
        recipe = self.recipe.model_dump(mode="json")
        if not self._id.exists():
            write_text(self._id, uuid.uuid4().hex + "\n")
        write_text(self.path / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))

    def finish(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the result and declare the run complete."""
        whole = {**facts, "status": "complete"}
        write_json(self.path / "run.json", whole)
        return whole

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
    """What a folder's ``run.json`` says, if there is one.

    Raises:
        UsageError: it is not readable.
    """
    try:
        text = (path / "run.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot read run.json ({error.strerror})") from None
    try:
        found = json.loads(text)
        if not (isinstance(found, dict) and isinstance(found["recipe"], dict) and "status" in found):
            raise ValueError
    except (ValueError, KeyError):
        raise UsageError(f"{path}: its run.json is not one of lpk's") from None
    return found


def default_path(recipe: Recipe) -> Path:
    """``runs/demo-optuna-angular-1f9e6c02``: the same recipe finds the same folder, so the same command resumes."""
    digest = hashlib.sha256(json.dumps(recipe.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:8]
    model = Path(recipe.model.rstrip("/")).name or "model"
    plugins = [recipe.searcher, *([recipe.scorer] if recipe.scorer else [])]
    return Path("runs") / "-".join([model, *(plugin.name.split("/")[-1] for plugin in plugins), digest])
