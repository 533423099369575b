"""All settings of a run, validated; with the same names in YAML, on the command line and in Python.

`None` means "chosen for this data on this machine". `tlaam.config.defaults.resolve` replaces it by a value before a run
begins, so a run folder's ``config.yaml`` never holds a choice that another machine would make differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from tlaam.config.messages import one_line, shown
from tlaam.config.options import SECTIONS, section_of
from tlaam.config.presets import preset
from tlaam.config.registry import LOCALIZER_OPTIONS, find, takers
from tlaam.config.sections import ModelConfig, Section, TrainingConfig
from tlaam.errors import ConfigError
from tlaam.utils.yaml_file import read_yaml, underscored


class Config(Section):
    """The settings of a whole run: what is built and how it is trained."""

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Config:
        """Build from a flat mapping of option names, e.g. ``{"epochs": 12, "parts": "none"}``.

        Names may be spelt with hyphens, as on the command line.

        Raises:
            ConfigError: an option is unknown or given twice, or a value is impossible.

        Examples:
            >>> Config.from_flat({"epochs": 12, "parts": "none"}).training.epochs
            12
        """
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for name, value in underscored(values).items():
            nested[section_of(name)][name] = value
        return cls.from_nested(nested)

    @classmethod
    def from_nested(cls, values: Mapping[str, Any]) -> Config:
        """Build from ``{"model": {...}, "training": {...}}``; options may also be at the top level, without a section.

        Names may be spelt with hyphens, as on the command line. If ``preset`` names a preset or recipe, the other
        options override its settings.

        Raises:
            ConfigError: an option is unknown or given twice, a value is impossible, or there is no such preset.

        Examples:
            >>> Config.from_nested({"model": {"parts": "none"}, "epochs": 12}).model.parts
            'none'
        """
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        named = underscored(values)
        for option, value in _base(named).items():
            nested[section_of(option)][option] = value
        for name, value in named.items():
            if name in SECTIONS:
                if not isinstance(value, Mapping):
                    raise ConfigError(f"section '{name}' holds {shown(value)}; it must hold options, one a line.")
                value = underscored(value)
                for option in value:
                    if section_of(option) != name:
                        raise ConfigError(
                            f"option '{option}' stands in section '{name}' but belongs to '{section_of(option)}'."
                        )
                nested[name].update(value)
            else:
                nested[section_of(name)][name] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise ConfigError(one_line(error)) from error

    @classmethod
    def from_yaml(cls, path: Path) -> Config:
        """Read a YAML file of options.

        Raises:
            ConfigError: the file cannot be read, is not a YAML mapping, or contains an unknown option or impossible
                value; the message names the file.

        Examples:
            >>> _ = Path("birds.yaml").write_text("epochs: 12")
            >>> Config.from_yaml(Path("birds.yaml")).training.epochs
            12
        """
        values = read_yaml(path)
        with named_in_errors(path):
            return cls.from_nested(values)

    def to_nested(self) -> dict[str, dict[str, Any]]:
        """Return plain Python values by section, ready for YAML or JSON.

        Examples:
            >>> Config.from_flat({"epochs": 12}).to_nested()["training"].get("epochs")
            12
        """
        return self.model_dump(mode="json")

    def with_options(self, **values: Any) -> Config:
        """Return the same settings with some options replaced.

        Raises:
            ConfigError: an option is unknown or a value is impossible.

        Examples:
            >>> Config().with_options(epochs=3).training.epochs
            3
        """
        # Options left at their defaults stay unset: `model_fields_set` says which options were given.
        given = (section.model_dump(exclude_unset=True) for section in (self.model, self.training))
        flat = {name: value for options in given for name, value in options.items()} | values
        return Config.from_flat(flat)

    @model_validator(mode="after")
    def _check_sizes(self) -> Config:
        model = self.model
        crops = model.architecture != "tlaam" or model.localizer != "none" or model.parts != "none"
        if crops and model.image_size and model.source_size and model.source_size < model.image_size:
            raise ValueError(
                f"source_size {model.source_size} is smaller than image_size {model.image_size}; "
                "crops are cut from the source, so it must be at least as large"
            )
        if not model.part_windows or min(model.part_windows) <= 0:
            raise ValueError(f"part_windows {model.part_windows}: at least one share above 0 is needed")
        if model.norm_statistics == "pretrained" and model.pretrained == "none":
            raise ValueError("norm_statistics=pretrained needs pretrained weights; pretrained is none")
        if model.architecture != "tlaam":
            for name in ("localizer", "parts", "attention"):
                if (given := getattr(model, name)) not in (None, "none"):
                    raise ValueError(
                        f"{name}={given} goes with architecture=tlaam; with {model.architecture} it must be none "
                        f"(preset {model.architecture} says all three)"
                    )
        architecture = find("architecture", model.architecture)
        if architecture is not None and architecture.needs_raw_epochs and self.training.raw_epochs == 0:
            raise ValueError(
                f"raw_epochs is 0; {model.architecture} is shown its task in the first epochs and needs at least one"
            )
        if self.training.epochs == 0 and model.architecture != "tlaam":
            raise ValueError(
                f"epochs is 0, which is a probe on frozen features, and {model.architecture} has none; "
                "architecture=tlaam has"
            )
        if self.training.probe_first and model.architecture != "tlaam":
            raise ValueError(f"probe_first goes with architecture=tlaam; {model.architecture} begins with none")
        if self.training.epochs == 0 and self.training.probe_first is False:
            raise ValueError("epochs is 0, which is a probe alone, and probe_first is false; leave one of them out")
        if self.training.paste and model.localizer not in (None, "foreground"):
            raise ValueError(
                f"paste goes with localizer=foreground, whose pseudo masks it cuts by, not {model.localizer}"
            )
        if (fault := _option_without_use(model)) is not None:
            raise ValueError(fault)
        return self


def _option_without_use(model: ModelConfig) -> str | None:
    """Return an error message if options do not fit the chosen localiser or belong to another one; else None."""
    if model.localizer in (None, "none") or (localizer := find("localizer", model.localizer)) is None:
        return None
    for name in LOCALIZER_OPTIONS:
        if name not in localizer.options and getattr(model, name) != ModelConfig.model_fields[name].default:
            return f"{name} goes with localizer={' or '.join(takers(name))}; the localiser is {model.localizer}"
    if model.threshold is not None and model.threshold >= 1 and localizer.threshold_is_share:
        return f"threshold {model.threshold:g} must be below 1 with localizer={model.localizer}"
    if model.threshold_rule == "max" and (model.threshold is None or model.threshold >= 1):
        return "threshold_rule=max needs a threshold below 1, a fraction of the maximum, which nothing exceeds"
    return None


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Make errors in settings name the file that the settings come from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that `Config.from_nested` accepts as a flat mapping, without sections and presets.

    Raises:
        ConfigError: an option is unknown or a value is impossible.
    """
    Config.from_nested(values)  # reports errors while the sections are still known
    named = underscored(values)
    flat = _base(named)
    for name, value in named.items():
        flat |= underscored(value) if name in SECTIONS else {name: value}
    return flat


def _base(named: dict[str, Any]) -> dict[str, Any]:
    """Remove the preset from the settings that name it, and return its options."""
    if (name := named.pop("preset", None)) is None:
        return {}
    if not isinstance(name, str):
        raise ConfigError(f"preset is {shown(name)}; it must be the name of one.")
    return preset(name)
