"""YAML files of options: names and values, without a word on which there are (`tlaam.config`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tlaam.errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; hyphens in the names of options and sections become underscores.

    Raises:
        ConfigError: the file cannot be read or holds anything else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return yaml_mapping(text, str(path))


def yaml_mapping(text: str, source: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds, as `read_yaml` does; `source` is what errors call it.

    Raises:
        ConfigError: it holds anything else.
    """
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source} holds a {type(loaded).__name__}; it must hold options, one 'name: value' a line.")
    return {
        name: underscored(value) if isinstance(value, dict) else value for name, value in underscored(loaded).items()
    }


def underscored(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return options by their names in Python, whichever way they are spelt.

    Raises:
        ConfigError: one is given twice.
    """
    named: dict[str, Any] = {}
    for spelt, value in values.items():
        name = str(spelt).replace("-", "_")
        if name in named:
            raise ConfigError(f"option '{name}' is given twice, with a hyphen and with an underscore.")
        named[name] = value
    return named
