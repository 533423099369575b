"""``tlaam export``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.cli.output import progress_bar


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="MODEL.onnx", help="The file to write.")
@click.option(
    "--images",
    multiple=True,
    metavar="PATH",
    help="Photographs to compare answers on: a file, folder or pattern; may be repeated. [the run's own]",
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Most photographs that are compared."
)
@config_option
def export(run: Path, out: Path, images: tuple[str, ...], count: int) -> None:
    """Write the trained model in RUN as one ONNX file, from a photograph's pixels to boxes in them.

    The file appears only if ONNX Runtime answers from it as PyTorch does; MODEL.parity.json beside it says how closely.
    """
    from tlaam.export.onnx import export_onnx, parity_file, require_packages
    from tlaam.export.parity import images_to_compare

    require_packages()
    chosen = images_to_compare(run, images, count)
    with progress_bar("comparing") as progress:
        parity = export_onnx(run, out, chosen, progress=progress)
    click.echo(parity.table())
    click.echo(f"Model: {out}\nFigures: {parity_file(out)}")
