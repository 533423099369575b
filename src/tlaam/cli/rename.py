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
    """Give class OLD of MODEL the name NEW. MODEL is a file that tlaam export wrote; it stays as it is, and so does
    every answer but for the name."""
    from tlaam.teaching.teach import rename_class

    say_taught(rename_class(model, old, new, out))
