"""The way to the network against a server that misbehaves."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from sources_server import Clock, Reply, Server, serve

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.retrieval.answers import xml
from lpk.core.evidence.retrieval.downloads import cache
from lpk.core.evidence.retrieval.web import Limits, Web

pytestmark = pytest.mark.usefixtures("clock")

PDF = b"%PDF-1.7\nmade up\n%%EOF\n"


def failing(web: Web, path: str = "x", *, what: str = "") -> str:
    """The one line that asking fails with."""
    with pytest.raises(EnvironmentMissing) as caught:
        web.get(path)
    line = str(caught.value)
    assert "\n" not in line
    assert "127.0.0.1" in line
    assert what in line
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return line


# -- what passes ------------------------------------------------------------------------------------------------------


def test_an_answer_comes_with_what_was_asked(server: Server) -> None:
    server.add("/api/x", Reply(b'{"a": 1}'))
    assert Web("s", server.address + "/api/", mailto="me@example.org").json("x", {"q": "a b&c"}) == {"a": 1}
    (asked,) = server.asked
    assert asked.query == {"q": "a b&c"}
    assert asked.headers["user-agent"].startswith("lpk/")
    assert "mailto:me@example.org" in asked.headers["user-agent"]


def test_gzip_is_unpacked(server: Server) -> None:
    body = json.dumps({"a": "x" * 200_000}).encode()
    server.add("/x", Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"}))
    assert Web("s", server.address).get("x").content == body


def test_chunks_and_bodies_that_end_with_the_connection(server: Server) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"3\r\n{}\n\r\n0\r\n\r\n")

    server.add("/chunked", Reply(by=chunked, headers={"Transfer-Encoding": "chunked", "Content-Length": ""}))
    server.add("/open", Reply(b"{}", headers={"Content-Length": ""}))
    web = Web("s", server.address)
    assert web.json("chunked") == web.json("open") == {}


def test_429_then_an_answer(server: Server, clock: Clock) -> None:
    server.add("/x", Reply(status=429, headers={"Retry-After": "7"}), Reply(status=429), Reply(b"{}"))
    assert Web("s", server.address).json("x") == {}
    assert clock.waits == [7, 2]  # as long as it says, else twice as long each time


def test_retry_after_may_be_a_date(server: Server, clock: Clock) -> None:
    when = formatdate(clock.now() + 30, usegmt=True)
    server.add("/x", Reply(status=503, headers={"Retry-After": when}), Reply(b"{}"))
    assert Web("s", server.address).json("x") == {}
    assert clock.waits == [30]


def test_a_wait_of_hours_is_told_at_once(server: Server, clock: Clock) -> None:
    server.add("/x", Reply(status=429, headers={"Retry-After": "54000"}))
    failing(Web("s", server.address), what="answered 429, too many requests, and wants us to wait 15 h")
    assert clock.waits == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_are_tried_four_times(server: Server, clock: Clock, status: int) -> None:
    server.add("/x", Reply(status=status))
    failing(Web("s", server.address), what=f"answered {status}, 4 times")
    assert clock.waits == [1, 2, 4]
    assert len(server.asked) == 4


@pytest.mark.parametrize(("status", "what"), [(403, "403, forbidden"), (418, "418, i'm a teapot"), (799, "799")])
def test_other_statuses_are_final(server: Server, status: int, what: str) -> None:
    server.add("/x", Reply(status=status))
    failing(Web("s", server.address), what=f"answered {what}")
    assert len(server.asked) == 1


def test_unknown_is_none(server: Server) -> None:
    assert Web("s", server.address).json("nothing") is None


# -- what is broken ---------------------------------------------------------------------------------------------------


def test_a_truncated_body_is_not_taken_for_a_whole_one(server: Server) -> None:
    server.add("/x", Reply(b'{"a": 1}', headers={"Content-Length": "5000"}))
    failing(Web("s", server.address), what="broke off in the middle of its answer, 4 times")


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "2, 2", "0x2"])
def test_lengths_that_are_none(server: Server, length: str) -> None:
    def all_by(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{}}".encode("latin-1"))

    server.add("/x", Reply(all_by=all_by))
    web = Web("s", server.address)
    if length[0] == "9":
        failing(web, what="would answer 999,999")
    else:
        assert web.json("x") == {}


@pytest.mark.parametrize("wait", ["\xb2", "soon", "-5", "9" * 5000, "Mon, 99 Foo 2026 00:00:00 GMT", ""])
def test_waits_that_are_none(server: Server, clock: Clock, wait: str) -> None:
    server.add("/x", Reply(status=503, headers={"Retry-After": wait}), Reply(b"{}"))
    if wait[:1] == "9":
        failing(Web("s", server.address), what="wants us to wait 277")
    else:
        assert Web("s", server.address).json("x") == {}
        assert clock.waits == [1]


@pytest.mark.parametrize("mailto", ["me", "a@b\r\nX: y", "m\u00e9@example.org"])
def test_what_no_header_may_hold(mailto: str) -> None:
    with pytest.raises(UsageError, match=r"mailto must be an address like me@example.org, not"):
        Web("s", "https://api.example.org", mailto=mailto)
    with pytest.raises(UsageError, match=r"the key of s holds a character that no key has$"):
        Web("s", "https://api.example.org", headers={"x-api-key": mailto + "\n"})


def test_a_truncated_body_then_a_whole_one(server: Server) -> None:
    server.add("/x", Reply(b'{"a"', headers={"Content-Length": "8"}), Reply(b'{"a": 1}'))
    assert Web("s", server.address).json("x") == {"a": 1}


def test_a_truncated_chunk_and_a_truncated_gzip(server: Server) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"ff\r\n{}")

    server.add("/chunk", Reply(by=cut, headers={"Transfer-Encoding": "chunked", "Content-Length": ""}))
    packed = gzip.compress(os.urandom(5000))[:3000]
    server.add("/gzip", Reply(packed, headers={"Content-Encoding": "gzip", "Content-Length": ""}))
    web = Web("s", server.address)
    failing(web, "chunk", what="broke off in the middle")
    failing(web, "gzip", what="broke off in the middle")


def test_what_is_no_gzip_and_what_comes_behind_one(server: Server) -> None:
    server.add("/no", Reply(b"plain text", headers={"Content-Encoding": "gzip"}))
    server.add("/more", Reply(gzip.compress(b"{}") + b"more", headers={"Content-Encoding": "gzip"}))
    server.add("/br", Reply(b"{}", headers={"Content-Encoding": "br"}))
    web = Web("s", server.address)
    failing(web, "no", what="answered a damaged body")
    failing(web, "more", what="answered a damaged body")
    failing(web, "br", what="answered in encoding 'br'")


def test_ten_gigabytes_are_refused_before_a_byte_is_read(server: Server) -> None:
    server.add("/x", Reply(by=hang(server), headers={"Content-Length": "10000000000"}))
    failing(Web("s", server.address), what="would answer 10,000,000,000 bytes; at most 20,000,000 are taken")
    assert len(server.asked) == 1


def test_a_body_without_end_is_cut(server: Server) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        while sent < 200_000_000:
            sent += handler.wfile.write(b"x" * 100_000)

    server.add("/x", Reply(by=endless, headers={"Content-Length": ""}))
    failing(Web("s", server.address), what="answered more than 20,000,000 bytes")
    assert sent < 40_000_000  # what the sockets hold comes on top


def test_a_gzip_bomb_is_cut_and_never_unpacked(server: Server) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = head + megabyte * 1000  # blocks that stand alone: a gigabyte in a megabyte
    assert len(bomb) < 1_100_000
    server.add("/x", Reply(bomb, headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        failing(Web("s", server.address), what="answered more than 20,000,000 bytes")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert len(server.asked) == 1


def hang(server: Server) -> Callable[[BaseHTTPRequestHandler], None]:
    """A client that waits for this waits until the test is over."""

    def until_done(handler: BaseHTTPRequestHandler) -> None:
        server.done.wait()

    return until_done


def drip(server: Server, what: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        try:
            while not server.done.wait(0.02):
                handler.wfile.write(what)
        except OSError:
            pass

    return slowly


def test_a_byte_now_and_then_ends_with_the_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Web, "limits", Limits(total=0.3))
    server.add("/body", Reply(by=drip(server, b"x"), headers={"Content-Length": "1000000"}))
    server.add("/open", Reply(by=drip(server, b"x"), headers={"Content-Length": ""}))
    web = Web("s", server.address)
    failing(web, "body", what="took more than 0.3 s")
    failing(web, "open", what="took more than 0.3 s")


def test_headers_now_and_then_end_with_the_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Web, "limits", Limits(total=0.3))

    def head(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        drip(server, b"x")(handler)

    server.add("/x", Reply(all_by=head))
    failing(Web("s", server.address), what="took more than 0.3 s")


def test_silence_is_tried_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Web, "limits", Limits(read=0.05, tries=2))
    server.add("/x", Reply(all_by=hang(server)))
    failing(Web("s", server.address), what="did not answer in time, 2 times")


def test_nobody_listens(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    failing(Web("s", f"http://127.0.0.1:{port}"), what="does not let us connect, 4 times")


def test_what_is_no_http(server: Server) -> None:
    def noise(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01 no http\r\n\r\n")

    server.add("/x", Reply(all_by=noise))
    failing(Web("s", server.address), what="4 times")


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b"", b'{"a": NaN}', b"\xff\xfe", b"[" * 200_000, b'{"a": ' + b"9" * 10_000 + b"}"]
)
def test_what_is_no_json_object(server: Server, body: bytes) -> None:
    server.add("/x", Reply(body, headers={"Content-Type": "text/html; charset=utf-8"}))
    with pytest.raises(EnvironmentMissing, match="answered text/html that is no JSON object"):
        Web("s", server.address).json("x")


# -- where it goes ----------------------------------------------------------------------------------------------------


def test_a_redirect_on_the_same_host_is_followed(server: Server) -> None:
    server.add("/x", Reply(status=302, headers={"Location": "/y?a=1"}))
    server.add("/y", Reply(b"{}"))
    web = Web("s", server.address, headers={"x-api-key": "secret"})
    assert web.json("x", {"b": "2"}) == {}
    assert [asked.query for asked in server.asked] == [{"b": "2"}, {"a": "1"}]
    assert all(asked.headers["x-api-key"] == "secret" for asked in server.asked)


def test_a_key_is_not_taken_to_another_host(server: Server) -> None:
    with serve() as other:
        port = other.address.rpartition(":")[2]
        server.add("/x", Reply(status=302, headers={"Location": f"http://localhost:{port}/y"}))
        other.add("/y", Reply(b"{}"))
        web = Web("s", server.address, hosts=("localhost",), headers={"x-api-key": "secret"})
        assert web.json("x") == {}
        assert "x-api-key" not in other.asked[0].headers
        assert "secret" not in str(other.asked)


def test_who_failed_is_who_was_redirected_to(server: Server) -> None:
    server.add("/x", Reply(status=302, headers={"Location": "http://localhost:1/y"}))
    with pytest.raises(EnvironmentMissing, match=r"^localhost:1 does not let us connect, 4 times$"):
        Web("s", server.address, hosts=("localhost",)).get("x")


def test_redirects_without_end(server: Server) -> None:
    server.add("/x", Reply(status=307, headers={"Location": "/x"}))
    failing(Web("s", server.address), what="redirects more than 5 times")
    assert len(server.asked) == 6


def test_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    waits = Reply(status=302, headers={"Location": "/y", "Content-Length": "10000000000"}, by=hang(server))
    server.add("/x", waits)
    server.add("/y", Reply(b"{}"))
    assert Web("s", server.address).json("x") == {}


@pytest.mark.parametrize(
    ("location", "what"),
    [
        (
            "https://evil.example/x",
            "evil.example is not asked: s has nothing there",
        ),
        ("http://evil.example/x", "evil.example is not asked: only https is"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254 is not asked: only https is"),
        ("https://169.254.169.254/latest/meta-data/", "169.254.169.254 is not asked: it is no public address"),
        ("https://10.0.0.1/", "10.0.0.1 is not asked: it is no public address"),
        ("https://[fd00::1]/", "is not asked: it is no public address"),
        ("file:///etc/passwd", "is not asked: only https is"),
        ("ftp://127.0.0.1/x", "is not asked: only https is"),
        ("http://u:p@127.0.0.1/x", "is not asked: the address holds a password"),
        ("http://127.0.0.1:99999/x", "points to a malformed address"),
        ("http://[::1/x", "redirects to a malformed address"),
    ],
)
def test_a_redirect_elsewhere_is_not_followed(server: Server, location: str, what: str) -> None:
    server.add("/x", Reply(status=302, headers={"Location": location}))
    with pytest.raises(EnvironmentMissing, match=what):
        Web("s", server.address).get("x")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://api.example.org/x",  # from https down to http
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.1.2.3/x",
        "https://192.168.0.1/x",
        "https://172.16.0.1/x",
        "https://169.254.169.254/x",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fe80::1]/x",
        "https://224.0.0.1/x",
        "https://other.example.org/x",
    ],
)
def test_a_public_service_never_leads_into_this_network(address: str) -> None:
    with pytest.raises(EnvironmentMissing, match="is not asked"):
        Web("s", "https://api.example.org").get(address)


@pytest.mark.parametrize("address", ["https://127.0.0.1/x", "https://[::ffff:10.0.0.1]/x", "https://2130706433/x"])
def test_any_public_host_is_not_this_network(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Web, "limits", Limits(tries=1))
    with pytest.raises(EnvironmentMissing):
        Web("s", "https://api.example.org", hosts=("*",)).get(address)


def test_a_public_name_that_leads_to_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is looked at, not the name: a second lookup could give another address."""
    port = int(server.address.rpartition(":")[2])
    real = socket.getaddrinfo

    def rebound(host: str, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == "api.example.org" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    monkeypatch.setattr(Web, "limits", Limits(tries=1))
    with pytest.raises(EnvironmentMissing, match=r"api\.example\.org is not asked: it leads to no public address"):
        Web("s", f"https://api.example.org:{port}").get("x")
    assert server.asked == []


def test_a_proxy_that_refuses(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.address)
    with pytest.raises(EnvironmentMissing, match=r"^api\.example\.org cannot be reached through the proxy, 4 times$"):
        Web("s", "https://api.example.org").get("x")


def test_what_is_no_tls(server: Server) -> None:
    failing(Web("s", server.address.replace("http", "https")), what="offers no TLS connection that can be trusted")


@pytest.mark.parametrize(
    "base",
    [
        *("http://api.example.org", "http://192.168.0.1", "ftp://127.0.0.1", "api.example.org", "", "https://"),
        *("https://u:secret@api.example.org", "https://api.example.org?api_key=secret", "https://["),
    ],
)
def test_bases_that_are_none(base: str) -> None:
    with pytest.raises(UsageError, match="the address of s must be") as caught:
        Web("s", base)
    assert "secret" not in str(caught.value)


def test_no_message_holds_a_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Web, "limits", Limits(read=0.05, tries=1))
    server.add("/500", Reply(status=500))
    server.add("/401", Reply(status=401))
    server.add("/slow", Reply(all_by=hang(server)))
    server.add("/cut", Reply(b"x", headers={"Content-Length": "9"}))
    server.add("/away", Reply(status=302, headers={"Location": "https://evil.example/?api_key=secret"}))
    web = Web("s", server.address, headers={"x-api-key": "secret"})
    for path in ("500", "401", "slow", "cut", "away"):
        with pytest.raises(EnvironmentMissing) as caught:
            web.get(path, {"api_key": "secret"})
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(web.__class__)


