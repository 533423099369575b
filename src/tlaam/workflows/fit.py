"""Training a model, then writing its reference index and report.

After training, the model is loaded once and predicts each image once, however many outputs need the answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import distributed
from tqdm import tqdm

from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages
from tlaam.errors import TlaamError
from tlaam.evaluation.evaluate import trained_on
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.reference.file import FILE
from tlaam.reports.run_report import write_own_report
from tlaam.runs.data import opened_again
from tlaam.runs.folder import RunFolder
from tlaam.runs.out_of_fold import out_of_fold_of
from tlaam.runs.splits import TrainingData, opened_elsewhere, with_the_runs_splits
from tlaam.runs.taxonomy import taxonomy_of
from tlaam.training.run import resume, train
from tlaam.utils.progress import progress_bar
from tlaam.workflows.reference_index import ThumbnailMaker, build_index, index_samples, store_index

Say = Callable[[str], None]


class Fitted(NamedTuple):
    """The result of training.

    Attributes:
        run: the run folder.
        engine: the model, ready to predict; None if nothing was written from its answers.
        first: whether this is the first of the processes that trained together; the others end here.
    """

    run: Path
    engine: Engine | None
    first: bool


def fit(
    source: str | Path | LabelledImages,
    out: str | Path | None = None,
    config: Config | Mapping[str, Any] | None = None,
    *,
    test_fraction: float = 0.0,
    start: str | Path | None = None,
    keep_classes: bool = False,
    taxonomy: str | Path | None = None,
    index: bool = True,
    report: bool = True,
    progress: bool = True,
    say: Say | None = None,
) -> Fitted:
    """Train a model on a data set, and write its run folder with reference index and report.

    Args:
        source, out, config, test_fraction, start, keep_classes, taxonomy: see `tlaam.training.run.train`.
        index: write ``gallery.npz``, which is used to detect out-of-distribution images and to find look-alikes.
        report: write ``report.html``.
        progress: report on standard error.
        say: called with a message for each file written, and for each that could not be; by default it prints if
            `progress` is set.

    Raises:
        ConfigError, DataError, ModelError, RunError: see `tlaam.training.run.train`. Failures to write the index or
            report are passed to `say`; they do not affect the trained model.
    """
    run = train(
        source, out, config, test_fraction=test_fraction, start=start, keep_classes=keep_classes, taxonomy=taxonomy,
        progress=progress,
    )  # fmt: skip
    images = source if isinstance(source, LabelledImages) else None
    return complete(run, images, index=index, report=report, progress=progress, say=say)


def fit_on(
    run: str | Path,
    *,
    source: LabelledImages | str | Path | None = None,
    index: bool = True,
    report: bool = True,
    progress: bool = True,
    say: Say | None = None,
    **machine: str | int | None,
) -> Fitted:
    """Resume a run, train it to its end and finish as `fit` does; see `tlaam.training.run.resume` for the arguments."""
    folder = resume(run, source=source, progress=progress, **machine)
    images = (
        opened_elsewhere(source, TrainingData.of_run(folder), folder) if isinstance(source, (str, Path)) else source
    )
    return complete(folder, images, index=index, report=report, progress=progress, say=say)


def complete(
    run: Path,
    images: LabelledImages | None = None,
    *,
    index: bool = True,
    report: bool = True,
    progress: bool = True,
    say: Say | None = None,
) -> Fitted:
    """Write the reference index and report of a run that has just finished.

    If several processes trained together, the first one writes; the others return at once.

    Args:
        run: the run folder.
        images: the data it was trained on; None to open it again.
        index, report, progress, say: see `fit`.
    """
    say = say or (_printed if progress else _unsaid)
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()  # only the first process continues
    if rank_zero_only.rank != 0:
        return Fitted(run, None, first=False)
    say(f"Trained model: {run}")
    if not (index or report):
        return Fitted(run, None, first=True)
    engine = load_engine(run, find_index=not index, keep_trained=True, embeddings=True, keep_images=True)
    folder = RunFolder(run)
    try:
        images = opened_again(folder.read_json(folder.data)) if images is None else images
        images = with_the_runs_splits(images, trained_on(engine), run)
    except TlaamError as error:
        say(f"tlaam: neither reference index nor report was written: {error}")
        return Fitted(run, engine, first=True)
    thumbnails = ThumbnailMaker(())
    answers = PredictionCache(engine, thumbnails)
    if index:
        try:
            samples = index_samples(images, len(engine.classes))
            thumbnails = ThumbnailMaker(samples.kept)
            answers = PredictionCache(engine, thumbnails)
            engine.pooled = True
            with progress_bar("answering for training images", hidden=not progress) as show:
                taxonomy = taxonomy_of(run, engine.classes)
                found = build_index(answers, images, samples, thumbnails, show, out_of_fold_of(run), taxonomy)
            say(f"Reference index: {store_index(found, run / FILE)}")
            engine.use_index(found)
            engine.pooled = False
        except TlaamError as error:
            say(f"tlaam: no reference index was written: {error} (tlaam index writes it later.)")
    if report:
        try:
            with progress_bar("measuring", hidden=not progress) as show:
                say(f"Report: {write_own_report(engine, images, progress=show, answers=answers)}")
        except TlaamError as error:
            say(f"tlaam: no report was written: {error} (tlaam report writes it later.)")
    engine.embeddings, engine.pooled, engine.keep_images = False, False, False
    return Fitted(run, engine, first=True)


def _printed(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _unsaid(line: str) -> None:
    pass
