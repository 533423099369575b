"""How many processes load images: enough to keep up with the training steps, found by measuring both."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable

import torch
from lightning.fabric import Fabric

from tlaam.config.schema import Config
from tlaam.models.architecture import Architecture
from tlaam.training.dataset import TrainingImages
from tlaam.training.sharding import STRATEGY
from tlaam.training.trials import left_as_it_was, trial_step

_MARGIN = 1.5
"""Images differ, and what is loaded ahead has to be caught up with after a pause."""
_LOADED, _UNMEASURED = 12, 8
_ALONE = 4  # images of a trial step on a CPU, where a whole batch takes seconds


def needed_workers(fabric: Fabric, model: Architecture, config: Config, classes: int, images: TrainingImages) -> int:
    """Return how many loader processes each device needs, the same on all devices.

    Training takes an image's share of a step; a loader process takes what it takes here to load one. At least one
    process loads while the device computes, and no more than there are processor cores beside those that compute.

    Args:
        fabric: launched.
        model: the network; it stays as it was.
        config: resolved settings, but for the number of workers.
        classes: C.
        images: what is loaded; some are, for the measurement.

    Raises:
        DataError: an image cannot be read.
    """
    cores: int = _cores() // fabric.world_size
    if config.training.strategy == STRATEGY:  # a step of the whole network may not fit into a device
        return max(1, min(_UNMEASURED, cores - 1))
    loading = _seconds_to_load(images)
    training = _seconds_to_train(fabric, model, config, classes)
    count = workers_for(loading, training, cores=cores)
    return int(fabric.all_reduce(torch.tensor(count, device=fabric.device), reduce_op="max"))


def spare_cores() -> int:
    """Return how many processes load images for a network that only answers, where no step can be measured."""
    return max(1, min(_UNMEASURED, _cores() - 1))


def workers_for(loading: float, training: float, *, cores: int) -> int:
    """Return how many processes keep up, given the seconds that loading and training take of one image.

    Args:
        loading: in one process.
        training: on the device that they load for.
        cores: processor cores that there are for that device.
    """
    enough = math.ceil(_MARGIN * loading / training)
    return max(1, min(enough, cores - 1))


def _seconds_to_load(images: TrainingImages) -> float:
    count = len(images)
    places = [count * number // _LOADED for number in range(_LOADED)] if count >= _LOADED else list(range(count))
    return statistics.median(_timed(lambda place=place: images[0, place]) for place in [places[0], *places])  # type: ignore[misc]


def _seconds_to_train(fabric: Fabric, model: Architecture, config: Config, classes: int) -> float:
    on_gpu, whole = fabric.device.type == "cuda", config.training.batch_size or 1
    size = whole if on_gpu else min(whole, _ALONE)

    def step() -> None:
        trial_step(fabric, model, config, classes, size)
        if on_gpu:
            torch.cuda.synchronize(fabric.device)
        elif fabric.device.type == "mps":
            torch.mps.synchronize()

    with left_as_it_was(fabric, model, config):
        times = [_timed(step) for _ in range(5 if on_gpu else 2)]
    return min(times[1:]) / size  # the first warms up


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
