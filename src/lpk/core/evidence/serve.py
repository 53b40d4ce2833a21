"""The dashboard for a browser on this machine: read-only, on the loopback address, rendered anew for each request."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lpk.core.errors import LpkError, UsageError

HOST = "127.0.0.1"


def serve(page: Callable[[], str], port: int, ready: Callable[[str], None]) -> None:
    """Serve a page until interrupted.

    Args:
        page: makes it.
        port: where; 0 is any that is free.
        ready: told the address once it can be asked.

    Raises:
        UsageError: the port is taken.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), _handler(page))
    except OSError as error:
        raise UsageError(f"port {port}: {(error.strerror or str(error)).lower()}; choose another with --port") from None
    with server:
        ready(f"http://{HOST}:{server.server_port}/")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return


def _handler(page: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One page at one path, whatever the query."""

        timeout = 10

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            # A foreign site whose name was made to point here (DNS rebinding) says its own name.
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in (HOST, "localhost"):
                self._send(403, "text/plain", b"asked for by another name\n", body)
            elif self.path.partition("?")[0] not in ("/", "/index.html"):
                self._send(404, "text/plain", b"there is only /\n", body)
            else:
                try:
                    self._send(200, "text/html", page().encode(), body)
                except LpkError as error:  # the ledger was damaged meanwhile: say so, and go on
                    self._send(500, "text/plain", f"lpk: {error}\n".encode(), body)

        def _send(self, code: int, kind: str, data: bytes, body: bool) -> None:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
            self.end_headers()
            if body:
                self.wfile.write(data)

        def version_string(self) -> str:
            return "lpk"

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are no news."""

    return Handler
