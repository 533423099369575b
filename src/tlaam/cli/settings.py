"""Command-line options for training, made from the settings themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import click
from click.core import ParameterSource

from tlaam.cli.options import PATH, Command
from tlaam.config.options import SECTIONS, choices, section_of
from tlaam.config.presets import PRESETS, preset
from tlaam.config.schema import Config, flattened, named_in_errors
from tlaam.errors import ConfigError
from tlaam.utils.yaml_file import read_yaml


def settings_options(command: Command) -> Command:
    """Give a command one option for each setting of `Config`, and ``--config`` and ``--preset``."""
    options: list[Callable[[Command], Command]] = [
        click.option("--config", "config_file", type=PATH, help="YAML file of options; the command line overrides it."),
        click.option(
            "--preset", "preset_name", metavar="NAME", default="default", show_default=True,
            help=f"Settings to start from: {', '.join(PRESETS)}; or a recipe listed below.",
        ),
    ]  # fmt: skip
    for section in SECTIONS.values():
        for name, field in section.model_fields.items():
            flag = "--" + name.replace("_", "-")
            about = f"{(field.description or '').strip()} [{_text(field.default)}]"
            if field.annotation is bool:
                options.append(click.option(f"{flag}/--no-{flag[2:]}", name, default=field.default, help=about))
            else:
                options.append(click.option(flag, name, cls=SettingOption, help=about))
    for option in reversed(options):
        command = option(command)
    return command


def settings_from(context: click.Context) -> Config:
    """Return the settings of a call: those of the preset, overridden by the file, overridden by the given options.

    Raises:
        ConfigError: an option is unknown or a value impossible, or both the call and the file name a preset.
    """
    values = preset(context.params["preset_name"])
    if (file := context.params["config_file"]) is not None:
        given = read_yaml(file)
        if "preset" in given and context.get_parameter_source("preset_name") is ParameterSource.COMMANDLINE:
            raise ConfigError(f"--preset {context.params['preset_name']} and {file} both name a preset; leave one out.")
        with named_in_errors(file):
            values |= flattened(given)
    for section in SECTIONS.values():
        for name in section.model_fields:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                values[name] = setting_of(name, context.params[name])
    return Config.from_flat(values)


class SettingOption(click.Option):
    """An option of `Config`. Its values are looked up when help is printed, since installed packages may add names."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.metavar = _metavar(self.name or "")
        return super().get_help_record(ctx)


def flat_settings(file: Path) -> dict[str, Any]:
    """Return the settings of a YAML file by name, without their sections.

    Raises:
        ConfigError: the file cannot be read, or an option is unknown or a value impossible.
    """
    given = read_yaml(file)
    with named_in_errors(file):
        return flattened(given)


def setting_of(name: str, value: Any) -> Any:
    """Return the value of a setting's text: ``auto`` is None, ``a,b`` a list; `Config` converts the rest.

    Raises:
        ConfigError: there is no such setting, or its text is not a list of numbers although it must be one.
    """
    kinds = _kinds(SECTIONS[section_of(name)].model_fields[name].annotation)
    if not isinstance(value, str):
        return value
    if NoneType in kinds and (value.lower() == "auto" or (value.lower() == "none" and "none" not in choices(name))):
        return None
    if any(get_origin(kind) is tuple for kind in kinds):
        try:
            return [float(cell) if "." in cell else int(cell) for cell in value.split(",")]
        except ValueError:
            raise ConfigError(f"'{value}' is no list of numbers; write them with commas, e.g. 0.2,0.5.") from None
    return value


def _kinds(annotation: Any) -> Sequence[Any]:
    """Return the alternatives of a type: both of ``tuple[int, ...] | None``."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    if hasattr(annotation, "__metadata__"):
        return _kinds(get_args(annotation)[0])
    return [annotation]


def _metavar(name: str) -> str:
    if names := choices(name):
        return "|".join(names)
    kinds = [kind for kind in _kinds(SECTIONS[section_of(name)].model_fields[name].annotation) if kind is not NoneType]
    if any(get_origin(kind) is tuple for kind in kinds):
        return "LIST"
    return {int: "N", float: "X", str: "TEXT"}.get(kinds[0], "VALUE")


def _text(default: Any) -> str:
    if default is None:
        return "auto"
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(f"{item:.4g}" for item in default)
    return str(default)
