"""Connections that are looked at: whom they reach, and how long they take."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lpk.core.errors import EnvironmentMissing
from lpk.core.evidence.retrieval.bibliographic import needed
from lpk.core.evidence.retrieval.failures import shown

with needed():
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Watch:
    """Looks at each connection: whom it reaches, and how long it takes."""

    def __init__(self, admits: Callable[[str], bool]) -> None:
        self.admits = admits
        self.expired = False
        self._socket: socket.socket | None = None

    @contextmanager
    def over(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the time is up, whatever is being waited for: a byte now and then resets a read timeout."""
        self.expired, self._socket = False, None
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        self.expired = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def connected(self, connection: socket.socket, host: str) -> None:
        """Refuse a name that leads into a private network. The connection itself is asked: a second lookup could differ.

        Raises:
            EnvironmentMissing: it does; nothing was sent.
        """
        if not self.admits(connection.getpeername()[0]):
            connection.close()
            raise EnvironmentMissing(f"{shown(host, quotes=False)} is not asked: it leads to no public address")

    def sends(self, connection: socket.socket | None) -> None:
        """A request goes out on this connection."""
        self._socket = connection


class Guarded(HTTPAdapter):
    """Makes connections that are looked at. Whom a proxy reaches is its own affair; how long it takes is ours."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._watch, look=True)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager: Any = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pools(self._watch, look=False)
        return manager


def _pools(watch: Watch, *, look: bool) -> dict[str, Any]:
    """urllib3's pools, of connections that the watch knows."""

    class Watched(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            if look:
                watch.connected(made, self.host)
            return made

        def request(self, *args: Any, **kwargs: Any) -> None:
            super().request(*args, **kwargs)
            watch.sends(self.sock)

    class Plain(HTTPConnectionPool):
        ConnectionCls = Watched

    class Secure(HTTPSConnectionPool):
        ConnectionCls = type("WatchedTLS", (Watched, HTTPSConnection), {})

    return {"http": Plain, "https": Secure}


class Session(requests.Session):
    """Follows no redirect by itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: to look for the next address, requests would read the whole body of this answer."""


def anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No one's password."""
    return request


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
