"""Predict a whole memory card: answers go to a crash-safe folder, with a growing table beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from tlaam.errors import DataError, RunError
from tlaam.field.answer import answer_of, described
from tlaam.field.answers import Answers, records_of
from tlaam.field.csv_table import csv_table
from tlaam.field.outputs import Outputs, places_of
from tlaam.inference.engine import Engine
from tlaam.inference.inputs import iter_images
from tlaam.inference.shards import PLAN, Summary, checksum_of_images, predict_into
from tlaam.utils.work_sharing import Share

CARD_SHARD = 100
"""Number of images per file of answers, and so per extension of the table; an interruption loses at most this many."""


def predict_card(
    folder: Path,
    engine: Engine,
    inputs: Sequence[str],
    outputs: Outputs,
    *,
    top_k: int,
    kind: Literal["jsonl", "parquet"],
    shard_size: int,
    share: Share,
    photo_facts: bool,
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> Summary:
    """Predict images like `tlaam.inference.shards.predict_into`, and extend the CSV table as answers come.

    Photographs that an earlier call of the same command has moved count as present, so that the call can be completed.

    Args:
        outputs: the requested outputs.
        photo_facts: store each photograph's own metadata with its answer.
        folder, engine, inputs, top_k, kind, shard_size, share, progress, say: see `predict_into`.

    Raises:
        RunError, DataError, MissingPackageError: see `predict_into`. RunError also if the table holds something else.
    """
    if moved_since := _moved_since(folder, engine, inputs, outputs):
        return Summary(moved_since, 0, moved_since, 0)
    alone = share.world_size == 1  # otherwise the parts of other processes are not there yet
    ranked = engine.answering is not None
    with csv_table(outputs.csv, ranked=ranked) if outputs.csv is not None and alone else nullcontext() as table:

        def done_with(file: Path) -> None:
            if table is not None:
                for record in records_of(file):
                    table.add(answer_of(record))

        return predict_into(
            folder, engine, inputs, top_k=top_k, kind=kind, shard_size=shard_size, share=share, progress=progress,
            say=say, describe=described if photo_facts else lambda _: {}, done_with=done_with,
        )  # fmt: skip


def _moved_since(folder: Path, engine: Engine, inputs: Sequence[str], outputs: Outputs) -> int:
    """Return the number of answered images if this command has moved all those that are missing; else 0."""
    if outputs.mode != "move" or not (folder / PLAN).exists():
        return 0
    answers = Answers(folder)
    if not answers.are_complete or answers.plan.get("model") != engine.model.checksum:
        return 0
    moved = places_of(answers, outputs)
    if not moved:
        return 0
    try:
        there = set(iter_images(inputs))
    except DataError:  # no image is left
        there = set()
    answered = list(answers.paths())
    if there - set(answered) or checksum_of_images(answered) != answers.plan.get("of"):
        raise RunError(
            f"{folder} holds the answers for other images, some of which were moved since; give a new folder for those "
            "that came."
        )
    return len(answered) if set(answered) - there <= moved.keys() else 0
