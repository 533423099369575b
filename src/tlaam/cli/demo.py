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
    help="Pictures that the page offers: an image or a folder; may be repeated. Whoever opens the page sees them.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@serving_options
def demo(model: Path | str | None, examples: tuple[Path, ...], opens: bool, **options: Any) -> None:
    """Show a page to try MODEL on: an ONNX file that `tlaam export` wrote, the folder of a run, or hf://owner/name.

    Without MODEL it is the run that finished last in runs/. Drop pictures on the page to see their names, the heat map,
    the object and the parts that were looked at. It serves what `tlaam serve` serves as well.
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
