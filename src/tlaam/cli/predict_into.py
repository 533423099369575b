"""``tlaam predict --into``, and the outputs made from the answers at the end."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tlaam.cli.answering import as_arguments, lines_on_answers
from tlaam.cli.output import notes_on_verdicts, say_notes
from tlaam.errors import ConfigError
from tlaam.utils.progress import progress_bar, waiting

if TYPE_CHECKING:
    from tlaam.cli.objects import Looking
    from tlaam.field.outputs import Outputs
    from tlaam.inference.backend import Precision
    from tlaam.utils.work_sharing import Share

_SHARD = 1000
"""Images per file if no other output is made from the answers."""


@dataclass(frozen=True)
class Asked:
    """What to predict, and how: the options of the command."""

    model: Path
    images: tuple[str, ...]
    top_k: int
    batch_size: int
    precision: Precision | None
    compiled: bool
    kind: Literal["jsonl", "parquet"]
    shard_size: int | None
    processes: int
    photo_facts: bool
    answering: dict[str, Any]
    looking: Looking


def predict_all(into: Path | None, asked: Asked, outputs: Outputs) -> None:
    """Predict all images, and write the requested outputs.

    Raises:
        ConfigError: the requested outputs are impossible.
        Exit: no image could be read, or an output could not be written for an image.
    """
    from tlaam.field.answers import Answers
    from tlaam.field.outputs import write_outputs
    from tlaam.inference.prediction import NOTHING
    from tlaam.utils.work_sharing import Share

    if missing := [given for given in asked.images if not os.path.lexists(given) and not glob.has_magic(given)]:
        raise ConfigError(f"there is no '{missing[0]}'.")  # now: a folder is bound to the images it began with
    folder = into or outputs.answers
    outputs.require_possible(asked.images, folder)
    if folder is None:
        raise ConfigError("--sidecars alone leaves no place for the answers; add --into FOLDER or --csv FILE.")
    share = Share.of_environment()
    if asked.processes > 1 and share.world_size > 1:
        raise ConfigError(
            f"--processes {asked.processes} is for one process, and this is one of {share.world_size}; leave it out."
        )
    if asked.processes > 1:
        _in_processes(folder, asked, outputs)
        code = 0
    else:
        code = _in_this_process(folder, asked, outputs, share)
    answers = Answers(folder)
    if outputs.are_wanted and not answers.are_complete:
        _say(f"{folder} is not complete yet; the same command, given to one process then, makes the rest.")
    elif outputs.are_wanted and share.rank == 0:
        counts = Counter("failures" if row["error"] else row["verdict"] for row in answers.records())
        judged = any(counts[verdict] for verdict in ("sure", "unsure", "stranger"))
        say_notes(
            notes_on_verdicts(
                len(answers),
                counts["stranger"],
                counts["unsure"],
                counts["failures"],
                judged=judged,
                empty=counts[NOTHING],
            )
        )
        for line in lines_on_answers(answers):
            _say(line)
        with ExitStack() as stack:
            faults = write_outputs(
                outputs, answers, asked.images, model=asked.model.name, say=_say,
                progress=lambda what: _steps(stack, what, len(answers)),
            )  # fmt: skip
        code = code or (1 if faults else 0)
    if code:
        raise click.exceptions.Exit(code)


def _in_processes(folder: Path, asked: Asked, outputs: Outputs) -> None:
    from tlaam.utils.work_sharing import run_processes

    options = ["--into", folder, "--format", asked.kind, "--shard-size", _shard_size(folder, asked, outputs)]
    options += ["--top-k", asked.top_k, "--batch-size", asked.batch_size, "--precision", asked.precision or "auto"]
    options += [*(["--compile"] if asked.compiled else []), *(["--photo-facts"] if outputs.are_wanted else [])]
    options += [*as_arguments(asked.answering), *asked.looking.as_arguments(), "--", asked.model, *asked.images]
    if failed := run_processes(asked.processes, ["predict", *map(str, options)]):
        raise click.exceptions.Exit(failed)


def _in_this_process(folder: Path, asked: Asked, outputs: Outputs, share: Share) -> int:
    from tlaam.field.predicting import predict_card
    from tlaam.inference.answering import answer_by
    from tlaam.inference.engine import load_engine

    with waiting("loading the model"):
        engine = load_engine(
            asked.model, batch_size=asked.batch_size, precision=asked.precision, compiled=asked.compiled,
            device=share.gpu() if asked.model.is_dir() else None,
        )  # fmt: skip
    say_notes(answer_by(engine, **asked.answering))
    asked.looking.give(engine, asked.images)
    with progress_bar("predicting") as progress:
        done = predict_card(
            folder, engine, asked.images, outputs, top_k=asked.top_k, kind=asked.kind,
            shard_size=_shard_size(folder, asked, outputs), share=share, progress=progress, say=_say,
            photo_facts=outputs.are_wanted or asked.photo_facts,
        )  # fmt: skip
    click.echo(
        f"{folder}: {done.predicted} of {done.images} images answered for by this process now, {done.found} before."
    )
    return 1 if done.predicted and done.failures == done.predicted and not done.found else 0


def _shard_size(folder: Path, asked: Asked, outputs: Outputs) -> int:
    """Return the number of images per file: as requested, or else that of the answers begun in the folder."""
    from tlaam.field.answers import Answers
    from tlaam.field.predicting import CARD_SHARD
    from tlaam.inference.shards import PLAN

    if asked.shard_size is None and (folder / PLAN).exists():
        return Answers(folder).shard_size
    return asked.shard_size or (CARD_SHARD if outputs.are_wanted else _SHARD)


def _say(line: str) -> None:
    click.echo(f"tlaam: {line}", err=True)


def _steps(stack: ExitStack, what: str, total: int) -> Callable[[], None]:
    """Show a progress bar for an output; return the function that advances it by one answer."""
    progress = stack.enter_context(progress_bar(what))
    numbers = count(1)
    return lambda: progress(next(numbers), total)
