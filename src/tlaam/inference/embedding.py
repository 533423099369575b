"""What images look like to a model, as vectors: the embeddings that look-alikes and strangers are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tlaam.errors import ModelError
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction


def embedded(engine: Engine, images: Iterable[object]) -> Iterator[Prediction]:
    """Yield a prediction an image, in order, each with its embedding or with the error that it cannot be read.

    Args:
        engine: as it was afterwards.
        images: as of `Engine.predict`; of any length.

    Raises:
        ModelError: the model gives no embeddings.
        InputError: an image in memory is none.
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
