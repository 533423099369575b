"""The demo page, which shows what a model sees: files of `static` and example pictures. It calls `POST /v1/predict`."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tlaam.service.app import resource
from tlaam.service.examples import Example
from tlaam.service.reply import Json
from tlaam.service.texts import card_texts, filled

_TYPES = {
    "index.html": "text/html",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "texts.json": "application/json",
    **dict.fromkeys(("app.js", "asking.js", "card.js", "picture.js", "receiving.js", "texts.js"), "text/javascript"),
}
_REVALIDATED = {"Cache-Control": "no-cache"}


def pages(examples: Sequence[Example] = ()) -> list[BaseRoute]:
    """Return the routes of the page; the files are read only once."""
    routes: list[BaseRoute] = []
    for name, kind in _TYPES.items():
        path = "/" if name == "index.html" else f"/static/{name}"
        content = resource(f"static/{name}")
        if name == "index.html":
            content = filled(content.decode(), card_texts()).encode()
        routes.append(_file(path, content, kind))
    listed = []
    for number, example in enumerate(examples):
        names = f"examples/{number}.jpg", f"examples/{number}-small.jpg"
        routes += [
            _file(f"/{name}", content, "image/jpeg")
            for name, content in zip(names, (example.picture, example.thumbnail), strict=True)
        ]
        listed.append({"name": example.name, "picture": names[0], "thumbnail": names[1]})

    async def listing(request: Request) -> Response:
        return Json(listed)

    return [*routes, Route("/examples.json", listing)]


def _file(path: str, content: bytes, kind: str) -> Route:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers=_REVALIDATED)

    return Route(path, answer)
