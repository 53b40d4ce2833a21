"""The files that a recipe names: its model, its texts, and whether they are still what they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import digest
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.recipe import Recipe

if TYPE_CHECKING:
    from lpk.core.pruning.calibration import Corpus
    from lpk.core.pruning.parts import Term

#: Bytes of a file above which it is known by its size and time alone: weights of 16 GB would be read for a minute more.
LARGE = 2**30


def located(recipe: Recipe) -> ModelSpec:
    """The model a recipe names, on the device it says.

    Raises:
        EnvironmentMissing: torch or transformers is not installed.
        UsageError: there is no such model or device here.
    """
    spec = ModelSpec(recipe.model, device=recipe.device, allow=frozenset(recipe.allow))
    spec.locate()
    try:
        import torch
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(f'this needs {error.name}: pip install "lpk[prune]"') from error
    device = recipe.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(" device type at start")[0]
        raise UsageError(f"--device {device}: {reason}; wanted cpu, or cuda where there is one") from None
    return replace(spec, device=device)


def corpora_of(recipe: Recipe, terms: Sequence[Term]) -> tuple[tuple[Corpus, ...], Corpus]:
    """What each term is calibrated on, and what held-out sequences come from: one of these, if it is the same file.

    By default that is the first text that is calibrated on; beside ids and questions alone the shipped one.

    Raises:
        UsageError: a file cannot be read, does not hold what its term is measured on, or is ids that all are calibrated on.
    """
    from lpk.core.pruning.calibration import EMBEDDED, Corpus

    given = tuple(Corpus.read(term.calibration.source, term.calibration.field, term.role) for term in terms)
    for term, corpus in zip(terms, given, strict=True):
        term.check(corpus)
    texts = [corpus.source for corpus in given if not (corpus.ids or corpus.prompted)]
    after = recipe.held_out.source or next(iter(texts), EMBEDDED)
    for corpus in given:
        if same_file(corpus.source, after):
            if corpus.ids:
                raise UsageError(f"held-out {after}: these ids are calibrated on, all of them; give others")
            return given, corpus  # the same text twice is one text, of which the last quarter is held out
    return given, Corpus.read(after, recipe.calibration.field, "held-out")


def same_file(one: str, other: str) -> bool:
    """Whether two names, of files or of what lpk ships, are of one file."""
    paths = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (all(path.exists() for path in paths) and paths[0].samefile(paths[1]))


def input_files(read: Mapping[str, list[int]]) -> dict[str, list[Any]]:
    """What to know files by: their state when they were read, and of all but the largest the SHA-256 of what they hold.

    Of one that was changed since, what it held is not known any more: the state alone is told, which it has no longer.
    """
    now = file_states(read)
    return {
        name: [*state, digest(Path(name))] if now.get(name) == state and state[0] <= LARGE else state
        for name, state in read.items()
    }


def states_of(recipe: Recipe, terms: Sequence[Term]) -> dict[str, list[int]]:
    """The local files that a run reads, and the state of each as :func:`file_states` has it."""
    given = [recipe.model, *(term.calibration.source for term in terms), recipe.held_out.source]
    return file_states(name for name in given if name)


def file_states(names: Iterable[str]) -> dict[str, list[int]]:
    """Size and time of change of local files, and of those in folders: a cheap look whether they are still the same."""
    places = [Path(name).expanduser() for name in names if name not in CATALOG]
    files = {file for place in places for file in ([place] if place.is_file() else place.glob("*.*")) if file.is_file()}
    return {str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)}


def revision(spec: ModelSpec) -> str:
    """The commit that a model's name on the hub stands for now; empty for a model that is not from there."""
    from transformers.utils import cached_file

    if spec.name in CATALOG or Path(spec.name).expanduser().exists():
        return ""
    return Path(cached_file(spec.name, "config.json")).parent.name  # in the hub's cache a folder is a commit


def check_unchanged(out: Path, recorded: dict[str, list[Any]], recipe: Recipe, terms: Sequence[Term]) -> None:
    """What is not here any more is not asked for: a run's folder may travel alone.

    A file of another time is read, unless it is large: copying it, or checking it out of git, changes that and nothing else.

    Raises:
        UsageError: a file is another one than was recorded.
    """
    for name, (size, time) in states_of(recipe, terms).items():
        if (before := recorded.get(name)) is None or before[:2] == [size, time]:
            continue
        if before[0] != size or len(before) < 3 or before[2] != digest(Path(name)):
            raise UsageError(f"{out}: {name} has changed since this run; give another --out")
