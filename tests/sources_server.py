"""A web server on this machine that answers as it is told, and a clock that nobody waits for."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

DATA = Path(__file__).parent / "data" / "sources"


@dataclass
class Reply:
    """What is answered once; ``Content-Length`` is the body's, unless given or emptied."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Writes the body itself, in whatever way.
    by: Callable[[BaseHTTPRequestHandler], None] | None = None
    #: Writes the status and headers as well.
    all_by: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Server:
    """Replies of a path are given one after the other; the last one is given again and again."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        self.chooser: Callable[[Asked], Reply | None] = lambda asked: None
        self.asked: list[Asked] = []
        self.done = threading.Event()
        self.address = ""

    def add(self, path: str, *replies: Reply) -> None:
        self.replies[path] += replies

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        chosen = self.chooser(asked)
        if chosen is not None:
            return chosen
        queue = self.replies.get(asked.path)
        if not queue:
            return Reply(b"{}", 404)
        return queue.pop(0) if len(queue) > 1 else queue[0]


@contextmanager
def serve() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply(Asked(parts.path, query, headers))
            self.close_connection = True
            if reply.all_by:
                reply.all_by(self)
                return
            self.send_response(reply.status)
            given = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in given.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError):  # the client goes away, as it should
                reply.by(self) if reply.by else self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        http.shutdown()
        http.server_close()
        thread.join()


class Clock:
    """Time that passes only by waiting for it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.time += seconds


def recorded(name: str) -> Reply:
    """A JSON answer of tests/data/sources."""
    return Reply((DATA / name).read_bytes())


def as_json(value: object) -> Reply:
    return Reply(json.dumps(value).encode())
