"""Choose the batch size: as many images as fit into the device's memory, found by trying."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.fabric import Fabric

from tlaam.config.schema import Config
from tlaam.models.architecture import Architecture
from tlaam.training.memory import kept_for_backward
from tlaam.training.trials import left_as_it_was, trial_step

LARGEST = 64
"""Larger batches do not train faster, and need other learning rates."""
_SHARE = 0.7
"""Share of the free memory to use; optimiser states, loaders and fragmentation need the rest."""


def largest_batch(fabric: Fabric, model: Architecture, config: Config, classes: int, images: int) -> int:
    """Return the largest power of two that fits, at most `LARGEST`; the same on all devices.

    All batches of a step together contain at most a quarter of an epoch's images.

    On a GPU, training steps on blank images are tried until one does not fit. On a CPU, a step that does not fit would
    end the process, so the memory of larger steps is extrapolated from the activations that small steps keep. The model
    is left unchanged.

    Args:
        fabric: launched.
        model: the network.
        config: resolved settings, except for the batch size.
        classes: C.
        images: number of training images.
    """
    limit = max(2, min(LARGEST, images // (4 * fabric.world_size * config.training.accumulate)))
    on_gpu = fabric.device.type == "cuda"
    with left_as_it_was(fabric, model, config):
        fits = (_tried if on_gpu else _reckoned)(fabric, model, config, classes, limit)
    return int(fabric.all_reduce(torch.tensor(fits, device=fabric.device), reduce_op="min"))


def _tried(fabric: Fabric, model: Architecture, config: Config, classes: int, limit: int) -> int:
    size = 2
    torch.cuda.reset_peak_memory_stats(fabric.device)
    room = _SHARE * torch.cuda.get_device_properties(fabric.device).total_memory
    while 2 * size <= limit:
        try:
            trial_step(fabric, model, config, classes, 2 * size)
        except torch.OutOfMemoryError:
            break
        if torch.cuda.max_memory_allocated(fabric.device) > room:
            break
        size *= 2
    return size


def _reckoned(fabric: Fabric, model: Architecture, config: Config, classes: int, limit: int) -> int:
    two, four = (_kept(fabric, model, config, classes, size) for size in (2, 4))
    for_each = max(four - two, 1) / 2
    room = _SHARE * _free_memory() / _on_this_machine(fabric) - max(two - 2 * for_each, 0)
    size = 2
    while 2 * size <= limit and 2 * size * for_each <= room:
        size *= 2
    return size


def _kept(fabric: Fabric, model: Architecture, config: Config, classes: int, size: int) -> int:
    """Return the bytes that a step keeps for its backward pass; recomputed activations are counted once."""
    with kept_for_backward() as sizes:
        trial_step(fabric, model, config, classes, size)
    return sum(sizes.values())


def _free_memory() -> int:
    """Return the bytes available for new allocations without swapping; 4 GiB if the system does not report it."""
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 4 << 30


def _on_this_machine(fabric: Fabric) -> int:
    """Return the maximum number of processes that share this machine's memory."""
    return fabric.world_size if fabric.device.type == "cpu" else 1
