"""Print constraints that pin each requirement of the product to the oldest release it admits (`make test-oldest`)."""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = {"dev", "docs", "stress", "test", "wandb", "mlflow"}
"""Extras that are not of the product, or whose packages the tests do without."""


def oldest() -> list[str]:
    """Return ``name==version`` of each requirement of the product."""
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for name in extras if name not in TOOLS for text in extras[name])]
    found = set()
    for text in texts:
        requirement = Requirement(text)
        least = [one.version for one in requirement.specifier if one.operator == ">="]
        if least:
            found.add(f"{requirement.name}=={least[0]}")
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(oldest()))
