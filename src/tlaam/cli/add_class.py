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
@click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} With a row for NAME. [MODEL's own]")
@config_option
def add_class(model: Path, name: str, images: tuple[str, ...], out: Path, taxonomy: Path | None) -> None:
    """Teach MODEL one more class, NAME, from a few photographs: files, folders and patterns. No training, no PyTorch.

    MODEL is a file that tlaam export wrote, with its reference index (MODEL.gallery.npz) beside it; it stays as it is.
    The network stays, too: its classifiers, temperature and thresholds are solved anew. What the new class and the
    others come to is said at the end (docs/teaching.md).
    """
    from tlaam.teaching.teach import add_class as teach

    with progress_bar("looking at photographs") as progress:
        taught = teach(model, name, images, out, taxonomy=taxonomy, progress=progress)
    say_taught(taught, taught.classes[-1])
