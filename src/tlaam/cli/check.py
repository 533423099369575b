"""``tlaam check``."""

from __future__ import annotations

import click

from tlaam.cli.options import JsonCommand, JsonOption, config_option
from tlaam.cli.output import write_json
from tlaam.utils.progress import progress_bar

SHOWN = 5
"""Number of findings of each kind to print; the JSON has all of them."""


@click.command(cls=JsonCommand)
@click.argument("data")
@config_option
@click.option("--json", "json_file", cls=JsonOption, help="Write the findings as JSON to FILE.json or standard output.")
def check(data: str, json_file: str | None) -> None:
    """List the faults of DATA. Changes nothing.

    Finds unreadable and empty files, unsupported image types, empty classes, the same picture under two labels or in
    two splits, and missing and impossible boxes. Prints the first few faults of each kind; --json gives all of them.

    The exit code is 1 if training would refuse the data: an image cannot be read, a class is empty, a box is
    impossible, or there are no training images.
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
