"""``tlaam embed``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import MODEL, PATH, config_option, precision_option
from tlaam.cli.output import say_notes
from tlaam.errors import DataError
from tlaam.utils.progress import progress_bar, waiting
from tlaam.utils.text import printable

if TYPE_CHECKING:
    from tlaam.data.sample import LabelledImages
    from tlaam.inference.backend import Precision
    from tlaam.inference.engine import Engine


@click.command()
@click.argument("model", type=MODEL)
@click.argument("source", nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, metavar="FILE", help="File to write: .npz or .parquet.")
@click.option(
    "--images", "unlabelled", is_flag=True, help="Treat SOURCE as unlabelled images, as `tlaam predict` does."
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@precision_option
@config_option
def embed(
    model: Path | str,
    source: tuple[str, ...],
    out: Path,
    unlabelled: bool,
    batch_size: int,
    precision: Precision | None,
) -> None:
    """Write an embedding vector for each image of SOURCE, computed by MODEL.

    Images that look alike have vectors of nearly the same direction. Look-alikes and strangers are found by these
    vectors.

    SOURCE is a data set as for `tlaam train`, whose labels and splits are written, too; or files, folders, patterns and
    CSV files as for `tlaam predict`. MODEL is a run folder, an ONNX file, or hf://owner/name.

    Files that cannot be read are named and left out. The exit code is 1 if no image could be read.
    """
    from tlaam.inference.embedding import embedded
    from tlaam.inference.embedding_file import Row, embedding_file, require_kind
    from tlaam.inference.engine import load_engine
    from tlaam.inference.inputs import find_images, left_out_of_inputs

    require_kind(out)
    images = None if unlabelled else _data_set(source)
    paths = [] if images is not None else find_images(source)
    say_notes(left_out_of_inputs(source) if images is None else images.notes)
    with waiting("loading the model"):
        engine = load_engine(model, batch_size=batch_size, precision=precision, find_index=False)
    if images is None:
        given: list[tuple[object, str, str | None, str | None]] = [(path, path, None, None) for path in paths]
    else:
        samples = _as_trained(engine, images).samples
        given = [(sample, sample.name, images.classes[sample.label], sample.split) for sample in samples]
    written = 0
    with embedding_file(out, labelled=images is not None) as file, progress_bar("embedding") as progress:
        answers = embedded(engine, (image for image, *_ in given))
        for number, ((_, name, label, split), answer) in enumerate(zip(given, answers, strict=True), start=1):
            if answer.embedding is None:
                click.echo(f"tlaam: left out {printable(name)}: {printable(answer.error or '')}", err=True)
            else:
                file.add(Row(name, answer.label or "", answer.score or 0.0, answer.embedding, label, split))
                written += 1
            progress(number, len(given))
    if not written:
        raise DataError(f"none of {len(given)} images could be read; {out} was not written.")
    what = "images" if images is None else f"images of {len(images.classes)} classes, with labels and splits"
    click.echo(f"Embeddings: {out} ({written:,} {what})")


def _data_set(source: tuple[str, ...]) -> LabelledImages | None:
    """Return a source as a data set; None if it stands for images without labels.

    Raises:
        DataError: it looks like a data set, but cannot be read as one.
    """
    from tlaam.data.open import is_labelled, open_dataset

    if len(source) > 1 or not is_labelled(source[0]):
        return None
    try:
        return open_dataset(source[0], strict=False)
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}. (--images takes it as images without labels.)") from error


def _as_trained(engine: Engine, images: LabelledImages) -> LabelledImages:
    """Return a run's own data set with the splits that the run cut; other data, or data for an ONNX file, unchanged."""
    if engine.origin is None or not engine.origin.is_dir():
        return images
    from tlaam.runs.splits import TrainingData

    seen = TrainingData.of_run(engine.origin)
    return images if seen is None or images.is_cut or not seen.is_of(images) else seen.cut(images)
