"""``tlaam check``."""

from __future__ import annotations

import json

import click

from tlaam.cli.options import JsonCommand, JsonOption
from tlaam.cli.output import progress_bar, write_text


@click.command(cls=JsonCommand)
@click.argument("data")
@click.option("--json", "json_file", cls=JsonOption, help="Write the findings as JSON, to FILE.json or the screen.")
def check(data: str, json_file: str | None) -> None:
    """List what is wrong with DATA and change nothing.

    Unreadable and empty files, empty classes, one picture under two labels or in two splits, missing and impossible
    boxes. The exit code is 1 if an image cannot be read, since training would refuse the data.
    """
    from tlaam.data.check import check_images
    from tlaam.data.open import open_images

    images = open_images(data)
    with progress_bar("checking") as progress:
        report = check_images(images, progress=progress)
    if json_file is not None:
        write_text(json_file, json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n")
    if json_file != "-":
        click.echo(report.table())
    if report.unreadable:
        raise click.exceptions.Exit(1)
