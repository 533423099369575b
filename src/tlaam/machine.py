"""On what figures were measured."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from tlaam.training.versions import versions


def machine() -> dict[str, Any]:
    """Return processor, GPU (None without one), PyTorch's threads, and the versions of what computes."""
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
