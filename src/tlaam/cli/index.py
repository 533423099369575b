"""``tlaam index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.answering import TAXONOMY
from tlaam.cli.options import PATH, config_option, moved_option, precision_option
from tlaam.reference.index import PER_CLASS
from tlaam.utils.progress import progress_bar, waiting

if TYPE_CHECKING:
    from tlaam.inference.backend import Precision


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", required=False)
@moved_option
@click.option("--out", type=PATH, metavar="FILE.npz", help="File to write. [RUN/gallery.npz]")
@click.option(
    "--per-class", type=click.IntRange(1), default=PER_CLASS, show_default=True, help="Maximum images per class."
)
@click.option("--thumbnails/--no-thumbnails", default=True, help="Store a small picture of each image. [yes]")
@click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} Stored with the run.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@precision_option
@config_option
def index(
    run: Path,
    data: str | None,
    moved: str | None,
    out: Path | None,
    per_class: int,
    thumbnails: bool,
    taxonomy: Path | None,
    batch_size: int,
    precision: Precision | None,
) -> None:
    """Write the reference index of the finished run in RUN.

    The index holds training images to show as look-alikes, and the data that detects out-of-distribution images
    (strangers). It is made from the training and validation images of DATA (default: the data that RUN was trained on).

    `tlaam train` writes it at the end.
    """
    if data is not None and moved is not None:
        raise click.UsageError("give DATA, or with --data what RUN was trained on, not both.")
    from tlaam.reference.file import read_index
    from tlaam.runs.splits import TrainingData, opened_elsewhere

    with waiting("loading PyTorch"):
        from tlaam.workflows.reference_index import write_reference_index

    with progress_bar("looking at training images") as progress:
        written = write_reference_index(
            run,
            data if moved is None else opened_elsewhere(moved, TrainingData.of_run(run), run),
            path=out,
            per_class=per_class,
            thumbnails=thumbnails,
            taxonomy=taxonomy,
            progress=progress,
            batch_size=batch_size,
            precision=precision,
        )
    detector = read_index(written).detector
    strangers = (
        f"Out of distribution (stranger): similarity below {detector.threshold:.3f}. Unsure: probability below "
        f"{detector.sure_from:.1%}."
        if detector.tells_strangers
        else "It cannot tell strangers, and no answer has a verdict: no class has two different images."
    )
    click.echo(
        f"Reference index: {written} ({written.stat().st_size:,} bytes)\n{strangers} Chosen on {detector.chosen_on}."
    )
