"""``tlaam rename``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.cli.taught import out_option, say_taught


@click.command()
@click.argument("model", type=PATH)
@click.argument("old")
@click.argument("new")
@out_option
@config_option
def rename(model: Path, old: str, new: str, out: Path) -> None:
    """Rename the class OLD of MODEL to NEW.

    MODEL is a file written by `tlaam export`. It is not changed. Except for the name, the new model gives the same
    answers.
    """
    from tlaam.teaching.teach import rename_class

    say_taught(rename_class(model, old, new, out))
