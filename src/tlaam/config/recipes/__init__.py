"""Recipes: the settings for one data set, backbone and system, each in a YAML file beside this one.

`tlaam.config.presets.preset` reads them by name.
"""

from __future__ import annotations

from importlib.resources import files

_SUFFIX = ".yaml"


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def recipe_text(name: str) -> str:
    """Return the YAML text of a recipe, given one of `recipe_names`."""
    return (files(__name__) / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def recipe_title(name: str) -> str:
    """Return a one-line description of a recipe: its first comment."""
    return recipe_text(name).partition("\n")[0].removeprefix("#").strip()
