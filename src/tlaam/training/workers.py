"""Choose the number of loader processes: enough to keep up with the training steps, found by measuring both."""

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
"""Safety factor: images differ, and after a pause the loaders have to catch up."""
_LOADED, _UNMEASURED = 12, 8
_ALONE = 4  # images of a trial step on a CPU, where a whole batch takes seconds


def needed_workers(fabric: Fabric, model: Architecture, config: Config, classes: int, images: TrainingImages) -> int:
    """Return how many loader processes each device needs, the same on all devices.

    It compares the training time per image with the time that this process takes to load one. At least one process
    loads images while the device computes, and at most as many as there are processor cores besides those that compute.

    Args:
        fabric: launched.
        model: the network; it is left unchanged.
        config: resolved settings, except for the number of workers.
        classes: C.
        images: the images to load; some of them are loaded for the measurement.

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
    """Return the number of loader processes for a network that only predicts, so that no step can be measured."""
    return max(1, min(_UNMEASURED, _cores() - 1))


def workers_for(loading: float, training: float, *, cores: int) -> int:
    """Return how many processes keep up, given the seconds that loading and training take per image.

    Args:
        loading: seconds to load an image in one process.
        training: seconds to train on an image on the device that they load for.
        cores: number of processor cores available for that device.
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
