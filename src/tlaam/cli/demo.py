"""``tlaam demo``."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlaam.cli.options import MODEL, PATH
from tlaam.cli.serving import serve_model, serving_options
from tlaam.errors import RunError
from tlaam.runs.newest import newest_run

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from tlaam.inference.engine import Engine


@click.command()
@click.argument("model", type=MODEL, required=False)
@click.option(
    "--examples",
    type=PATH,
    multiple=True,
    metavar="PATH",
    help="Example pictures on the page: an image or a folder; may be repeated. Everyone who opens the page sees them.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@serving_options
def demo(model: Path | str | None, examples: tuple[Path, ...], opens: bool, **options: Any) -> None:
    """Serve a web page for trying MODEL on your own pictures.

    MODEL is a run folder, an ONNX file written by `tlaam export`, or hf://owner/name. The default is the run in runs/
    that finished last. Drop pictures on the page to see their names, the heat map, the object and the parts that the
    model looked at. Everything that `tlaam serve` serves is available, too.
    """
    if model is None:
        if (model := newest_run()) is None:
            raise RunError("there is no finished run in runs/; give a model: tlaam demo MODEL.")
        click.echo(f"Model: {model}", err=True)

    def pages_of(engine: Engine) -> Sequence[BaseRoute]:
        from tlaam.service.demo import pages
        from tlaam.service.examples import default_examples, examples_from

        return pages(examples_from(examples, engine.model.depth) if examples else default_examples(engine.classes))

    def ready(address: str) -> None:
        if opens:
            webbrowser.open(address)

    serve_model(model, options, pages=pages_of, ready=ready)
