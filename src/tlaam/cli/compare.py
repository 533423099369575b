"""``tlaam compare``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tlaam.cli.options import PATH
from tlaam.cli.settings import flat_settings, setting_of
from tlaam.config.options import option_names
from tlaam.config.presets import shared_settings
from tlaam.errors import ConfigError


def _list(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from tlaam.comparison.systems import GROUPS, SYSTEMS
    from tlaam.config.registry import load_installed

    load_installed()
    width = max(map(len, [*SYSTEMS, *GROUPS]))
    click.echo("Systems:")
    for system in SYSTEMS.values():
        click.echo(f"  {system.name.ljust(width)}  {system.title}")
    click.echo("Groups:")
    for name, members in GROUPS.items():
        click.echo(f"  {name.ljust(width)}  {', '.join(members)}")
    context.exit()


class _Compare(click.Command):
    """Explains how to give a setting if it was given as an option of `tlaam train`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flag = error.option_name
            name = flag.lstrip("-").replace("-", "_")
            if name not in option_names():
                raise
            place = next(number for number, text in enumerate(given) if text.partition("=")[0] == flag)
            value = given[place].partition("=")[2] or "".join(given[place + 1 : place + 2])
            raise click.UsageError(
                f"there is no option {flag}. A setting of all systems is given as --set {name}={value}, one of a "
                "single system by --variant; what a system is made of is chosen by --systems."
            ) from error


@click.command(cls=_Compare)
@click.argument("given", nargs=-1, metavar="DATA | --models MODEL MODEL...")
@click.option(
    "--models",
    "of_models",
    is_flag=True,
    help="Compare trained models on the images of --on; train nothing. Each MODEL, given in place of DATA, is a run "
    "folder, an ONNX file or hf://owner/name. The others are compared with the first.",
)
@click.option("--on", "images", metavar="DATA", help="With --models: data set to compare the models on.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="With --models: images of that data set to use. [test, else val, else all]",
)
@click.option(
    "--out",
    type=PATH,
    help="Folder for the comparison. With --models, models.json and a page of the answers that changed are written "
    "into it. [runs/comparison; with --models: none]",
)
@click.option(
    "--systems",
    default="default",
    show_default=True,
    help="Systems and groups of systems, separated by commas; --list shows them all.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="'NAME=SYSTEM [OPTION=VALUE ...]'",
    help="Additional system: an existing one with its own settings, which override --set; may be repeated.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs per system, with different seeds."
)
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Setting for all systems, named as in `tlaam train`; may be repeated.",
)
@click.option("--config", "config_file", type=PATH, help="YAML file of settings for all systems; --set overrides it.")
@click.option(
    "--preset",
    "preset_name",
    metavar="NAME",
    default="default",
    show_default=True,
    help="Preset or recipe that gives all systems their backbone, weights, sizes and training settings; its modules "
    "are not used.",
)
@click.option(
    "--protocol",
    type=click.Choice(["validation", "last", "best-epoch"]),
    default="validation",
    show_default=True,
    help="Weights to measure: those of the best validation epoch, of the last epoch, or of the best test epoch "
    "(optimistic).",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="K",
    help="Measure every training image out of fold, by a run on the other folds, instead of the test split, which is "
    "then never opened. Folds are stratified and are the same for all systems and seeds.",
)
@click.option(
    "--group",
    metavar="REGEX",
    help="Regular expression to search in image paths. Images with the same match (its first capture group, or else "
    "the whole match) stay on the same side of every fold and split that tlaam cuts. Copies and images with the same "
    "value in a manifest's column `group` always do.",
)
@click.option("--first", help="System that the others are compared with. [tlaam, else the last one named]")
@click.option(
    "--list",
    "listed",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List all systems and groups of systems, and exit.",
)
@click.pass_context
def compare(
    context: click.Context,
    /,
    given: tuple[str, ...],
    of_models: bool,
    images: str | None,
    split: str | None,
    out: Path | None,
    systems: str,
    variants: tuple[str, ...],
    seeds: int,
    options: tuple[str, ...],
    config_file: Path | None,
    preset_name: str,
    protocol: str,
    folds: int | None,
    group: str | None,
    first: str | None,
) -> None:
    """Train systems on DATA under the same settings, measure each on the test split, and write tables and a page.

    Every comparison includes frozen probes, which are not trained. If it trains any system, it also includes the plain
    backbone with a larger input, at TL-AAM's cost. To resume a comparison that was stopped, give the same command
    again. To share out the runs, give it several times at once, for example once per GPU.

    `tlaam compare --models OLD NEW --on DATA` compares trained models: measures, differences with intervals, and the
    answers that became right or wrong.
    """
    if of_models:
        _require_of_models(context)
        _compare_models(given, images, split, out)
        return
    if images is not None or split is not None:
        raise click.UsageError("--on and --split go with --models.")
    if len(given) != 1:
        raise click.UsageError(
            f"systems are trained on one DATA; received {len(given)}. Trained models are compared by --models OLD NEW "
            "--on DATA."
        )
    from tlaam.comparison.run import compare as run
    from tlaam.comparison.systems import variant

    comparison = run(
        given[0],
        Path("runs/comparison") if out is None else out,
        systems=[
            *(name.strip() for name in systems.split(",") if name.strip()),
            *(variant(*_parsed_variant(text)) for text in variants),
        ],
        seeds=seeds,
        settings={
            **shared_settings(preset_name),
            **({} if config_file is None else flat_settings(config_file)),
            **_parsed(options),
        },
        protocol=protocol,  # type: ignore[arg-type]
        first=first,
        folds=folds,
        group=group,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo((comparison.folder / "table.md").read_text(encoding="utf-8"))
    click.echo(f"Page: {comparison.folder / 'index.html'}", err=True)


_OF_MODELS = ("given", "of_models", "images", "split", "out")


def _require_of_models(context: click.Context) -> None:
    """Refuse training options together with --models."""
    for option in context.command.params:
        name = option.name or ""
        if name not in _OF_MODELS and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--models trains nothing, and {option.opts[0]} is of training; leave it out.")


def _compare_models(models: Sequence[str], data: str | None, split: str | None, out: Path | None) -> None:
    if data is None or len(models) < 2:
        raise click.UsageError("--models takes two models or more, and --on the data: --models OLD NEW --on DATA.")
    from tlaam.comparison.models import compare_models
    from tlaam.comparison.models_page import require_own, write_model_comparison
    from tlaam.utils.progress import progress_bar

    if out is not None:
        require_own(out)
    with progress_bar("answering") as progress:
        comparison = compare_models(models, data, split=split, progress=progress)  # type: ignore[arg-type]
    click.echo(comparison.table())
    if out is not None:
        click.echo(f"Page: {write_model_comparison(out, comparison)}", err=True)


def _parsed_variant(text: str) -> tuple[str, str, dict[str, Any]]:
    name, equals, rest = text.partition("=")
    of, *options = shlex.split(rest) or [""]
    if not equals or not of or "=" in of:
        raise ConfigError(f"--variant takes NAME=SYSTEM and its options, OPTION=VALUE; received '{text}'.")
    return name.strip(), of, _parsed(options, "--variant")


def _parsed(options: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    found = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise ConfigError(f"{flag} takes NAME=VALUE; received '{option}'.")
        name = name.strip().replace("-", "_")
        if name == "preset":
            raise ConfigError(
                f"{flag} takes single settings, and preset is none. Its modules are a system's matter: choose one by "
                "--systems (see --list), or give them one by one by --variant. Its backbone, sizes and training come "
                f"for all systems by --preset {text}."
            )
        found[name] = setting_of(name, text)
    return found
