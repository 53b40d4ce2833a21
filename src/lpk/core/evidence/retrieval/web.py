"""The one way to the network: GET, over https, within limits of time and size, from the hosts that were meant.

What a server answers is not trusted. It may be slow, endless, cut off, compressed to bombs, XML with entities, or a
redirect to the machine's own network. Each of these ends in one line that names the host and what happened, never the
address: that may hold a key.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from filelock import FileLock, Timeout

from lpk import __version__
from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.retrieval.bibliographic import needed
from lpk.core.evidence.retrieval.connections import Guarded, Session, Watch, anonymous, is_loopback
from lpk.core.evidence.retrieval.downloads import cache, find, keep
from lpk.core.evidence.retrieval.failures import cause, duration, phrase, shown
from lpk.core.files import room, write_text

with needed():
    import requests
    from urllib3.exceptions import HTTPError, NameResolutionError

#: A page of 100 works of OpenAlex with abstracts and references is 2 MB.
TEXT_LIMIT: Final = 20_000_000
PDF_LIMIT: Final = 100_000_000
_CHUNK: Final = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Seconds, and how often.

    Attributes:
        connect: until a connection stands.
        read: between two packets.
        total: for one answer, its redirects included, however it comes.
        tries: how often something that may pass is tried.
        wait: the longest that a server may ask us to wait before the next.
        redirects: how many are followed.
    """

    connect: float = 10
    read: float = 30
    total: float = 180
    tries: int = 4
    wait: float = 60
    redirects: int = 5


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        media: its content type without parameters.
    """

    status_code: int
    content: bytes = field(repr=False)
    media: str = ""
    retry_after: float = 0


class _MayPass(Exception):
    """Something that a later try may not meet."""

    def __init__(self, what: str, wait: float = 0, *, throttled: bool = False) -> None:
        super().__init__(what)
        self.what, self.wait, self.throttled = what, wait, throttled
        self.address = ""


class Web:
    """The way to one service.

    Args:
        service: a short name; requests to it are counted under it by all processes of this user.
        base: its address; https, or http on this machine (for tests).
        hosts: where else it may redirect to or have files, as patterns; ``*`` is any public host.
        interval: seconds between two requests, over all processes; 0 for any.
        headers: sent to the base's host alone; a key may be among them.
        mailto: an address for the service's operators to write to.
        hint: what to do about it where the service wants a key or finds us too busy.
    """

    #: Tests put their own here.
    sleep: Callable[[float], None] = staticmethod(time.sleep)
    now: Callable[[], float] = staticmethod(time.time)
    limits = Limits()

    def __init__(
        self,
        service: str,
        base: str,
        *,
        hosts: tuple[str, ...] = (),
        interval: float = 0,
        headers: Mapping[str, str] | None = None,
        mailto: str = "",
        hint: str = "",
    ) -> None:
        self.service, self.base, self.hosts, self.interval = service, base.rstrip("/"), hosts, interval
        try:
            parts = urlsplit(self.base)
        except ValueError:
            raise UsageError(f"the address of {service} must be like https://host/path") from None
        self._host = parts.hostname or ""
        self._local = is_loopback(self._host)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._local):
            raise UsageError(f"the address of {service} must begin with https://, not {shown(base)}")
        if not self._host or parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(f"the address of {service} must be like https://host/path, not {shown(base)}")
        if mailto and not re.fullmatch(r"[!-~]+@[!-~]+", mailto):
            raise UsageError(f"mailto must be an address like me@example.org, not {shown(mailto)}")
        if not all(value.isascii() and value.isprintable() for value in (headers or {}).values()):
            raise UsageError(f"the key of {service} holds a character that no key has")
        self._own, self._hint = dict(headers or {}), f"; {hint}" if hint else ""
        self._watch = Watch(self._admits_address)
        self._session = Session()
        self._session.trust_env = not self._local  # the environment's proxies
        self._session.auth = anonymous  # never what ~/.netrc has
        self._session.headers.clear()
        self._agent = f"lpk/{__version__} (evidence ledger" + (f"; mailto:{mailto})" if mailto else ")")
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, Guarded(self._watch))

    # -- what sources ask for ------------------------------------------------------------------------------------------

    def get(
        self,
        address: str,
        params: Mapping[str, str] | None = None,
        *,
        limit: int = TEXT_LIMIT,
        statuses: tuple[int, ...] = (200,),
        throttled: Callable[[bytes], bool] = lambda body: False,
    ) -> Answer:
        """The answer for an address (of a host that is meant), or a path under the base.

        Args:
            statuses: what is an answer; any other status is a failure.
            throttled: whether a body says "too many requests", whatever its status.

        Raises:
            EnvironmentMissing: there was no such answer, after all tries.
        """
        if "://" not in address:
            address = f"{self.base}/{address.lstrip('/')}"
        tries = self.limits.tries
        for attempt in range(1, tries + 1):
            try:
                answer = self._once(address, params, limit, statuses)
                if not throttled(answer.content):
                    return answer
                problem = _MayPass("said that we ask too often", answer.retry_after, throttled=True)
            except _MayPass as error:
                problem = error
            host = problem.address or address
            if problem.wait > self.limits.wait:
                raise self._failure(host, f"{problem.what}, and wants us to wait {duration(problem.wait)}{self._hint}")
            if attempt < tries:
                self.sleep(max(problem.wait, 2 ** (attempt - 1)))
        raise self._failure(host, f"{problem.what}, {tries} times{self._hint if problem.throttled else ''}")

    def json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """The JSON object that a path gives; None if the service knows no such thing (404).

        Raises:
            EnvironmentMissing: there is no answer, or it is no JSON object.
        """
        answer = self.get(path, params, statuses=(200, 404))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        try:
            value = json.loads(answer.content, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._failure(path, f"answered {answer.media or 'something'} that is no JSON object")
        return value

    def pdf(self, address: str, into: Path, name: str, *, refresh: bool = False) -> Path | None:
        """Put the PDF at an address into a folder; None if there is none (404, 410).

        Files are kept by their hash and found by their address, so that a PDF is asked for once; ``refresh`` asks again.

        Raises:
            EnvironmentMissing: there is no answer, or it is no PDF.
        """
        target = into / f"{name}.pdf"
        kept = None if refresh else find(address)
        if kept is None:
            answer = self.get(address, limit=PDF_LIMIT, statuses=(200, 404, 410))
            if answer.status_code != HTTPStatus.OK:
                return None
            # Readers take a PDF whose mark is within the first 1,024 bytes; ISO 32000 wants it at the start.
            if b"%PDF-" not in answer.content[:1024] or answer.media in ("text/html", "application/json"):
                raise self._failure(address, f"answered {answer.media or 'something'} that is no PDF")
            kept = keep(address, answer.content)
        with room(target):
            into.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, target)
        return target

    # -- one try -------------------------------------------------------------------------------------------------------

    def _once(self, address: str, params: Mapping[str, str] | None, limit: int, statuses: tuple[int, ...]) -> Answer:
        with self._turn(), self._watch.over(self.limits.total):
            for _ in range(self.limits.redirects + 1):
                self._admit(address)
                with self._saying(address), self._send(address, params) as response:
                    if not response.is_redirect:
                        return self._read(address, response, limit, statuses)
                    address, params = self._onward(address, response.headers["Location"]), None
        raise self._failure(address, f"redirects more than {self.limits.redirects} times")

    def _send(self, address: str, params: Mapping[str, str] | None) -> requests.Response:
        headers = {"User-Agent": self._agent, "Accept": "*/*", "Accept-Encoding": "gzip"}
        if self._is_base(address):
            headers |= self._own
        return self._session.get(
            address,
            params=params,
            headers=headers,
            timeout=(self.limits.connect, self.limits.read),
            stream=True,
            allow_redirects=False,
        )

    def _read(self, address: str, response: requests.Response, limit: int, statuses: tuple[int, ...]) -> Answer:
        status, retry = response.status_code, self._retry_after(response)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _MayPass("answered 429, too many requests", retry, throttled=True)
        if status in (500, 502, 503, 504):
            raise _MayPass(f"answered {status}", retry)
        if status not in statuses:
            raise self._failure(address, f"answered {phrase(status)}{self._hint if status in (401, 403) else ''}")
        declared = _number(response.headers.get("Content-Length", ""))
        if declared is not None and declared > limit:
            raise self._failure(address, f"would answer {declared:,} bytes; at most {limit:,} are taken")
        body = self._body(address, response, limit)
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(status, body, media if media.isprintable() and len(media) < 80 else "", retry)

    def _body(self, address: str, response: requests.Response, limit: int) -> bytes:
        """All of it, unpacked here: so that no more than ``limit`` is ever in memory, and what is cut off is noticed.

        Of a length that was announced and of chunks urllib3 notices it.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise self._failure(address, f"answered in encoding {shown(encoding)}, where gzip was asked for")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding else None
        body, raw = bytearray(), 0
        while chunk := response.raw.read(_CHUNK, decode_content=False):
            raw += len(chunk)
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
            if len(body) > limit:
                raise self._failure(address, f"answered more than {limit:,} bytes")
            if unpack and unpack.unused_data:
                raise _MayPass("answered a damaged body")
        if self._watch.expired:
            raise self._failure(address, f"took more than {duration(self.limits.total)}")
        if unpack and raw and not unpack.eof:
            raise _MayPass("broke off in the middle of its answer")
        return bytes(body)

    def _retry_after(self, response: requests.Response) -> float:
        """Seconds, or a date: RFC 9110, 10.2.3."""
        said = response.headers.get("Retry-After", "").strip()
        if (seconds := _number(said)) is not None:
            return seconds
        with suppress(ValueError, TypeError, OverflowError):
            return max(0.0, parsedate_to_datetime(said).timestamp() - self.now())
        return 0

    # -- who may be asked ----------------------------------------------------------------------------------------------

    def _is_base(self, address: str) -> bool:
        return urlsplit(address)[:2] == urlsplit(self.base)[:2]

    def _onward(self, address: str, location: str) -> str:
        try:
            return urljoin(address, location)
        except ValueError:
            raise self._failure(address, "redirects to a malformed address") from None

    def _admit(self, address: str) -> None:
        """Raises:
        EnvironmentMissing: this address may not be asked, whoever sent us there.
        """
        try:
            parts = urlsplit(address)
            host, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise self._failure(self.base, "points to a malformed address") from None
        local = self._local and is_loopback(host)
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise self._failure(address, "is not asked: only https is")
        if parts.username or parts.password:
            raise self._failure(address, "is not asked: the address holds a password")
        with suppress(ValueError):  # a name, no number: the connection is looked at
            if not self._admits_address(host):
                raise self._failure(address, "is not asked: it is no public address")
        if host != self._host and not any(fnmatch.fnmatchcase(host.lower(), pattern) for pattern in self.hosts):
            raise self._failure(address, f"is not asked: {self.service} has nothing there")

    def _admits_address(self, address: str) -> bool:
        """Whether a numeric address may be connected to: a public one, or in tests this machine's own.

        Raises:
            ValueError: it is no numeric address.
        """
        number = ipaddress.ip_address(address.partition("%")[0])
        return number.is_loopback if self._local else number.is_global and not number.is_multicast

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One request at a time and ``interval`` seconds apart, over all processes of this user."""
        if not self.interval:
            yield
            return
        stamp = cache() / "requests" / self.service
        try:
            with room(stamp):
                stamp.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{stamp}.lock", timeout=600):
                    self._wait_since(stamp)
                    try:
                        yield
                    finally:
                        write_text(stamp, repr(self.now()))
        except Timeout:
            raise self._failure(self.base, "is being asked by another process, for more than 10 minutes") from None

    def _wait_since(self, stamp: Path) -> None:
        with suppress(OSError, ValueError):
            left = float(stamp.read_text(encoding="ascii")) + self.interval - self.now()
            if 0 < left <= self.interval:  # a clock that was set back must not make us wait for hours
                self.sleep(left)

    # -- what went wrong -----------------------------------------------------------------------------------------------

    @contextmanager
    def _saying(self, address: str) -> Iterator[None]:
        """Tell what the libraries raise in our own words: theirs hold the address, and that a key.

        Raises:
            _MayPass: a later try may succeed.
            EnvironmentMissing: none will.
        """
        try:
            yield
        except _MayPass as error:
            error.address = address
            raise
        except (requests.RequestException, HTTPError, OSError, zlib.error) as error:
            if self._watch.expired:
                raise self._failure(address, f"took more than {duration(self.limits.total)}") from None
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(reason, NameResolutionError):
                raise self._failure(address, "is not found; is there a network?") from None
            if isinstance(error, requests.exceptions.SSLError):
                raise self._failure(address, "offers no TLS connection that can be trusted") from None
            if isinstance(error, requests.exceptions.InvalidURL):
                raise self._failure(self.base, "points to a malformed address") from None
            passing = _MayPass(cause(error))
            passing.address = address
            raise passing from None

    def _failure(self, address: str, what: str) -> EnvironmentMissing:
        host = urlsplit(address).netloc.rpartition("@")[2] if "://" in address else urlsplit(self.base).netloc
        return EnvironmentMissing(f"{shown(host, quotes=False)} {what}")


def _number(text: str) -> int | None:
    """A whole number, as headers have it; None if it is none. Python would take other scripts' digits, too."""
    return int(text[:18]) if text.isascii() and text.isdigit() else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
