"""Options by name: which exist, which section they belong to, and which values they can have."""

from __future__ import annotations

from typing import Any, get_args

from tlaam.config.registry import KINDS, names
from tlaam.config.sections import NO_MODULE, ModelConfig, Section, TrainingConfig
from tlaam.errors import ConfigError, did_you_mean

SECTIONS: dict[str, type[Section]] = {"model": ModelConfig, "training": TrainingConfig}


def option_names() -> tuple[str, ...]:
    """Return the names of all options, in the order of the sections."""
    return tuple(name for section in SECTIONS.values() for name in section.model_fields)


def section_of(option: str) -> str:
    """Return the section that an option belongs to.

    Raises:
        ConfigError: there is no such option.
    """
    for name, section in SECTIONS.items():
        if option in section.model_fields:
            return name
    hint = did_you_mean(option, option_names()) or " `tlaam train --help` lists all there are."
    raise ConfigError(f"there is no option '{option}'.{hint}")


def choices(option: str) -> tuple[str, ...]:
    """Return the names that an option can have, including those from installed packages.

    The result is empty if the option's value is not one of several names.

    Raises:
        ConfigError: there is no such option, or an installed package cannot be loaded.
    """
    for kind in KINDS:
        if option == kind:
            return (*names(kind), *NO_MODULE[kind])
    annotation = SECTIONS[section_of(option)].model_fields[option].annotation
    return tuple(choice for choice in _flatten_choices(annotation) if isinstance(choice, str))


def _flatten_choices(annotation: Any) -> list[Any]:
    choices: list[Any] = []
    for argument in get_args(annotation):
        choices += _flatten_choices(argument) if get_args(argument) else [argument]
    return choices
