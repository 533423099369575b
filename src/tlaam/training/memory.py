"""Peak memory of this process, and the memory that a training step keeps for its backward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor


@contextmanager
def kept_for_backward() -> Iterator[dict[int, int]]:
    """Yield a dictionary that collects the bytes of each storage that autograd keeps for backward, by its address."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def peak_memory(device: torch.device) -> int | None:
    """Return the peak memory in bytes: the GPU's, or this process's if there is no GPU.

    None if the system does not report it (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    table = Path("/proc/self/status")
    if table.exists():  # unlike getrusage, it does not start at the parent process's peak
        for line in table.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
