"""PDF files and folders of them, read and drawn by PyMuPDF (https://pymupdf.readthedocs.io; AGPL-3.0, the extra ``pdf``).

A PDF may be hostile or broken, so MuPDF runs in a process of its own, with a limit on memory and a deadline: ``python -m
lpk.plugins.sources.pdf`` reads requests as lines of JSON and answers in lines of JSON. It is started once and serves all
files; whatever goes wrong in it ends in one :class:`UsageError` that names the file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.documents.lines import Line, Outline, Rect, Run
from lpk.core.evidence.retrieval.local import LocalOptions, LocalSource

#: What is read and how; a change of it changes what a text is.
RECIPE: Final = "lines 1"
#: Bytes of address space for MuPDF; Python, NumPy and MuPDF themselves take 220 MB of it.
MEMORY: Final = 1 << 30
#: PyMuPDF is imported in half a second, on a machine with nothing else to do.
SECONDS_TO_START: Final = 120.0
#: What a file may take for each page, beside what any file may take; 10 ms is usual.
SECONDS_A_PAGE: Final = 0.05
GAVE_UP: Final = "the PDF reader gave up on it: damaged, or more text than a document has"
#: One page as JSON: a dense one is 60 kB.
LONGEST_ANSWER: Final = 32 << 20
#: MuPDF's flags of a span.
RAISED, BOLD = 1, 16
#: Red, green, blue; the page is multiplied by it.
HIGHLIGHT: Final = (1.0, 0.86, 0.3)
#: Entries of a table of contents.
MOST_ENTRIES: Final = 5000
#: Pixels of a picture: a page of A4 at scale 5 has 12 million.
MOST_PIXELS: Final = 25_000_000


class PdfOptions(LocalOptions):
    pages: int = Field(3000, ge=1, description="the most pages that a document may have")
    megabytes: int = Field(256, ge=1, description="the largest file that is opened")
    seconds: float = Field(10.0, gt=0, description="how long a file may take; 50 ms a page on top")


class PdfSource(LocalSource[PdfOptions]):
    reads = (".pdf",)

    def read(self, file: Path) -> FullText:
        data = self._checked(file)
        about, *pages = _answers(
            file, {"do": "read", "file": str(file.resolve()), "pages": self.options.pages}, self.options.seconds
        )
        lines = tuple(_lines(pages))
        return FullText(
            sha256=data,
            media="application/pdf",
            reader=f"pdf (PyMuPDF {about['version']}, {RECIPE})",
            pages=about["pages"],
            lines=lines,
            outline=tuple(
                Outline(level, title, page, None, None if up is None else pages[page - 1]["height"] - up)
                for level, title, page, up in about["outline"]
            ),
            unreadable=frozenset(nth for nth, page in enumerate(pages, 1) if page["unreadable"]),
        )

    def picture(self, file: Path, page: int, rects: Sequence[Rect], scale: float = 2.0) -> bytes:
        self._checked(file)
        here = [rect[1:] for rect in rects if rect[0] == page]
        request = {"do": "picture", "file": str(file.resolve()), "page": page, "rects": here, "scale": scale}
        (answer,) = _answers(file, request | {"pages": self.options.pages}, self.options.seconds)
        return base64.b64decode(answer["png"])

    def _checked(self, file: Path) -> str:
        """The file's SHA-256, once what can be known without opening it as a PDF is right."""
        try:
            size = file.stat().st_size
            if size > self.options.megabytes << 20:
                raise UsageError(
                    f"{file}: {size >> 20} MB; files of more than {self.options.megabytes} MB are not opened (option megabytes)"
                )
            with file.open("rb") as stream:
                head = stream.read(1024)
                stream.seek(max(size - 2048, 0))
                tail = stream.read()
                stream.seek(0)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UsageError(f"{file}: {(error.strerror or str(error)).lower()}") from error
        if not size:
            raise UsageError(f"{file}: the file is empty")
        if b"%PDF-" not in head:
            raise UsageError(f"{file}: not a PDF: it does not begin with %PDF-")
        if b"%%EOF" not in tail:
            raise UsageError(f"{file}: cut short: a PDF ends with %%EOF; fetch it again")
        return digest


def _lines(pages: Sequence[dict[str, Any]]) -> Iterator[Line]:
    block = 0
    for number, page in enumerate(pages, 1):
        last = None
        for of, box, upright, runs, words in page["lines"]:
            block += of != last
            last = of
            x0, y0, x1, y1 = _points(box)
            styled = tuple(Run(text, size, bool(flags & BOLD), bool(flags & RAISED)) for text, size, flags in runs)
            edges = _points(words)
            places = tuple(zip(edges[::2], edges[1::2], strict=True))
            yield Line(number, block, styled, (x0, y0, x1, y1), places, upright)


