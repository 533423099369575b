"""What every answer carries and every request passes: headers against scripts, the host's name, counting."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlaam.service.metrics import Metrics
from tlaam.service.refusal import Refusal
from tlaam.service.reply import Json

SECURITY_HEADERS = {
    # Names of classes and files are data. Should one ever reach a page as markup, nothing in it would run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

ROUTES = frozenset(("/", "/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json"))
"""Paths that are counted by themselves; all others are counted as one."""


class Guard:
    """ASGI middleware around the whole service.

    Args:
        app: what it guards.
        metrics: where requests are counted and timed.
        hosts: names in the ``Host`` header that are answered; None is any. A page elsewhere whose name is made to
            lead to this machine cannot read from a service that only knows itself as localhost.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Collection[str] | None) -> None:
        self._app, self._metrics, self._hosts = app, metrics, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in ROUTES else "other"
        began, status = time.perf_counter(), 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if self._hosts is not None and _host(Headers(scope=scope).get("host", "")) not in self._hosts:
                wrong = Refusal(421, "wrong_host", "This service is not reached by that name; see --allow-host.")
                await Json(wrong.to_dict(), wrong.status)(scope, receive, send_guarded)
            else:
                await self._app(scope, receive, send_guarded)
        except Exception:
            status = status or 500  # the layer around this one says so to the client
            raise
        finally:
            self._metrics.requests.labels(route, str(status or "aborted")).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - began)


def _host(header: str) -> str:
    """Return a ``Host`` header without its port."""
    if header.startswith("["):
        return header.partition("]")[0][1:].lower()
    return header.partition(":")[0].lower()
