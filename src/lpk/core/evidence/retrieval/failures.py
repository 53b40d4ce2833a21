"""What went wrong on the way to a server, in our own words: those of the libraries hold addresses, and these keys."""

from __future__ import annotations

import zlib
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from lpk.core.evidence.retrieval.bibliographic import needed

with needed():
    import requests
    from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError


def shown(text: str, *, quotes: bool = True) -> str:
    """What somebody else wrote, fit for a message: without query or password, printable, short."""
    if "://" in text:
        parts = urlsplit(text)
        text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return repr(text) if quotes else text


def phrase(status: int) -> str:
    """A status, as HTTP calls it."""
    with suppress(ValueError):
        return f"{status}, {HTTPStatus(status).phrase.lower()}"
    return str(status)


def cause(error: Exception) -> str:
    """Why there was no answer, as far as it can be told."""
    if isinstance(error, requests.exceptions.ProxyError):
        return "cannot be reached through the proxy"
    if isinstance(error, (requests.exceptions.Timeout, ReadTimeoutError)) or "timed out" in str(error):
        return "did not answer in time"
    if isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError):
        return "does not let us connect"
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, HTTPError)):
        return "broke off in the middle of its answer"
    if isinstance(error, zlib.error):
        return "answered a damaged body"
    return "closes the connection"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
