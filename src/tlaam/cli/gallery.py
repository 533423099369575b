"""``tlaam gallery``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH, config_option, precision_option
from tlaam.cli.output import progress_bar
from tlaam.gallery import PER_CLASS

if TYPE_CHECKING:
    from tlaam.runtime.answers import Precision


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", required=False)
@click.option("--out", type=PATH, metavar="FILE.npz", help="The file to write. [RUN/gallery.npz]")
@click.option(
    "--per-class", type=click.IntRange(1), default=PER_CLASS, show_default=True, help="Most images of a class."
)
@click.option("--thumbnails/--no-thumbnails", default=True, help="Keep a small picture of each image. [yes]")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images a pass.")
@precision_option
@config_option
def gallery(
    run: Path,
    data: str | None,
    out: Path | None,
    per_class: int,
    thumbnails: bool,
    batch_size: int,
    precision: Precision | None,
) -> None:
    """Write the gallery of the finished run in RUN, from the training and validation images of DATA (by itself the data
    it was trained on): training images to show beside what looks like them, and what tells strangers.

    `tlaam train` ends with it.
    """
    from tlaam.gallery import read_gallery
    from tlaam.training.gallery import write_gallery

    with progress_bar("looking at training images") as progress:
        written = write_gallery(
            run,
            data,
            path=out,
            per_class=per_class,
            thumbnails=thumbnails,
            progress=progress,
            batch_size=batch_size,
            precision=precision,
        )
    judge = read_gallery(written).judge
    click.echo(
        f"Gallery: {written} ({written.stat().st_size:,} bytes)\n"
        f"A stranger: familiarity below {judge.threshold:.3f}. Unsure: probability below {judge.sure_from:.1%}. "
        f"Chosen on {judge.chosen_on}."
    )