def test_netrc_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine api.example.org login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    request = requests.Request("GET", "https://api.example.org/x")
    assert "Authorization" in requests.Session().prepare_request(request).headers
    assert "Authorization" not in Web("s", "https://api.example.org")._session.prepare_request(request).headers


# -- XML --------------------------------------------------------------------------------------------------------------

BOMB = b"""<?xml version="1.0"?><!DOCTYPE f [<!ENTITY a "aaaaaaaaaa">%s]><feed><title>&a9;</title></feed>""" % b"".join(
    b'<!ENTITY a%d "%s">' % (i, (b"&a%d;" % (i - 1) if i > 1 else b"&a;") * 10) for i in range(1, 10)
)


@pytest.mark.parametrize(
    "document",
    [
        BOMB,
        BOMB.replace(b"<title>&a9;</title>", b'<title x="&a9;"/>'),
        b'<!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed><title>&x;</title></feed>',
        b'<!DOCTYPE f [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]><feed/>',
        b'<!DOCTYPE feed SYSTEM "http://127.0.0.1:9/x.dtd"><feed/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE f [<!ENTITY a "b">]><feed>&a;</feed>'.encode("utf-16"),
        b"<feed><entry></feed>",
        b"<feed>&undefined;</feed>",
        b"<feed>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</feed>",
        b"Rate exceeded.",
        b"",
    ],
)
def test_what_is_not_read_as_xml(document: bytes) -> None:
    assert xml(document) is None


