"""``tlaam clean``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlaam.cli.options import PATH, JsonCommand, JsonOption, config_option
from tlaam.cli.output import say_notes, write_json
from tlaam.cli.settings import setting_of
from tlaam.errors import ConfigError
from tlaam.utils.progress import waiting
from tlaam.utils.text import printable


@click.command(cls=JsonCommand)
@click.argument("data")
@click.option("--out", type=PATH, metavar="FOLDER", help="Folder for suspects.csv and page.html.")
@click.option("--apply", "decisions", type=PATH, metavar="FILE", help="Decisions downloaded from the page.")
@click.option("--manifest", type=PATH, metavar="FILE", help="With --apply: manifest to write.")
@click.option("--background/--no-background", default=True, help="Also classify images with the objects hidden. [yes]")
@click.option(
    "--set", "options", multiple=True, metavar="NAME=VALUE",
    help="Setting of the probe, named as in `tlaam train`; may be repeated.",
)  # fmt: skip
@click.option("--json", "json_file", cls=JsonOption, help="Write the suspects as JSON to FILE.json or standard output.")
@config_option
def clean(
    data: str,
    out: Path | None,
    decisions: Path | None,
    manifest: Path | None,
    background: bool,
    options: tuple[str, ...],
    json_file: str | None,
) -> None:
    """List the suspect images of DATA, worst first. Changes nothing.

    Suspects are probably wrong labels, copies and near copies, leaks between splits, images unlike all others, and poor
    pictures.

    FOLDER/page.html shows each suspect beside its look-alikes, takes decisions by keyboard, and downloads
    decisions.csv. `tlaam clean DATA --apply decisions.csv --manifest cleaned.csv` turns them into a manifest to train
    on.
    """
    if (decisions is None) != (manifest is None):
        raise click.UsageError("--apply FILE and --manifest FILE go together.")
    if (out is None) == (decisions is None):
        raise click.UsageError("give either --out FOLDER, to look for suspects, or --apply FILE with --manifest FILE.")
    if decisions is not None and manifest is not None:
        _apply(data, decisions, manifest)
        return
    with waiting("loading PyTorch"):
        from tlaam.cleaning.clean import clean as clean_data
    from tlaam.data.open import open_dataset

    settings: dict[str, Any] = dict(_named(option) for option in options)
    images = open_dataset(data)
    say_notes(images.notes)
    assert out is not None
    report = clean_data(images, out, background=background, **settings)
    if json_file != "-":
        click.echo(report.table())
        click.echo(f"Decide on them: {printable(str(report.page))}")
    if json_file is not None:
        write_json(json_file, report.to_dict())


def _apply(data: str, decisions: Path, manifest: Path) -> None:
    from tlaam.cleaning.clean import apply_decisions

    done = apply_decisions(data, decisions, manifest)
    result = done.result
    say_notes(done.notes)
    gone = f", no image is left of {', '.join(map(repr, result.gone))}" if result.gone else ""
    click.echo(
        printable(
            f"{manifest}: {len(result.samples):,} images, {result.relabelled:,} with another label, "
            f"{result.removed:,} removed{gone}"
        )
    )
    click.echo(f"Next: tlaam train {printable(str(manifest))} --out RUN")


def _named(option: str) -> tuple[str, object]:
    name, between, value = option.partition("=")
    if not between:
        raise ConfigError(f"--set takes NAME=VALUE; received '{option}'.")
    return name.strip(), setting_of(name.strip(), value)
