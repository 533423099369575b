"""Embeddings of images: the vectors by which look-alikes and out-of-distribution images are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tlaam.errors import ModelError
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction


def embedded(engine: Engine, images: Iterable[object]) -> Iterator[Prediction]:
    """Yield one prediction per image, in order, each with its embedding or with the error why it cannot be read.

    Args:
        engine: computes the embeddings; its settings are restored afterwards.
        images: see `Engine.predict`; of any length.

    Raises:
        ModelError: the model gives no embeddings.
        InputError: an object in memory is not an image.
    """
    before, engine.embeddings = engine.embeddings, True
    try:
        for prediction in engine.predict(images):
            if prediction.error is None and prediction.embedding is None:
                named = "this model" if engine.origin is None else str(engine.origin)
                raise ModelError(
                    f"{named} gives no embeddings: it was exported before there were any. Export it again."
                )
            yield prediction
    finally:
        engine.embeddings = before
