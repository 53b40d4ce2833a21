"""What a cell's figures depend on besides what was asked: where and in what they are computed, by which versions, of which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from lpk.core.pruning.inputs import file_states, located, revision
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.parts import Parts, kernels
from lpk.core.pruning.precision import Precision
from lpk.core.registry import Registry
from lpk.core.study.recipe import CellRecipe, StudyRecipe


@dataclass(frozen=True)
class Provenance:
    """Of the cells of one model.

    Attributes:
        spec: the model on its device, in the precision that searches run in.
        precision: that precision, and why.
        revision: the commit of a model on the hub.
        versions: of the packages that losses depend on.
        objectives: what a record says of the plugins that every mask is measured under.
        files: size and time of change of the local files that are read.
    """

    spec: ModelSpec
    precision: Precision
    revision: str
    versions: dict[str, str]
    objectives: list[dict[str, Any]]
    files: dict[str, list[int]]

    @classmethod
    def of(cls, study: StudyRecipe, cells: Sequence[CellRecipe], registry: Registry) -> Provenance:
        """What all cells of one model have in common.

        Raises:
            LpkError: there is no such model or device.
        """
        spec = located(cells[0].recipe)
        precision = Precision.decide(cells[0].recipe.dtype, spec.device)
        parts = [cell.parts(registry) for cell in {cell.objective: cell for cell in cells}.values()]
        return cls(
            spec=replace(spec, dtype=precision.dtype),
            precision=precision,
            revision=revision(spec),
            versions={name: version(name) for name in kernels(spec.device)},
            objectives=[about for made in parts for about in _objectives(made)],
            files=file_states([spec.name, *study.sources(registry)]),
        )

    @property
    def record(self) -> dict[str, Any]:
        """What a cell's file says of it, for people and other tools."""
        return {
            "device": self.spec.device,
            "dtype": self.precision.dtype,
            "head": self.precision.head,
            "revision": self.revision,
            "versions": self.versions,
        }

    def depends(self, cell: CellRecipe, registry: Registry) -> dict[str, Any]:
        """All that makes one of the cells another one when it changes."""
        plugins = cell.parts(registry).described
        return {**self.record, "files": self.files, "objectives": self.objectives, "plugins": plugins}


def _objectives(parts: Parts) -> list[dict[str, Any]]:
    """The objective, and those that it is made of."""
    return [parts.described["objective"], *(about for term in parts.terms for about, _ in term.made_of)]
