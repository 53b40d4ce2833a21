"""``lpk ledger serve``'s server, asked over a real socket."""

from __future__ import annotations

import http.client
import threading
from queue import Queue

import pytest

from lpk.core.errors import UsageError
from lpk.core.evidence.serve import serve

PAGES = ["<!doctype html><title>Ledger</title>"]


def page() -> str:
    if not PAGES:
        raise UsageError("events.jsonl: line 3 was changed")
    return PAGES[0]


@pytest.fixture(scope="module")
def port() -> int:
    addresses: Queue[str] = Queue()
    threading.Thread(target=serve, args=(page, 0, addresses.put), daemon=True).start()
    address = addresses.get(timeout=10)
    assert address.startswith("http://127.0.0.1:")
    return int(address.rstrip("/").rpartition(":")[2])


def ask(port: int, path: str = "/", host: str | None = None, method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    return connection.getresponse()


def test_the_page(port: int) -> None:
    answer = ask(port)
    assert (answer.status, answer.read().decode()) == (200, PAGES[0])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(port, "/index.html?x=1").status == 200
    head = ask(port, method="HEAD")
    assert (head.status, head.read()) == (200, b"")


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/events.jsonl", "//etc/passwd"])
def test_nothing_else(port: int, path: str) -> None:
    answer = ask(port, path)
    assert answer.status == 404
    assert b"root:" not in answer.read()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_asked_by_another_name(port: int, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    assert connection.getresponse().status == 403


def test_nothing_is_written(port: int) -> None:
    assert ask(port, method="POST").status == 501
    assert ask(port, method="PUT").status == 501


def test_a_damaged_ledger_is_told_and_the_server_goes_on(port: int) -> None:
    kept = PAGES.pop()
    answer = ask(port)
    assert (answer.status, answer.read()) == (500, b"lpk: events.jsonl: line 3 was changed\n")
    PAGES.append(kept)
    assert ask(port).status == 200


def test_a_taken_port_is_told(port: int) -> None:
    with pytest.raises(UsageError, match=f"port {port}: address already in use"):
        serve(page, port, print)
