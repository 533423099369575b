"""``tlaam undo``."""

from __future__ import annotations

from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.utils.progress import progress_bar
from tlaam.utils.text import printable


@click.command()
@click.argument("log", type=PATH)
@config_option
def undo(log: Path) -> None:
    """Undo the sorting of photographs by `tlaam predict --sort-into`.

    LOG is the file sorted-….jsonl in the folder that was sorted into. Moved photographs are moved back; copies and
    links are removed if their originals are unchanged. Nothing is overwritten. The exit code is 1 if a file had to stay
    where it was.
    """
    from tlaam.field.sorting_log import read_log
    from tlaam.field.undo import undo as put_back

    with progress_bar("putting back") as progress:
        done = put_back(log, progress=progress)
    what = "put back" if read_log(log).mode == "move" else "removed again; the originals are where they were"
    for reason in done.kept:
        click.echo(f"tlaam: {printable(reason)}", err=True)
    before = f", {done.before} were before" if done.before else ""
    click.echo(f"{log}: {done.files} files {what}{before}; {len(done.kept)} stay as they are.")
    if done.kept:
        raise click.exceptions.Exit(1)
