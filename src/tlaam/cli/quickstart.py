"""``tlaam quickstart``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.utils.progress import waiting


@click.command()
@config_option
@click.option("--out", type=PATH, default=Path("runs/quickstart"), show_default=True, help="Folder to write to.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the data and of training.")
def quickstart(out: Path, seed: int) -> None:
    """Train TL-AAM and the plain backbone on a built-in data set, and show what the model looks at."""
    with waiting("loading PyTorch"):
        from tlaam.workflows.quickstart import quickstart as begin

    page = begin(out, seed=seed, say=click.echo)
    click.echo(f"Pictures: {page}")
    run = shlex.quote(str(out / "tlaam"))
    click.echo(f"""Next:
  tlaam demo {run} --open   # try it on pictures, in the browser
  tlaam export {run} --out creatures.onnx   # one file that answers without PyTorch
  tlaam check PHOTOS && tlaam train PHOTOS   # a folder of your own, with a folder for each class""")
