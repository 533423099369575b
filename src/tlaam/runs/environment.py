"""On what a run computes and figures are measured: hardware and versions."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tlaam._version import __version__

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


def environment() -> dict[str, Any]:
    """Return processor, GPU (None without one), PyTorch's threads, and the versions of what computes."""
    import torch

    return {
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def _processor() -> str:
    """Return the processor's model, as far as the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), platform.processor() or platform.machine())
