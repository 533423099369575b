"""How much memory this process has needed, and what a training step keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor


@contextmanager
def kept_for_backward() -> Iterator[dict[int, int]]:
    """Yield what fills with the bytes of every storage, by its address, that autograd keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that were in use at once: of the GPU's memory, or of this process's where there is none.

    None where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    table = Path("/proc/self/status")
    if table.exists():  # unlike getrusage's, it does not begin with what the parent process had
        for line in table.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
