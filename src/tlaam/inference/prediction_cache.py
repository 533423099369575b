"""Predictions for a data set's samples, each computed once and shared by all outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tlaam.data.sample import Sample
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.utils.work_sharing import Share, gathered


class PredictionCache:
    """An engine's predictions by sample.

    If `torch.distributed` is set up, each process answers for its share of the images, and all processes get all
    answers.

    Args:
        engine: computes the answers; it is not asked again for samples that it has answered for.
        on_prediction: called with each sample and its prediction when it is made, in this process only.
    """

    def __init__(self, engine: Engine, on_prediction: Callable[[Sample, Prediction], None] | None = None) -> None:
        self.engine, self._on_prediction = engine, on_prediction
        self._found: dict[tuple[str, str], Prediction] = {}

    def of(self, samples: Sequence[Sample], progress: Callable[[int], None] = lambda done: None) -> list[Prediction]:
        """Return one prediction per sample, in the order of the samples.

        Args:
            samples: the samples, the same on all processes.
            progress: called with the number of samples that have been answered for, as far as this process knows.
        """
        missing = [sample for sample in dict.fromkeys(samples) if _key(sample) not in self._found]
        share, before = Share.of_process_group(), len(samples) - len(missing)
        mine: list[Prediction] = []
        of_this_process = share.of(missing)
        for sample, prediction in zip(of_this_process, self.engine.predict(of_this_process), strict=True):
            if self._on_prediction is not None:
                self._on_prediction(sample, prediction)
            mine.append(replace(prediction, source=sample))  # releases an image that was kept
            progress(min(before + len(mine) * share.world_size, len(samples)))
        if missing:  # the same on all processes
            self._found.update(zip(map(_key, missing), gathered(mine, share, len(missing)), strict=True))
        return [self.engine.with_verdict(self._found[_key(sample)]) for sample in samples]


def _key(sample: Sample) -> tuple[str, str]:
    return sample.name, sample.file