def test_xml_that_is_read() -> None:
    root = xml("<?xml version='1.0' encoding='UTF-8'?><feed><title>a &amp; b ö</title></feed>".encode())
    assert root.findtext("title") == "a & b ö"


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_pdf_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    server.add(
        "/a.pdf",
        Reply(PDF, headers={"Content-Type": "application/pdf"}),
        Reply(b"%PDF-1.7 another", headers={"Content-Type": ""}),
    )
    web, into = Web("s", server.address), tmp_path / "papers"
    first = web.pdf(f"{server.address}/a.pdf", into, "one")
    again = web.pdf(f"{server.address}/a.pdf", into, "two")
    assert first is not None
    assert again is not None
    assert (first.name, again.name) == ("one.pdf", "two.pdf")
    assert first.read_bytes() == again.read_bytes() == PDF
    assert len(server.asked) == 1
    fresh = web.pdf(f"{server.address}/a.pdf", into, "one", refresh=True)
    assert fresh is not None
    assert fresh.read_bytes() == b"%PDF-1.7 another"


def test_a_damaged_cache_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.add("/a.pdf", Reply(PDF, headers={"Content-Type": ""}))
    web = Web("s", server.address)
    web.pdf(f"{server.address}/a.pdf", tmp_path, "one")
    (kept,) = (cache() / "files").iterdir()
    kept.write_bytes(b"%PDF-1.7 tampered with")
    found = web.pdf(f"{server.address}/a.pdf", tmp_path, "one")
    assert found is not None
    assert found.read_bytes() == PDF
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"<html>please log in</html>", "text/html"),
        (b"<html>please log in</html>", "application/pdf"),
        (b"<html>%PDF-1.7</html>", "text/html"),
        (b"", "application/pdf"),
    ],
)
def test_what_is_no_pdf(server: Server, tmp_path: Path, body: bytes, media: str) -> None:
    server.add("/a.pdf", Reply(body, headers={"Content-Type": media}))
    with pytest.raises(EnvironmentMissing, match=f"answered {media} that is no PDF"):
        Web("s", server.address).pdf(f"{server.address}/a.pdf", tmp_path, "one")
    assert not (tmp_path / "one.pdf").exists()


