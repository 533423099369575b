"""The application on a socket: slow clients are disconnected, and on shutdown waiting ones still get their answers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tlaam.errors import ConfigError
from tlaam.service.limits import Limits
from tlaam.service.refusal import busy
from tlaam.service.reply import Json

_BACKLOG = 64
"""Connections accepted per turn of the event loop; the rest wait in the kernel, where they cost nothing. With a much
larger backlog, a flood would be accepted faster than it can be refused."""
_GRACE = 5.0  # seconds that a closed connection has to receive what was sent


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; port 0 means any free port.

    Raises:
        ConfigError: the address is in use, is not this machine's, or is not permitted.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host} is no address of this machine; 127.0.0.1 is.") from error
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # on Windows, this option would share a port that is in use
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"Port {port} of {host} is taken; give another by --port, or 0 for any.") from error
        raise ConfigError(f"Cannot listen on port {port} of {host}: {error.strerror or error}.") from error
    return found


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: ASGIApp, limits: Limits, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Return a server of the application that enforces these limits; `Server.run` takes the socket.

    Args:
        app: the application.
        limits: limits on connections and times.
        ready: called when the server is ready for its first request.
    """
    # The parser logs a warning for each malformed form. Drop these: a client could fill the log with them.
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())
    config = uvicorn.Config(
        app,
        http=_protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.ERROR,  # an invalid HTTP request is not worth a log line
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=int(limits.answer_seconds + limits.header_seconds),
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like the base class, but do not raise the signal again: a requested stop is not a failure."""
        try:
            before = {name: signal.signal(name, self.handle_exit) for name in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def _protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP/1.1 protocol, with a time limit on each phase of a connection.

    uvicorn only limits the pause between two requests. A client that never finished its headers, or never read its
    answer, would keep its connection open forever.
    """

    class Patience(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _watched: object = None  # the request that is being timed; None while its headers are

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > 4 * limits.connections:
                transport.abort()
            elif len(self.connections) > limits.connections:
                self.app = _too_many
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Answer an invalid request as uvicorn does: at most one response per request, then close the connection.

            uvicorn itself would fail and log a stack trace if the request was answered before its body turned out to
            be invalid, or if it is answered afterwards.
            """
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                super().send_400_response(msg)
            else:
                self.transport.close()
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.loop.call_later(_GRACE, self.transport.abort)

        def _watch(self) -> None:
            request = self._request()
            if self._timer is not None:
                if request is self._watched:
                    return
                self._timer.cancel()
            self._watched = request
            seconds = limits.header_seconds if request is None else limits.request_seconds
            self._timer = self.loop.call_later(seconds, self._late)

        def _request(self) -> object:
            """Return the request in progress, or None."""
            return None if self.cycle is None or self.cycle.response_complete else self.cycle

        def _late(self) -> None:
            self._timer = None
            request = self._request()
            if request is not None and request is not self._watched:
                self._watch()
            elif request is not None or self._watched is None or self.transport.is_closing():
                self.transport.abort()

    return Patience


async def _too_many(scope: Any, receive: Any, send: Any) -> None:
    refusal = busy(5, "too many connections are open")
    await Json(refusal.to_dict(), refusal.status, {**refusal.headers, "Connection": "close"})(scope, receive, send)
