"""``tlaam check``."""

from __future__ import annotations

import click

from tlaam.cli.options import JsonCommand, JsonOption, config_option
from tlaam.cli.output import write_json
from tlaam.utils.progress import progress_bar

SHOWN = 5
"""Findings of each kind that are printed; the JSON has all."""


@click.command(cls=JsonCommand)
@click.argument("data")
@config_option
@click.option("--json", "json_file", cls=JsonOption, help="Write the findings as JSON, to FILE.json or the screen.")
def check(data: str, json_file: str | None) -> None:
    """List what is wrong with DATA and change nothing.

    Unreadable and empty files, pictures of a type that is not read, empty classes, one picture under two labels or in
    two splits, missing and impossible boxes. The exit code is 1 if training would refuse the data: an image cannot be
    read, a class is empty, a box is impossible, there are no training images. Of each kind of fault the first few are
    shown; --json has all.
    """
    from tlaam.data.check import check as check_source

    with progress_bar("checking") as progress:
        report = check_source(data, progress=progress)
    if json_file != "-":
        click.echo(report.table(limit=SHOWN))
    if json_file is not None:
        write_json(json_file, report.to_dict())
    if report.unreadable or report.refusal is not None:
        raise click.exceptions.Exit(1)
