"""``tlaam remove``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.cli.taught import out_option, say_taught


@click.command()
@click.argument("model", type=PATH)
@click.argument("name")
@out_option
@config_option
def remove(model: Path, name: str, out: Path) -> None:
    """Take the class NAME out of MODEL. MODEL is a file that tlaam export wrote, with its reference index
    (MODEL.gallery.npz) beside it; it stays as it is. Classifiers, temperature and thresholds are solved anew."""
    from tlaam.teaching.teach import remove_class

    say_taught(remove_class(model, name, out))
