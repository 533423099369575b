"""The service as an ASGI application: `POST /v1/predict` and its companion routes. See docs/serving.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tlaam._version import __version__
from tlaam.data.images import ImageBytes
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.service.batching import Batcher
from tlaam.service.guard import Guard
from tlaam.service.limits import Limits
from tlaam.service.metrics import Metrics
from tlaam.service.refusal import Refusal, busy
from tlaam.service.reply import Json
from tlaam.service.rows import answered, refused
from tlaam.service.uploads import Aborted, Memory, read_body, uploads_of

_MOST_CLASSES, _MOST_LOOK_ALIKES = 1000, 20  # per row


class Service:
    """The request handlers of one model.

    Args:
        engine: the engine that answers.
        name: display name of the model, not a path.
        limits: the limits of the service.
    """

    def __init__(self, engine: Engine, name: str, limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.batcher = Batcher(engine, limits, self.metrics)
        self._memory = Memory(limits.memory)
        self._classes, self._name, self._look_alikes = engine.classes, name, engine.look_alikes
        self.metrics.watch("held_bytes", "Bytes of bodies that are held.", lambda: self._memory.held)

    @property
    def routes(self) -> list[BaseRoute]:
        """Return the routes of the service."""
        return [
            Route("/v1/predict", self.predict, methods=["POST"]),
            Route("/v1/model", self.model),
            Route("/healthz", self.health),
            Route("/readyz", self.ready),
            Route("/metrics", self.show_metrics),
            Route("/openapi.json", self.contract),
        ]

    async def predict(self, request: Request) -> Response:
        """Predict the images in the request body."""
        top_k = _number(request, "top_k", 5, 1, _MOST_CLASSES)
        heatmap = _number(request, "heatmap", 0, 0, 1) == 1
        alike = _number(request, "look_alikes", 0, 0, _MOST_LOOK_ALIKES)
        if self.batcher.full:  # refuse before reading the body
            raise busy(self.batcher.retry_after)
        loop = asyncio.get_running_loop()
        with self._memory.share() as share:
            body = await read_body(request, self.limits, share)
            kind = request.headers.get("content-type", "")
            uploads = await loop.run_in_executor(None, uploads_of, body, kind, self.limits)
            del body
            answers = await self._answers(uploads)

        def row(upload: ImageBytes, found: Prediction | Refusal) -> dict[str, Any]:
            if isinstance(found, Refusal):
                return refused(upload.name, found)
            nearest = (lambda each: self._look_alikes(each, alike)) if alike else None
            return answered(found, top_k=top_k, heatmap=heatmap, look_alikes=nearest)

        rows = await loop.run_in_executor(None, lambda: [*map(row, uploads, answers)])
        for each in rows:
            self.metrics.images.labels(each["code"] or "answered").inc()
        refusals = [found for found in answers if isinstance(found, Refusal)]
        status = refusals[0].status if len(refusals) == len(answers) else 200
        error = refusals[0].to_dict() if status != 200 else {}
        return Json({**error, "results": rows}, status)

    async def _answers(self, uploads: Sequence[ImageBytes]) -> list[Prediction | Refusal]:
        waiting = [asyncio.wrap_future(answer) for answer in self.batcher.submit(uploads)]
        together = asyncio.gather(*waiting, return_exceptions=True)
        try:
            found = await asyncio.wait_for(together, self.limits.answer_seconds)
        except asyncio.TimeoutError:  # not the same as the builtin TimeoutError in Python 3.10
            raise busy(self.batcher.retry_after, "the answer took too long and was given up") from None
        answers: list[Prediction | Refusal] = []
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, Refusal):
                each = Refusal(500, "failed", "The model could not answer for this image; the server's log says why.")
            elif isinstance(each, Prediction) and each.error is not None:
                each = Refusal(500, "failed", each.error)
            answers.append(each)
        return answers

    async def model(self, request: Request) -> Response:
        """Describe the served model and the limits on requests."""
        limits = self.limits
        return Json(
            {
                "name": self._name,
                "tlaam_version": __version__,
                "classes": list(self._classes),
                "limits": {
                    "upload_bytes": limits.upload_bytes,
                    "request_bytes": limits.request_bytes,
                    "pixels": limits.pixels,
                    "images": limits.images,
                    "queue": limits.queue,
                },
            }
        )

    async def health(self, request: Request) -> Response:
        """Liveness: whether the process is working."""
        alive = self.batcher.alive
        return Json({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    async def ready(self, request: Request) -> Response:
        """Readiness: whether it accepts another image now."""
        ready = self.batcher.alive and not self.batcher.full
        return Json({"status": "ready" if ready else "busy"}, 200 if ready else 503)

    async def show_metrics(self, request: Request) -> Response:
        """Return the metrics."""
        return Response(self.metrics.text(), headers={"Content-Type": self.metrics.content_type})

    async def contract(self, request: Request) -> Response:
        """Return the OpenAPI schema of the service."""
        return Response(resource("openapi.json"), media_type="application/json")


def create_app(
    engine: Engine,
    *,
    name: str = "model",
    limits: Limits | None = None,
    hosts: Collection[str] | None = None,
    pages: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application that serves a model.

    Args:
        engine: the engine that answers; nothing else may use it while the application runs.
        name: display name of the model.
        limits: the limits of the service.
        hosts: names accepted in the ``Host`` header; None accepts any.
        pages: additional routes (see `tlaam.service.demo.pages`).
    """
    service = Service(engine, name, limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.batcher.close)

    app = Starlette(
        routes=[*service.routes, *pages],
        middleware=[Middleware(Guard, metrics=service.metrics, hosts=hosts)],
        exception_handlers={
            Refusal: _refuse,
            Aborted: _give_up,
            HTTPException: _explain,
            Exception: _apologise,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would point to whatever host the request named
    return app


def resource(name: str) -> bytes:
    """Return the content of a file in this package's folder."""
    return resources.files("tlaam.service").joinpath(name).read_bytes()


def _number(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise Refusal(422, "bad_parameter", f"{name} must be a whole number from {low} to {high}.")
    return int(text)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return Json(error.to_dict(), error.status, error.headers)


async def _give_up(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client is gone


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    refusal = Refusal(error.status_code, code, error.detail)
    return Json(refusal.to_dict(), error.status_code, dict(error.headers or {}))


async def _apologise(request: Request, error: Exception) -> Response:
    return Json(Refusal(500, "failed", "The server failed; its log says how.").to_dict(), 500)
