"""YAML files of options, as names and values; the options themselves are defined in `tlaam.config.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tlaam.errors import ConfigError
from tlaam.utils.reading import read_text

_LARGEST = 1 << 20  # maximum size of an options file in bytes
_MOST_VALUES = 100_000


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that contains one mapping; hyphens in option and section names become underscores.

    Raises:
        ConfigError: the file cannot be read or holds anything else.
    """
    try:
        text = read_text(path, _LARGEST)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return yaml_mapping(text, str(path))


def yaml_mapping(text: str, source: str) -> dict[str, Any]:
    """Return the mapping in a YAML text, like `read_yaml`; `source` names the text in errors.

    Raises:
        ConfigError: the text contains anything else.
    """
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deeply.") from error
    except Exception as error:  # values that only look like a date or number raise almost any kind of error
        raise ConfigError(f"{source} holds a value that cannot be: {' '.join(str(error).split())[:200]}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source} holds a {type(loaded).__name__}; it must hold options, one 'name: value' a line.")
    _require_few_values(loaded, source)
    return {
        name: underscored(value) if isinstance(value, dict) else value for name, value in underscored(loaded).items()
    }


def _require_few_values(loaded: Any, source: str) -> None:
    """Refuse expanding aliases: a few lines can stand for more values than fit in memory, or contain themselves."""
    pending, count = [loaded], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ConfigError(f"{source} stands for more than {_MOST_VALUES:,} values; write it without aliases.")
        if isinstance(value, dict):
            pending += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set)):
            pending += value


def underscored(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return options by their Python names, whether they are written with hyphens or underscores.

    Raises:
        ConfigError: an option is given twice.
    """
    named: dict[str, Any] = {}
    for spelt, value in values.items():
        name = str(spelt).replace("-", "_")
        if name in named:
            raise ConfigError(f"option '{name}' is given twice, with a hyphen and with an underscore.")
        named[name] = value
    return named
