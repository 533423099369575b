"""``tlaam evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.answering import answering_options
from tlaam.cli.options import MODEL, PATH, JsonCommand, JsonOption, config_option, moved_option, precision_option
from tlaam.cli.output import say_notes, write_json
from tlaam.utils.progress import progress_bar, waiting

if TYPE_CHECKING:
    from tlaam.inference.backend import Precision


@click.command(cls=JsonCommand)
@click.argument("run", type=MODEL)
@click.argument("data", required=False)
@moved_option
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Split to measure on. [test, else val, else all images]",
)
@click.option("--json", "json_file", cls=JsonOption, help="Write the measures as JSON to FILE.json or standard output.")
@click.option("--page", type=PATH, metavar="FILE.html", help="Write a report page with the measures and pictures.")
@click.option("--pictures", type=click.IntRange(0), default=40, show_default=True, help="Images on that page.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@answering_options
@precision_option
@config_option
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of GPUs, or of processes on a CPU, that share the work; under torchrun, those that it started.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be read.")
def evaluate(
    run: Path | str,
    data: str | None,
    moved: str | None,
    split: str | None,
    json_file: str | None,
    page: Path | None,
    pictures: int,
    batch_size: int,
    taxonomy: Path | None,
    promise: float | None,
    only: Path | None,
    prior: Path | None,
    precision: Precision | None,
    devices: int,
    skip_unreadable: bool,
) -> None:
    """Measure the trained model in RUN on DATA: every branch, their fusion, and the boxes if DATA has any.

    Without DATA, a run is measured on its own data: the test split, else the images that training held out.

    RUN is a run folder, an ONNX file written by `tlaam export`, or a model on the Hugging Face hub, hf://owner/name. It
    is not known which data a model on the hub was trained on.
    """
    if data is not None and moved is not None:
        raise click.UsageError("give DATA, or with --data what RUN was trained on, not both.")
    from tlaam.data.open import open_dataset
    from tlaam.evaluation.evaluate import evaluate as measure
    from tlaam.evaluation.evaluate import trained_on
    from tlaam.inference.answering import answer_by
    from tlaam.inference.engine import load_engine
    from tlaam.inference.prediction_cache import PredictionCache
    from tlaam.models.build import default_device
    from tlaam.runs.data import knows_its_data, own_data
    from tlaam.runs.splits import opened_elsewhere
    from tlaam.utils.work_sharing import joined_process_group

    own = data is None and moved is None
    if own and not (isinstance(run, Path) and (knows_its_data(run) or not run.exists())):
        raise click.UsageError("give what to measure on: DATA, or with --data what the model was trained on.")
    device, first = joined_process_group(devices, default_device().type)
    with waiting("loading the model"):
        engine = load_engine(run, batch_size=batch_size, precision=precision, device=device)
    say_notes(answer_by(engine, taxonomy=taxonomy, promise=promise, only=only, prior=prior))
    answers = PredictionCache(engine)
    if data is not None:
        images = open_dataset(data, strict=False)
    elif moved is not None:
        images = opened_elsewhere(moved, trained_on(engine), run)
    else:
        images = own_data(Path(run), "evaluate")  # a run that is not there was refused when it was loaded
    if first:
        say_notes(images.notes)
    with progress_bar("evaluating", hidden=not first) as progress:
        report = measure(
            engine,
            images,
            split=split,  # type: ignore[arg-type]
            skip_unreadable=skip_unreadable,
            progress=progress,
            answers=answers,
        )
    if not first:
        return
    say_notes([report.box_doubt] if report.box_doubt else [])
    if split is None and report.split == "train":
        click.echo(
            "tlaam: the data has no test or validation split, so all its images were measured; a model that was "
            "trained on them looks better than it is.",
            err=True,
        )
    if json_file != "-":
        click.echo(report.table())
    if json_file is not None:
        write_json(json_file, report.to_dict())
    if page is not None:
        from tlaam.reports.evaluation_report import write_evaluation_report

        written = write_evaluation_report(page, answers, images, report, count=pictures)
        click.echo(f"Report: {written}", err=json_file == "-")
