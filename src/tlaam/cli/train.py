"""``tlaam train``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tlaam.cli.options import PATH
from tlaam.cli.settings import settings_from, settings_options
from tlaam.config.recipes import recipe_names, recipe_title
from tlaam.config.sections import MACHINE_OPTIONS


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
    "--index/--no-index", " /--no-gallery", "index", default=True,
    help="Write the reference index RUN/gallery.npz at the end: look-alikes, out-of-distribution images. [yes]",
)  # fmt: skip
@settings_options
@click.pass_context
def train(
    context: click.Context,
    /,
    data: str | None,
    out: Path | None,
    resumed: Path | None,
    report: bool,
    index: bool,
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
            and name not in ("resumed", "report", "index")
        ]
        for name in given:
            if name not in MACHINE_OPTIONS:
                raise click.UsageError(
                    f"--resume continues a run with the settings it has; --{name.replace('_', '-')} cannot be changed."
                )
        settings = settings_from(context)
        from tlaam.workflows.fit import fit_on

        changes = {name: getattr(settings.training, name) for name in given}
        fitted = fit_on(resumed, index=index, report=report, say=_said, **changes)
    else:
        settings = settings_from(context)
        from tlaam.workflows.fit import fit

        assert data is not None
        fitted = fit(data, out, settings, index=index, report=report, say=_said)
    if fitted.first:  # of several processes that trained together, one speaks
        quoted = shlex.quote(str(fitted.run))
        click.echo(
            f"Next: tlaam evaluate {quoted} {'DATA' if data is None else shlex.quote(data)}, "
            f"or tlaam predict {quoted} IMAGES --overlays FOLDER"
        )


def _said(line: str) -> None:
    click.echo(line, err=line.startswith("tlaam: "))
