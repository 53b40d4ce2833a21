"""The one set of thresholds: what a quote must be, what a claim needs, what blocks. Its hash is in every artifact."""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from lpk.core.errors import UsageError, first_wrong
from lpk.core.evidence.records import Record, digest


class Policy(Record):
    """``policy.toml`` of a ledger; without one, these defaults."""

    quotes: Literal["strict", "seed-2026"] = Field("strict", description="how quotes are matched (docs/quotes.md)")
    locator: Literal["page-and-section", "page"] = Field(
        "page-and-section", description="what a verified quote must say of its place"
    )
    supporting_papers: int = Field(1, ge=1, description="papers with a verified quote that a supported claim needs")
    supported_claims: int = Field(1, ge=0, description="supported claims that a ledger needs to be ready")
    cited_by: int = Field(2, ge=1, description="a paper that so many included papers cite must have been screened")
    papers: int = Field(1, ge=0, description="included papers that a ledger needs to be ready")
    severities: dict[str, Literal["error", "warning", "info", "off"]] = Field(
        {}, description="rule id -> severity, in place of the rule's own"
    )

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Read a policy, or the defaults where the file is not there.

        Raises:
            UsageError: it is no TOML, or a key or value is wrong.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            values = {}
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: not TOML: {error}") from None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{path}: {first_wrong(error, cls)}") from None

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of all of it, defaults included."""
        return digest(self.model_dump(mode="json"))
