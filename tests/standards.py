"""The schemas that exports are held to: ``tests/data/schemas``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft3Validator
from jsonschema.validators import validator_for

SCHEMAS = Path(__file__).parent / "data" / "schemas"


def check(schema: str, value: Any) -> None:
    """Every way in which a value is not as a standard has it, at once."""
    wrong = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in _validator(schema).iter_errors(value)
    ]
    assert not wrong, "\n".join(wrong)


@cache
def _validator(schema: str) -> Any:
    read = json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8"))
    kind = validator_for(read, default=Draft3Validator)  # CSL's says it in words only
    kind.check_schema(read)
    return kind(read)
