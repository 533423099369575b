"""``tlaam export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH, config_option
from tlaam.data.sample import SPLITS, Split
from tlaam.reference.file import index_file_of, read_index
from tlaam.utils.progress import progress_bar

if TYPE_CHECKING:
    from tlaam.export.precision import Precision


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
    "--split", type=click.Choice(SPLITS), help="Split of the run's own data to compare on. [val, or else train]"
)
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Most photographs that are compared."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of the backbone; maps, boxes and classifiers stay in float32.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="PATH",
    help="Photographs that int8 reads the activations' ranges from; may be repeated. [32 of the run's training images]",
)
@config_option
def export(
    run: Path,
    out: Path,
    images: tuple[str, ...],
    split: Split | None,
    count: int,
    precision: Precision,
    calibration: tuple[str, ...],
) -> None:
    """Write the trained model in RUN as one ONNX file, from a photograph's pixels to boxes in them.

    The file appears only if ONNX Runtime answers from it as PyTorch does; MODEL.parity.json beside it says how closely.
    A reference index in RUN goes with it as MODEL.gallery.npz: look-alikes. What tells strangers is in the file itself,
    too, up to 8 MB.
    For fp16 and int8 the float32 graph has to agree, and what the smaller file loses is measured on the same images.
    """
    from tlaam.export.onnx import export_run, require_packages

    require_packages()
    with progress_bar("comparing") as progress:
        done = export_run(
            run, out, images, split=split, count=count, precision=precision, calibration=calibration, progress=progress
        )
    for parity in done.parities.values():
        click.echo(parity.table())
    if done.seen_in_training:
        click.echo("  (of the run's training images; --images or --split test compares on others)")
    click.echo(f"Model: {out} ({out.stat().st_size:,} bytes)\nFigures: {done.figures}")
    if done.index is None:
        click.echo(
            f"No reference index in {run}: the file neither tells strangers nor shows look-alikes (tlaam index RUN)."
        )
        return
    detector = read_index(index_file_of(run)).detector
    worth = (
        "look-alikes; neither it nor the file tells strangers"
        if not detector.tells_strangers
        else "look-alikes; without it the file still tells strangers"
        if detector.to_text() is not None
        else "look-alikes and what tells strangers, which is too much for the file itself: keep both together"
    )
    click.echo(f"Reference index: {done.index} ({worth})")
