"""How to make an engine answer at certain ranks, with a certain promise and among certain classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tlaam.errors import InputError
from tlaam.inference.engine import Engine
from tlaam.taxonomy.answers import Answering
from tlaam.taxonomy.files import read_names, read_taxonomy, read_weights
from tlaam.taxonomy.promise import PROMISE
from tlaam.taxonomy.tree import Taxonomy


def answer_by(
    engine: Engine,
    *,
    taxonomy: Path | str | None = None,
    promise: float | None = None,
    only: Path | str | Iterable[str] | None = None,
    prior: Path | str | Mapping[str, float] | None = None,
) -> list[str]:
    """Let an engine answer by these rules from now on; without any argument, it answers as its model does by default.

    Args:
        engine: if something is promised, the engine of a model that keeps its answers for held-out images.
        taxonomy: a file, see `read_taxonomy`; by default the taxonomy that the model was trained with, if any.
        promise: share of answers that are to be right; by default 0.95 if a taxonomy is given or the model makes a
            promise by default.
        only: names of classes or taxa that live where the images were taken, or a file of them.
        prior: how common each class is there, relative to how often it was seen in training, or a file of these
            weights.

    Returns:
        Notes for the user, one line each: names of the list that the model does not know.

    Raises:
        ConfigError: the promise is impossible.
        DataError: a file cannot be used, or there are too few held-out answers for the promise.
        InputError: an argument has the wrong type.
    """
    if taxonomy is None and promise is None and only is None and prior is None:
        return []
    if taxonomy is not None and not isinstance(taxonomy, (str, Path)):
        raise InputError(f"a taxonomy cannot be of type {type(taxonomy).__name__}; give the path of a table.")
    found = engine.taxonomy if taxonomy is None else read_taxonomy(taxonomy, engine.classes)
    if promise is None and (taxonomy is not None or engine.answering is not None):
        promise = PROMISE
    answering = Answering.of(
        found or Taxonomy.of_labels(engine.classes),
        engine.held_out,
        promise=promise,
        only=read_names(only) if isinstance(only, (str, Path)) else only,
        prior=read_weights(prior) if isinstance(prior, (str, Path)) else prior,
    )
    engine.use_answering(answering)
    return [] if answering.residents is None else answering.residents.notes(answering.taxonomy)


__all__ = ["answer_by"]
