"""``tlaam demo``."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlaam.cli.options import MODEL, PATH
from tlaam.cli.serving import serve_model, serving_options

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from tlaam.inference.engine import Engine


@click.command()
@click.argument("model", type=MODEL)
@click.option(
    "--examples",
    type=PATH,
    multiple=True,
    metavar="PATH",
    help="Pictures that the page offers: an image or a folder; may be repeated. Whoever opens the page sees them.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@serving_options
def demo(model: Path | str, examples: tuple[Path, ...], opens: bool, **options: Any) -> None:
    """Show a page to try MODEL on: an ONNX file that `tlaam export` wrote, the folder of a run, or hf://owner/name.

    Drop pictures on it to see their names, the heat map, the object and the parts that were looked at. It serves what
    `tlaam serve` serves as well.
    """

    def pages_of(engine: Engine) -> Sequence[BaseRoute]:
        from tlaam.service.demo import pages
        from tlaam.service.examples import default_examples, examples_from

        return pages(examples_from(examples, engine.model.depth) if examples else default_examples(engine.classes))

    def ready(address: str) -> None:
        if opens:
            webbrowser.open(address)

    serve_model(model, options, pages=pages_of, ready=ready)