def _points(hundredths: Iterable[int]) -> list[float]:
    """Places come as hundredths of a point: whole numbers are written and read in half the time."""
    return [each / 100 for each in hundredths]


# ---------------------------------------------------------------------------------------------------------------------
# This side of the pipe
# ---------------------------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_worker: subprocess.Popen[bytes] | None = None


def _answers(file: Path, request: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Ask the other process. The first answer says how many pages follow."""
    with _lock:
        worker = _started()
        deadline = _Deadline(worker, seconds)
        try:
            _pipe(worker.stdin).write(json.dumps(request).encode() + b"\n")
            _pipe(worker.stdin).flush()
            answers = [_answer(worker, file)]
            pages = answers[0].get("pages", 0)
            deadline.move(seconds + SECONDS_A_PAGE * pages)
            while len(answers) <= pages:
                answers.append(_answer(worker, file))
            return answers
        except UsageError:
            raise
        except (OSError, ValueError):
            _stop(worker)
            gave_up = f"took more than {deadline.seconds:g} seconds (option seconds)" if deadline.missed else GAVE_UP
            raise UsageError(f"{file}: {gave_up}") from None
        except BaseException:  # Ctrl-C: what it would still answer belongs to no later question
            _stop(worker)
            raise
        finally:
            deadline.cancel()


def _answer(worker: subprocess.Popen[bytes], file: Path) -> dict[str, Any]:
    line = _pipe(worker.stdout).readline(LONGEST_ANSWER)
    if not line.endswith(b"\n"):
        raise ValueError("it ended, or says too much")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        # One that ran out of memory, or met damage, may have lost more than this file: the next gets a fresh one.
        if not answer["refused"]:
            _stop(worker)
        raise UsageError(f"{file}: {answer['error']}")
    return answer


class _Deadline:
    """Kills a process that is late."""

    def __init__(self, worker: subprocess.Popen[bytes], seconds: float) -> None:
        self._worker, self.missed = worker, False
        self._begin = time.monotonic()
        self.move(seconds)

    def move(self, seconds: float) -> None:
        """To so many seconds from the beginning."""
        self.cancel()
        self.seconds = seconds
        self._timer = threading.Timer(max(self._begin + seconds - time.monotonic(), 0), self._miss)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if hasattr(self, "_timer"):
            self._timer.cancel()

    def _miss(self) -> None:
        self.missed = True
        self._worker.kill()


def _started() -> subprocess.Popen[bytes]:
    global _worker  # noqa: PLW0603 - one for this process
    if _worker is None or _worker.poll() is not None:
        if find_spec("pymupdf") is None:
            raise EnvironmentMissing('reading PDFs needs pymupdf: pip install "lpk[pdf]"')
        _worker = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        deadline = _Deadline(_worker, SECONDS_TO_START)
        ready = _pipe(_worker.stdout).readline(100)
        deadline.cancel()
        if not ready.endswith(b"\n"):
            _stop(_worker)
            raise EnvironmentMissing(
                'PyMuPDF does not start; install it again: pip install --force-reinstall "lpk[pdf]"'
            )
    return _worker


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        with contextlib.suppress(OSError):
            _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("started without a pipe")
    return pipe


# ---------------------------------------------------------------------------------------------------------------------
# The other side
# ---------------------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests until the pipe is closed."""
    # Layout models come with PyMuPDF 2.0 and cost 1.4 s and 77 MB to import; nothing here uses them.
    sys.modules["onnxruntime"] = None  # type: ignore[assignment]
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        pymupdf.TOOLS.reset_mupdf_warnings()
        try:
            with _opened(request) as document:
                for answer in _DO[request["do"]](document, request):
                    answers.write(json.dumps(answer).encode("utf-8", "replace") + b"\n")
        except Exception as error:
            told = {"error": _reason(error), "refused": isinstance(error, _Refused)}
            answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()


#: What stands for a letter that the file does not name: the replacement character, controls, private use.
_UNKNOWN = re.compile("[\ufffd\x00-\x08\x0e-\x1f\ue000-\uf8ff]")


@contextlib.contextmanager
def _opened(request: dict[str, Any]) -> Iterator[Any]:
    import pymupdf

    with pymupdf.open(request["file"], filetype="pdf") as document:
        if document.needs_pass:
            raise _Refused("encrypted: it opens only with a password; save a copy without one")
        if not document.page_count:
            raise _Refused("has no pages")
        if document.page_count > request["pages"]:
            raise _Refused(
                f"has {document.page_count:,} pages; documents of more than {request['pages']:,} are not read (option pages)"
            )
        yield document


class _Refused(Exception):
    """A reason that is told as it is."""


def _reason(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    said = re.sub(r"^code=\d+: ", "", " ".join(str(error).split()))
    if isinstance(error, MemoryError) or "alloc" in said or "memory" in said.lower():
        return f"needs more than {MEMORY >> 20} MB of memory to read"
    return f"damaged, or no PDF at all: {said[:120] or type(error).__name__}"


def _read(document: Any, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pymupdf

    outline = [
        (level, title, page, at.y if (at := detail.get("to")) else None)  # counted from below
        for level, title, page, detail in document.get_toc(simple=False)[:MOST_ENTRIES]
        if 0 < page <= document.page_count and title.strip()
    ]
    yield {"version": pymupdf.VersionBind, "pages": document.page_count, "outline": outline}
    for page in document:
        # Text outside of the page is not seen by its readers, and is no evidence.
        text = page.get_textpage(flags=pymupdf.TEXT_MEDIABOX_CLIP | pymupdf.TEXT_PRESERVE_WHITESPACE)
        words: dict[tuple[int, int], list[int]] = {}
        for x0, _, x1, _, _, block, line, _ in text.extractWORDS():
            words.setdefault((block, line), []).extend((round(100 * x0), round(100 * x1)))
        lines = [
            (
                block["number"],
                [round(100 * edge) for edge in line["bbox"]],
                line["dir"][0] > 0.9,
                runs,
                words.get(at, []),
            )
            for nth, block in enumerate(text.extractDICT()["blocks"])
            for number, line in enumerate(block.get("lines", ()))
            if (at := (nth, number)) and (runs := _runs(line["spans"]))
        ]
        # MuPDF makes a warning of it, and goes on without the rest of the page.
        if "alloc" in pymupdf.TOOLS.mupdf_warnings(reset=False):
            raise MemoryError
        yield {"height": page.rect.height, "lines": lines, "unreadable": _unreadable(page, lines)}


def _runs(spans: Sequence[dict[str, Any]]) -> list[tuple[str, float, int]]:
    """Spans of one style as one; a span that is only a space is of its neighbour's."""
    runs: list[tuple[str, float, int]] = []
    for span in spans:
        text, style = span["text"], (round(10 * span["size"]) / 10, span["flags"] & (BOLD | RAISED))
        if runs and (runs[-1][1:] == style or not text.strip()):
            runs[-1] = (runs[-1][0] + text, *runs[-1][1:])
        else:
            runs.append((text, *style))
    if not any(text.strip() for text, _, _ in runs):
        return []
    main = max(runs, key=lambda run: len(run[0]))[1]
    # MuPDF calls raised what begins above the line's first letter, be it as large as all the others.
    return [(text, size, flags if size < 0.92 * main else flags & BOLD) for text, size, flags in runs]


def _unreadable(page: Any, lines: Sequence[Any]) -> bool:
    """A scan (an image over most of the page, and hardly a word), or letters that are known by their shapes only."""
    text = "".join(run[0] for *_, runs, _ in lines for run in runs)
    shown, unknown = len(text) - text.count(" "), len(_UNKNOWN.findall(text))
    if unknown > 0.3 * shown:
        return True
    return shown < 200 and sum(_area(info["bbox"]) for info in page.get_image_info()) > 0.5 * abs(page.rect)


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _picture(document: Any, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pymupdf

    number = request["page"]
    if not 1 <= number <= document.page_count:
        raise _Refused(f"has no page {number}; it has {document.page_count}")
    page = document[number - 1]
    scale = min(request["scale"], (MOST_PIXELS / max(abs(page.rect), 1)) ** 0.5)
    if request["rects"]:
        # Boxes are of the page as it is seen; a highlight is in the page as it is stored, perhaps turned.
        boxes = [pymupdf.Rect(*box).quad * page.derotation_matrix for box in request["rects"]]
        mark = page.add_highlight_annot(boxes)
        mark.set_colors(stroke=HIGHLIGHT)
        mark.update()
    png = page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False).tobytes("png")
    yield {"png": base64.b64encode(png).decode()}


_DO: Final = {"read": _read, "picture": _picture}


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "pdf",
        "PDF files and folders, read by PyMuPDF",
        f"{__name__}:PdfSource",
        reference="https://pymupdf.readthedocs.io",
        options=PdfOptions,
        extra="lpk[pdf]",
    )


if __name__ == "__main__":
    serve()
