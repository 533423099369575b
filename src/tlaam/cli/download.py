"""``tlaam download``."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

import click

from tlaam.cli.options import PATH, config_option
from tlaam.data.download.archives import DATA_SETS, PublicDataSet
from tlaam.utils.progress import progress_bar


def _help() -> str:
    by_hand = " and ".join(name for name, each in DATA_SETS.items() if each.obstacle)
    return f"""Download a public data set into the folder DIR.

    The archives are downloaded into DIR/.archives/NAME, verified by size and hash, and extracted. To resume an
    interrupted download, give the same command again. The data set is either complete or absent, and nothing that
    exists is overwritten. The archives are kept; you may delete them afterwards.

    For {by_hand}, which must be downloaded by hand, the command says which files to put where.

    NAME is one of:

    \b
    {"".join(map(_line, DATA_SETS.values()))}
    """


def _line(data_set: PublicDataSet) -> str:
    size = sum(archive.size or 0 for archive in data_set.archives)
    return f"{data_set.name:<10}{data_set.title}, {data_set.about}{f', {size / 1e9:.1f} GB' if size else ''}\n    "


@click.command(help=_help())
@click.argument("name")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option(
    "--archive", "archives", type=PATH, multiple=True, metavar="FILE",
    help="Use this archive, under its official name, instead of downloading it; repeat for each archive.",
)  # fmt: skip
@click.option("--unverified", is_flag=True, help="Accept a given archive whose size or hash is not the published one.")
@config_option
def download(name: str, folder: Path, archives: tuple[Path, ...], unverified: bool) -> None:
    """See `_help`."""
    from tlaam.data.download.data_sets import download as get

    try:
        home = get(
            name,
            folder,
            archives=archives,
            unverified=unverified,
            progress=partial(progress_bar, unit="B"),
            say=click.echo,
        )
    except KeyboardInterrupt:
        click.echo("tlaam: interrupted; what was downloaded is kept, and the same command continues.", err=True)
        raise click.exceptions.Exit(130) from None
    click.echo(f"{DATA_SETS[name].title}: {home}")
    click.echo(f"Look at it with: tlaam check {shlex.quote(str(home))}")
