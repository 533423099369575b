"""``tlaam add-class``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.answering import TAXONOMY
from tlaam.cli.options import PATH, config_option
from tlaam.cli.taught import out_option, say_taught
from tlaam.utils.progress import progress_bar


@click.command(name="add-class")
@click.argument("model", type=PATH)
@click.argument("name")
@click.argument("images", nargs=-1, required=True)
@out_option
@click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} It needs a row for NAME. [MODEL's own]")
@config_option
def add_class(model: Path, name: str, images: tuple[str, ...], out: Path, taxonomy: Path | None) -> None:
    """Add the class NAME to MODEL from a few photographs, without training and without PyTorch.

    IMAGES are files, folders and patterns. MODEL is a file written by `tlaam export`, with its reference index
    (MODEL.gallery.npz) beside it. It is not changed. The network stays the same, too: only its classifiers, temperature
    and thresholds are solved again. At the end, the command reports the accuracy on the new class and on the others
    (docs/teaching.md).
    """
    from tlaam.teaching.teach import add_class as teach

    with progress_bar("looking at photographs") as progress:
        taught = teach(model, name, images, out, taxonomy=taxonomy, progress=progress)
    say_taught(taught, taught.classes[-1])
