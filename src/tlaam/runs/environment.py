"""The environment of runs and measurements: hardware and versions."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from tlaam._version import __version__

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Return the versions of tlaam, Python and the main packages by name; "not installed" for missing packages."""
    found = {"tlaam": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str | None:
    """Return the commit of the checkout that this package runs from, with ``+`` if its source was changed since.

    None if it does not run from a checkout, or git is not available.
    """
    source = Path(__file__).parents[2]  # src/
    if not (source.parent / ".git").exists():
        return None
    try:
        revision = _git(source, "rev-parse", "--short=7", "HEAD")
        return revision + ("+" if _git(source, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    asked = ["git", "-C", str(folder), *arguments]
    return subprocess.run(asked, capture_output=True, check=True, text=True, timeout=30).stdout.strip()


def environment() -> dict[str, Any]:
    """Return the commit (or None), processor, GPU (None without one), PyTorch's threads, and versions."""
    import torch

    return {
        "commit": commit(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def _processor() -> str:
    """Return the processor's model, as far as the system reports it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), platform.processor() or platform.machine())
