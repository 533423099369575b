"""``tlaam report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.answering import answering_options
from tlaam.cli.options import PATH, config_option, moved_option, precision_option
from tlaam.cli.output import say_notes
from tlaam.utils.progress import progress_bar, waiting

if TYPE_CHECKING:
    from tlaam.inference.backend import Precision


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", required=False)
@moved_option
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Split to measure on. [val, else test]")
@click.option("--out", type=PATH, metavar="FILE.html", help="File to write. [RUN/report.html]")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@answering_options
@precision_option
@config_option
def report(
    run: Path,
    data: str | None,
    moved: str | None,
    split: str | None,
    out: Path | None,
    batch_size: int,
    taxonomy: Path | None,
    promise: float | None,
    only: Path | None,
    prior: Path | None,
    precision: Precision | None,
) -> None:
    """Write the report of the finished run in RUN, measured on DATA (default: the data that RUN was trained on).

    The report shows how often the model is right, which classes it confuses, its best and worst images, curves,
    settings and times.

    `tlaam train` writes it at the end.
    """
    if data is not None and moved is not None:
        raise click.UsageError("give DATA, or with --data what RUN was trained on, not both.")
    from tlaam.inference.answering import answer_by
    from tlaam.inference.engine import load_engine
    from tlaam.reports.run_report import finished_run, write_run_report
    from tlaam.runs.splits import TrainingData, opened_elsewhere

    finished_run(run)  # before a model is loaded
    with waiting("loading the model"):
        engine = load_engine(run, batch_size=batch_size, precision=precision)
    say_notes(answer_by(engine, taxonomy=taxonomy, promise=promise, only=only, prior=prior))
    with progress_bar("measuring") as progress:
        written = write_run_report(
            engine,
            data if moved is None else opened_elsewhere(moved, TrainingData.of_run(run), run),
            split=split,  # type: ignore[arg-type]
            path=out,
            progress=progress,
        )
    click.echo(f"Report: {written}")
