"""Command-line options that several commands share."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tlaam.errors import ConfigError, did_you_mean
from tlaam.hub.names import is_hub_name
from tlaam.utils.yaml_file import read_yaml

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class _Model(click.Path):
    """A path, or the name of a model on the hub. The name stays text: a path would lose one of its slashes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_hub_name(value) else super().convert(value, param, ctx)


MODEL = _Model(path_type=Path)


def precision_option(command: Command) -> Command:
    """Give a command ``--precision``; None means what suits the machine."""
    return click.option(
        "--precision",
        type=click.Choice(["auto", "32-true", "bf16-mixed"]),
        default="auto",
        show_default=True,
        callback=lambda _context, _option, value: None if value == "auto" else value,
        help="Arithmetic precision; auto is bf16-mixed if the device has instructions for it.",
    )(command)


def moved_option(command: Command) -> Command:
    """Give a command ``--data PLACE``, as its argument ``moved``."""
    return click.option(
        "--data", "moved", metavar="PLACE",
        help="Where the data that RUN was trained on is now; any other data set is refused.",
    )(command)  # fmt: skip


def config_option(command: Command) -> Command:
    """Give a command ``--config FILE``: a YAML file of its own options, which command-line options override."""
    return click.option(
        "--config", type=PATH, is_eager=True, expose_value=False, callback=_take_defaults,
        help="YAML file of these options; the command line overrides it.",
    )(command)  # fmt: skip


def _take_defaults(context: click.Context, _option: click.Parameter, file: Path | None) -> None:
    if file is None:
        return
    names = {
        flag.lstrip("-").replace("-", "_"): option.name
        for option in context.command.params
        if isinstance(option, click.Option) and option.expose_value and option.name
        for flag in option.opts
    }
    defaults = {}
    for name, value in read_yaml(file).items():
        if name not in names:
            raise ConfigError(f"{file}: there is no option '{name}'.{did_you_mean(str(name), names)}")
        defaults[names[name]] = value
    context.default_map = defaults


class JsonOption(click.Option):
    """``--json`` alone prints to standard output; ``--json FILE.json`` writes the file.

    Only a value that ends in .json or .jsonl (or is ``-``) counts as the file, so that an image after ``--json`` is
    never mistaken for it and overwritten.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"is_flag": False, "flag_value": "-", "metavar": "[FILE.json]", **kwargs})


class JsonCommand(click.Command):
    """A command with a `JsonOption`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for place, argument in enumerate(args):
            following = args[place + 1] if place + 1 < len(args) else ""
            if argument == "--json" and not (following == "-" or following.lower().endswith((".json", ".jsonl"))):
                stands_for_itself = following.startswith("-") or glob.has_magic(following) or is_hub_name(following)
                if following and not stands_for_itself and not os.path.lexists(following):
                    raise click.UsageError(
                        f"--json takes a FILE that ends in .json or .jsonl; '{following}' does not, and is not there."
                    )
                args = [*args[:place], "--json=-", *args[place + 1 :]]
                break
        return super().parse_args(ctx, args)
