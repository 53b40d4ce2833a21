"""What every source of papers promises, whatever it reads or asks."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, Facet, PaperVersion

if TYPE_CHECKING:
    from lpk.core.registry import Entry

DIRECTION: Final = Direction(
    id="conformance",
    title="Layer pruning of language models",
    facets=(Facet(name="object", words=("language model", "LLM")), Facet(name="method", words=("layer pruning",))),
    keywords=("depth pruning",),
)
#: What is no id of a paper, or of none that there is.
_NO_IDS: Final = (
    "",
    "layers",
    "../../etc/passwd",
    "arxiv:../2403.17887",
    "doi:10.1000/../182",
    f"doi:10.1000/{'x' * 300}",
)
#: What is in no file that can be read as text or as pages.
_DAMAGED: Final = (b"", b"\x00\xff\xfe", b"%PDF-1.7\n\x00\xff")
_DATE: Final = re.compile(r"(\d{4}(-\d\d(-\d\d)?)?)?")
#: Papers that are looked up and fetched one by one.
_SOME: Final = 3


def source_checks(options: Mapping[str, Any] | None = None) -> dict[str, Callable[[Entry], None]]:
    """The checks of a source: of what it refuses; and, with options under which it finds papers, of what it gives."""
    found: dict[str, Callable[[Entry], None]]
    found = {"refuses-what-is-no-paper": _no_paper, "refuses-damaged-files": _damaged_files}
    giving = {
        "records-are-well-formed": _well_formed,
        "same-question-same-records": _deterministic,
        "limit-is-kept": _limited,
        "knows-what-it-found": _knows_its_own,
        "fetches-into-the-folder": _fetches,
    }
    return found | {name: partial(check, options=options) for name, check in giving.items() if options}


def _source(entry: Entry, options: Mapping[str, Any] | None = None) -> Source[Any]:
    source = entry.create(dict(options or {}))
    assert isinstance(source, Source)
    return source


def _told(call: Callable[[], Any]) -> Any:
    """What a call gives; None where it refuses, which it may, in one line."""
    try:
        return call()
    except (UsageError, EnvironmentMissing) as error:
        said = str(error)
    assert len(said.splitlines()) == 1, f"what it says of an error is no line: {said!r}"
    return None


def _no_paper(entry: Entry) -> None:
    for name in _NO_IDS:
        found = _told(partial(_source(entry).versions, name))
        assert not found, f"it knows a paper {name[:40]!r}"
    if "path" in entry.component.options.model_fields:
        with tempfile.TemporaryDirectory() as folder:
            missing = _source(entry, {"path": str(Path(folder) / "none")})
            assert _told(lambda: list(missing.find(DIRECTION))) is None, "it finds papers in a file that is not there"


def _damaged_files(entry: Entry) -> None:
    source = _source(entry)
    with tempfile.TemporaryDirectory() as folder:
        for ending in source.reads:
            file = Path(folder) / f"file{ending}"
            assert _told(partial(source.read, file)) is None, f"it reads a {ending} file that is not there"
            for data in _DAMAGED:
                file.write_bytes(data)
                text = _told(partial(source.read, file))
                assert text is None, f"it reads a {ending} file of {data!r}"


def _found(entry: Entry, options: Mapping[str, Any] | None) -> list[PaperVersion]:
    found = list(_source(entry, options).find(DIRECTION))
    assert found, f"it finds nothing with {dict(options or {})}: the checks need a paper"
    return found


def _well_formed(entry: Entry, options: Mapping[str, Any] | None) -> None:
    for version in _found(entry, options):
        assert isinstance(version, PaperVersion), f"{version!r} is no PaperVersion"
        assert PaperVersion.model_validate(version.model_dump()) == version, f"{version.name} is not valid"
        assert version.source == entry.qualified, f"{version.name} is of source {version.source!r}"
        for field in ("title", "abstract", "venue", "note", "licence"):
            text = getattr(version, field)
            assert not any(unicodedata.category(char) == "Cc" for char in text), f"{version.name}: {field} is no line"
        for field in ("published", "updated"):
            date = getattr(version, field)
            assert _DATE.fullmatch(date), f"{version.name}: {field} {date!r} is no date"
        for field in ("url", "pdf_url"):
            address = getattr(version, field)
            assert re.fullmatch(r"(https?://\S+)?", address), f"{version.name}: {field} {address!r} is no address"


def _deterministic(entry: Entry, options: Mapping[str, Any] | None) -> None:
    assert _found(entry, options) == _found(entry, options), "the same question gives other records"


def _limited(entry: Entry, options: Mapping[str, Any] | None) -> None:
    whole = len(_found(entry, options))
    if "limit" in entry.component.options.model_fields:
        for limit in (1, 2, whole):
            found = list(_source(entry, {**(options or {}), "limit": limit}).find(DIRECTION))
            assert len(found) <= limit, f"{len(found)} papers where {limit} were asked for"


def _knows_its_own(entry: Entry, options: Mapping[str, Any] | None) -> None:
    for found in _found(entry, options)[:_SOME]:
        versions = _told(partial(_source(entry, options).versions, found.paper))
        if versions is None:  # it cannot look papers up, and says so
            continue
        assert versions, f"it does not know {found.paper}, which it found"
        assert {version.paper for version in versions} == {found.paper}, f"other papers are versions of {found.paper}"
        numbers = [version.number for version in versions]
        assert numbers == sorted(numbers), f"the versions of {found.paper} are in the order {numbers}"


def _fetches(entry: Entry, options: Mapping[str, Any] | None) -> None:
    for found in _found(entry, options)[:_SOME]:
        with tempfile.TemporaryDirectory() as folder:
            file = _told(partial(_source(entry, options).fetch, found, Path(folder)))
            if file is not None:
                assert file.parent == Path(folder), f"the text of {found.name} is not in the folder: {file}"
                assert file.stat().st_size, f"the text of {found.name} is an empty file"