def test_no_pdf_there_and_one_that_is_too_large(server: Server, tmp_path: Path) -> None:
    server.add("/large.pdf", Reply(headers={"Content-Length": "100000001"}))
    web = Web("s", server.address)
    assert web.pdf(f"{server.address}/none.pdf", tmp_path, "one") is None
    with pytest.raises(EnvironmentMissing, match="at most 100,000,000 are taken"):
        web.pdf(f"{server.address}/large.pdf", tmp_path, "one")


# -- one request in three seconds -------------------------------------------------------------------------------------


def test_requests_keep_their_distance(server: Server, clock: Clock) -> None:
    server.add("/x", Reply(b"{}"))
    one, other = (Web("s", server.address, interval=3) for _ in range(2))
    one.json("x")
    one.json("x")
    clock.time += 1
    other.json("x")
    clock.time += 10
    other.json("x")
    Web("another", server.address, interval=3).json("x")
    assert clock.waits == [3, 2]


def test_a_failed_request_counts_too(server: Server, clock: Clock) -> None:
    server.add("/x", Reply(status=500), Reply(b"{}"))
    Web("s", server.address, interval=3).json("x")
    assert clock.waits == [1, 2]  # a second for the server's sake, two more for the rule


def test_a_clock_set_back_makes_nobody_wait(server: Server, clock: Clock) -> None:
    server.add("/x", Reply(b"{}"))
    web = Web("s", server.address, interval=3)
    web.json("x")
    clock.time -= 1_000_000
    web.json("x")
    (cache() / "requests" / "s").write_text("no number")
    web.json("x")
    assert clock.waits == []


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LPK_HOME", str(tmp_path / "file"))
    server.add("/a.pdf", Reply(PDF, headers={"Content-Type": ""}))
    with pytest.raises(UsageError, match="cannot write"):
        Web("s", server.address, interval=1).get("a.pdf")
    with pytest.raises(UsageError, match="cannot write"):
        Web("s", server.address).pdf(f"{server.address}/a.pdf", tmp_path, "one")


def test_processes_keep_their_distance(server: Server) -> None:
    """Three processes at once: every request but the first waits for the one before, of whichever process."""
    server.add("/x", Reply(b"{}"))
    code = (
        "import sys; from lpk.core.evidence.retrieval.web import Web\n"
        f"web = Web('s', {server.address!r}, interval=0.15)\n"
        "for _ in range(2): web.json('x')"
    )
    begun: list[float] = []
    server.chooser = lambda asked: begun.append(time.monotonic())
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(begun) == 6
    assert min(later - earlier for earlier, later in itertools.pairwise(begun)) > 0.14


def test_a_hint_where_a_key_would_help(server: Server) -> None:
    server.add("/429", Reply(status=429))
    server.add("/401", Reply(status=401))
    server.add("/500", Reply(status=500))
    web = Web("s", server.address, hint="a key in S_KEY helps")
    failing(web, "429", what="answered 429, too many requests, 4 times; a key in S_KEY helps")
    failing(web, "401", what="answered 401, unauthorized; a key in S_KEY helps")
    assert "S_KEY" not in failing(web, "500")
