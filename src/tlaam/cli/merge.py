"""``tlaam merge``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.cli.taught import out_option, say_taught


@click.command()
@click.argument("model", type=PATH)
@click.argument("names", nargs=-1, required=True)
@click.option("--into", required=True, metavar="NAME", help="Name of the merged class.")
@out_option
@config_option
def merge(model: Path, names: tuple[str, ...], into: str, out: Path) -> None:
    """Merge the classes NAMES of MODEL into one.

    MODEL is a file written by `tlaam export`, with its reference index (MODEL.gallery.npz) beside it. It is not
    changed. Classifiers, temperature and thresholds are solved again.
    """
    from tlaam.teaching.teach import merge_classes

    say_taught(merge_classes(model, names, into, out))
