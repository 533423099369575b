"""Named settings to start from: presets, and the recipes stored as files in `tlaam.config.recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlaam.config.options import SECTIONS
from tlaam.config.recipes import recipe_names, recipe_text
from tlaam.config.sections import TrainingConfig
from tlaam.errors import ConfigError, did_you_mean
from tlaam.utils.yaml_file import underscored, yaml_mapping

_MMAL_RECIPE: dict[str, Any] = {
    "epochs": 120,
    "batch_size": 6,
    "optimizer": "sgd",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (60, 100),
    "warmup_epochs": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's setting (docs/recipes.md): the method exactly as stated, with the baseline's recipe.
    "paper": {
        "backbone": "resnet50",
        "image_size": 448,
        "source_size": 448,
        "localizer": "oaam",
        "fusion": "mean",
        "probe_first": False,
        "box_margin": 0.0,
        "part_windows": (96 / 448, 160 / 448, 224 / 448),
        "part_distinct": False,
        "norm_statistics": "shared",
        "attention_gate": "sigmoid",
        **_MMAL_RECIPE,
    },
    # The paper's baseline (Zhang et al. 2021, arXiv 2003.09150).
    "mmal": {
        "backbone": "resnet50",
        "image_size": 448,
        "source_size": 448,
        "localizer": "aolm",
        "fusion": "mean",
        "probe_first": False,
        "box_margin": 0.0,
        "norm_statistics": "shared",
        "parts": "appm",
        "attention": "none",
        **_MMAL_RECIPE,
    },
    # A modern backbone with the default modules; our own choice, not measured.
    "convnext": {
        "backbone": "convnext_tiny.fb_in22k",
        "image_size": 448,
        "epochs": 30,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
    },
    "plain": {"localizer": "none", "parts": "none", "attention": "none"},
    **{
        name: {"architecture": name, "localizer": "none", "parts": "none", "attention": "none"}
        for name in ("racnn", "macnn", "tasn")
    },
}
"""Named settings that ``--preset`` starts from, like those in `tlaam.config.recipes`; explicit options override
them."""


def preset(name: str) -> dict[str, Any]:
    """Return the options of a preset or recipe, by option name.

    Raises:
        ConfigError: there is no such preset or recipe.
    """
    if name in PRESETS:
        return dict(PRESETS[name])
    recipes = recipe_names()
    if name in recipes:
        return _flat(yaml_mapping(recipe_text(name), f"the recipe {name}"))
    raise ConfigError(
        f"there is no preset '{name}'.{did_you_mean(name, [*PRESETS, *recipes])} Presets are {', '.join(PRESETS)}; "
        f"recipes are {', '.join(recipes)}."
    )


def shared_settings(name: str) -> dict[str, Any]:
    """Return a preset's or recipe's settings of weights, sizes and training, which all compared systems share.

    Raises:
        ConfigError: there is no such preset or recipe.
    """
    shared = ("backbone", "pretrained", "image_size", "source_size", *TrainingConfig.model_fields)
    return {option: value for option, value in preset(name).items() if option in shared}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without their sections, on top of those of the preset that they name."""
    named = underscored(values)
    base = named.pop("preset", None)
    flat = preset(base) if isinstance(base, str) else {}
    for name, value in named.items():
        flat |= underscored(value) if name in SECTIONS else {name: value}
    return flat
