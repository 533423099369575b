"""What ``tlaam serve`` and ``tlaam demo`` share: the options and the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tlaam.cli.answering import answering_options
from tlaam.cli.objects import objects_option
from tlaam.cli.options import Command, config_option, precision_option
from tlaam.cli.output import say_notes
from tlaam.utils.progress import waiting
from tlaam.utils.text import printable

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from tlaam.inference.backend import Precision
    from tlaam.inference.engine import Engine


@dataclass(frozen=True)
class Serving:
    """The values of the options, by name."""

    host: str
    port: int
    allow_host: tuple[str, ...]
    batch_size: int
    queue: int
    max_upload: float
    max_pixels: float
    max_images: int
    precision: Precision | None
    objects: Literal["all"] | int | None
    taxonomy: Path | None
    promise: float | None
    only: Path | None
    prior: Path | None


def serving_options(command: Command) -> Command:
    """Give a command the options of a server."""
    positive = click.FloatRange(0, min_open=True)
    options: list[Callable[[Command], Command]] = [
        click.option(
            "--host", default="127.0.0.1", show_default=True,
            help="Address to listen on; other machines cannot reach the default.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
            help="Port to listen on; 0 picks a free one.",
        ),
        click.option(
            "--allow-host", multiple=True, metavar="NAME",
            help="Host name for reaching a service on a loopback address, e.g. through a proxy; may be repeated.",
        ),
        click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images per batch."),
        click.option(
            "--queue", type=click.IntRange(1), default=64, show_default=True,
            help="Maximum images waiting or being answered; further images are refused (503).",
        ),
        click.option(
            "--max-upload", type=positive, default=32, show_default=True,
            help="Maximum file size of an image in MiB; larger images are refused (413).",
        ),
        click.option(
            "--max-pixels", type=positive, default=64, show_default=True,
            help="Maximum size of an image in million pixels; larger images are refused (413).",
        ),
        click.option(
            "--max-images", type=click.IntRange(1), default=16, show_default=True, help="Maximum images per request."
        ),
        objects_option,
        answering_options,
        precision_option,
        config_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def serve_model(
    model: Path | str,
    options: dict[str, Any],
    *,
    pages: Callable[[Engine], Sequence[BaseRoute]] = lambda engine: (),
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a model until the process is asked to stop.

    Args:
        model: see `tlaam.inference.engine.load_engine`.
        options: the values of `serving_options`.
        pages: returns further routes for the model's engine.
        ready: called with the address once requests are answered.
    """
    from tlaam.inference.answering import answer_by
    from tlaam.inference.engine import load_engine
    from tlaam.inference.looking import look_for
    from tlaam.service.app import create_app
    from tlaam.service.limits import MIB, Limits
    from tlaam.service.server import address_of, bound, is_loopback, server

    given = Serving(**options)
    at_once = 1 if given.objects else given.batch_size  # one is decoded again, and held while objects are looked for
    limits = Limits(
        upload_bytes=round(given.max_upload * MIB),
        pixels=round(given.max_pixels * 1_000_000),
        images=min(given.max_images, given.queue),  # more could never be accepted
        queue=given.queue,
        batch_size=at_once,
        memory=max(Limits.memory, round(4 * given.max_upload * MIB)),
    )
    with bound(given.host, given.port) as listening:  # before loading the model: a taken port is reported at once
        with waiting("loading the model"):
            engine = load_engine(model, batch_size=given.batch_size, precision=given.precision)
        look_for(engine, given.objects)
        say_notes(answer_by(engine, taxonomy=given.taxonomy, promise=given.promise, only=given.only, prior=given.prior))
        hosts = {"localhost", "127.0.0.1", "::1", given.host, *map(str.lower, given.allow_host)}
        app = create_app(
            engine,
            name=_name(model),
            limits=limits,
            hosts=hosts if is_loopback(given.host) else None,
            pages=pages(engine),
        )
        if not is_loopback(given.host):
            click.echo(
                f"tlaam: {given.host} is reached by other machines, and there is no password or encryption; "
                "put a reverse proxy in front (docs/serving.md), or leave --host out.",
                err=True,
            )
        address = address_of(listening)

        def begin() -> None:
            classes = len(engine.classes)
            click.echo(f"{printable(str(model))} ({classes} classes) on {address} - Ctrl-C ends it.")
            ready(address)

        server(app, limits, begin).run(sockets=[listening])
    click.echo("Ended; everything that was taken has been answered.")


def _name(model: Path | str) -> str:
    """Return the model's name for a page: only the last part of a path."""
    return model if isinstance(model, str) else model.resolve().name
