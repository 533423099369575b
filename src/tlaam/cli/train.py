"""``tlaam train``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tlaam.cli.options import PATH
from tlaam.cli.output import progress_bar
from tlaam.cli.settings import settings_from, settings_options
from tlaam.config import MACHINE_OPTIONS
from tlaam.errors import TlaamError
from tlaam.recipes import recipe_names, recipe_title


def _recipes() -> str:
    names = recipe_names()
    width = max(map(len, names))
    lines = (f"  {name.ljust(width)}  {recipe_title(name)}" for name in names)
    return "\b\nRecipes:\n" + "\n".join(lines)


@click.command(epilog=_recipes())
@click.argument("data", required=False)
@click.option("--out", type=PATH, help="Folder of the new run. [runs/<data>-<number>]")
@click.option("--resume", "resumed", type=PATH, metavar="RUN", help="Continue this run, with its settings.")
@click.option("--report/--no-report", default=True, help="Write RUN/report.html at the end. [yes]")
@click.option(
    "--gallery/--no-gallery", default=True, help="Write RUN/gallery.npz at the end: look-alikes, strangers. [yes]"
)
@settings_options
@click.pass_context
def train(
    context: click.Context,
    /,
    data: str | None,
    out: Path | None,
    resumed: Path | None,
    report: bool,
    gallery: bool,
    **_settings: object,
) -> None:
    """Train on DATA: class folders (flat, or train/ val/ test/), a CSV manifest, the official folder of a public data
    set such as CUB-200-2011, or 'synthetic'.

    With nothing else it does what suits that data on this machine. Begin with `tlaam check DATA`.
    """
    if (data is None) == (resumed is None):
        raise click.UsageError("give either DATA, to begin a run, or --resume RUN, to continue one.")
    if resumed is not None:
        given = [
            name
            for name in context.params
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            and name not in ("resumed", "report", "gallery")
        ]
        for name in given:
            if name not in MACHINE_OPTIONS:
                raise click.UsageError(
                    f"--resume continues a run with the settings it has; --{name.replace('_', '-')} cannot be changed."
                )
        settings = settings_from(context)
        from tlaam.training.run import resume

        folder = resume(resumed, **{name: getattr(settings.training, name) for name in given})
    else:
        settings = settings_from(context)
        from tlaam.training.run import train as begin

        assert data is not None
        folder = begin(data, out, settings)
    from lightning.fabric.utilities.rank_zero import rank_zero_only
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()  # what follows is the first process's alone, the others end here
    if rank_zero_only.rank == 0:  # of several processes that trained together, one speaks
        quoted = shlex.quote(str(folder))
        click.echo(f"Trained model: {folder}")
        if gallery:
            _write_gallery(folder)
        if report:
            _write_report(folder)
        click.echo(
            f"Next: tlaam evaluate {quoted} {'DATA' if data is None else shlex.quote(data)}, "
            f"or tlaam predict {quoted} IMAGES --overlays FOLDER"
        )


def _write_gallery(folder: Path) -> None:
    """Write the run's gallery; what hinders it is said, and leaves the trained model what it is."""
    from tlaam.training.gallery import write_gallery

    try:
        with progress_bar("looking at training images") as progress:
            click.echo(f"Gallery: {write_gallery(folder, progress=progress)}")
    except TlaamError as error:
        click.echo(f"tlaam: no gallery was written: {error} (tlaam gallery writes it later.)", err=True)


def _write_report(folder: Path) -> None:
    """Write the run's page; what hinders it is said, and leaves the trained model what it is."""
    from tlaam.run_page import write_run_page

    try:
        with progress_bar("measuring") as progress:
            click.echo(f"Page: {write_run_page(folder, progress=progress)}")
    except TlaamError as error:
        click.echo(f"tlaam: no page was written: {error} (tlaam report writes it later.)", err=True)
