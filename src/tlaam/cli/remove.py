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
    """Remove the class NAME from MODEL.

    MODEL is a file written by `tlaam export`, with its reference index (MODEL.gallery.npz) beside it. It is not
    changed. Classifiers, temperature and thresholds are solved again.
    """
    from tlaam.teaching.teach import remove_class

    say_taught(remove_class(model, name, out))
