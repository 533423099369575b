"""Middleware for every request and response: security headers, the check of the host name, and metrics."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlaam.service.metrics import Metrics
from tlaam.service.refusal import Refusal
from tlaam.service.reply import Json

SECURITY_HEADERS = {
    # Class and file names are untrusted. If one ever reached a page as markup, this policy would stop it from running.
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
"""Paths counted individually; all others share one counter."""


class Guard:
    """ASGI middleware around the whole service.

    Args:
        app: the application to protect.
        metrics: where requests are counted and timed.
        hosts: names accepted in the ``Host`` header; None accepts any. A service that only accepts localhost is safe
            from DNS rebinding: a web page whose host name resolves to this machine cannot read from it.
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
            status = status or 500  # the surrounding layer sends it to the client
            raise
        finally:
            self._metrics.requests.labels(route, str(status or "aborted")).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - began)


def _host(header: str) -> str:
    """Return a ``Host`` header without the port."""
    if header.startswith("["):
        return header.partition("]")[0][1:].lower()
    return header.partition(":")[0].lower()
