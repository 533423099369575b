"""Measuring on several devices: each answers for its share of the images, and all learn all answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import distributed

from tlaam.data.sample import Sample
from tlaam.prediction import Prediction, Predictor


def predicted_together(
    predictor: Predictor, samples: Sequence[Sample], progress: Callable[[int], None]
) -> list[Prediction]:
    """Return a prediction a sample, in their order, each made once, on every device that takes part.

    Args:
        predictor: on this process's device.
        samples: the same on all.
        progress: told how many images of all have been answered for, as far as this process knows.
    """
    together = distributed.is_available() and distributed.is_initialized()
    rank, world_size = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    mine: list[Prediction] = []
    for prediction in predictor.predict(samples[rank::world_size]):
        mine.append(prediction)
        progress(min(len(mine) * world_size, len(samples)))
    if world_size == 1:
        return mine
    shares: list[list[Prediction]] = [[] for _ in range(world_size)]
    distributed.all_gather_object(shares, mine)
    return [shares[place % world_size][place // world_size] for place in range(len(samples))]
