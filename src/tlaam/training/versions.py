"""The versions of what decides how a run computes."""

from __future__ import annotations

import platform
from importlib import metadata

from tlaam import __version__

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Return the versions of tlaam, Python and the packages that compute, by name; "not installed" where one is not."""
    found = {"tlaam": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
