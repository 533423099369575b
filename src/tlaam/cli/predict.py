"""``tlaam predict``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tlaam.cli.answering import AnswerColumn, answering_options, widest
from tlaam.cli.field_options import field_options
from tlaam.cli.objects import Looking, objects_options
from tlaam.cli.options import MODEL, PATH, JsonCommand, JsonOption, config_option, precision_option
from tlaam.cli.output import columns, json_lines, notes_on_verdicts, padded, say_notes
from tlaam.errors import ConfigError, TlaamError
from tlaam.utils.progress import progress_bar, waiting
from tlaam.utils.text import printable

if TYPE_CHECKING:
    from tlaam.field.outputs import Outputs
    from tlaam.inference.backend import Precision
    from tlaam.inference.prediction import Prediction

_SHOWN = 3  # classes in a row of the table
_WIDEST_PATH, _WIDEST_CLASS = 60, 32  # in terminal columns; longer texts are shown in full and shift their row
_WIDEST_VERDICT = len("stranger")
_SAID = "sure enough"
_LONGEST_NAME = 200  # bytes; file systems allow 255, and the temporary file's name is longer


@click.command(cls=JsonCommand)
@click.argument("model", type=MODEL)
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--json", "json_file", cls=JsonOption, help="Write a JSON line per image to FILE.json or standard output."
)
@config_option
@click.option("--overlays", type=PATH, help="Folder for one PNG per image, with boxes, heat map, object and parts.")
@click.option(
    "--top-k", type=click.IntRange(1), default=5, show_default=True, help=f"Classes per image; the table has {_SHOWN}."
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@answering_options
@objects_options
@precision_option
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile a run's network first. This takes minutes, but makes each batch faster. For very many images.",
)
@click.option(
    "--into",
    type=PATH,
    help="Folder for the answers to very many images. Its files stay intact if the process is killed.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="Format of the files in --into.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    help="Images per file of --into.  [default: 1000; with a table or page: 100]",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that fill --into together; each uses its own GPU if there are GPUs.",
)
@click.option("--photo-facts", is_flag=True, hidden=True)  # for the processes that --processes starts
@field_options
def predict(
    model: Path | str,
    images: tuple[str, ...],
    json_file: str | None,
    overlays: Path | None,
    top_k: int,
    batch_size: int,
    taxonomy: Path | None,
    promise: float | None,
    only: Path | None,
    prior: Path | None,
    objects: Literal["all"] | int | None,
    boxes: Path | None,
    least_confidence: float | None,
    precision: Precision | None,
    compiled: bool,
    into: Path | None,
    kind: Literal["jsonl", "parquet"],
    shard_size: int | None,
    processes: int,
    photo_facts: bool,
    outputs: Outputs,
) -> None:
    """Name what IMAGES show, with MODEL.

    MODEL is a run folder, an ONNX file written by `tlaam export`, or a model on the Hugging Face hub, hf://owner/name.
    IMAGES are files, folders, patterns such as '*.jpg', and CSV files with a column `image`.

    A file that cannot be read becomes a row with its error. The exit code is 1 if no image could be read, or if the
    sidecar of a photograph could not be written or a photograph could not be sorted.
    """
    from tlaam.cli.predict_into import Asked, predict_all
    from tlaam.hub.download import local_folder
    from tlaam.inference.answering import answer_by
    from tlaam.inference.engine import load_engine
    from tlaam.inference.inputs import find_images, left_out_of_inputs
    from tlaam.inference.prediction import NOTHING

    asked_by: dict[str, Any] = {"taxonomy": taxonomy, "promise": promise, "only": only, "prior": prior}
    looking = Looking(objects, boxes, least_confidence)
    if into is not None or outputs.are_wanted:
        if overlays is not None or (json_file is not None and (into is not None or json_file == "-")):
            raise ConfigError(
                "--into is for answers alone: leave --json and --overlays out." if into is not None else
                "answers that go into files (--csv, --xlsx and the like) have no --overlays, and --json needs a "
                "FILE.json beside them."
            )  # fmt: skip
        outputs = replace(outputs, jsonl=None if json_file is None else Path(json_file))
        asked = Asked(
            local_folder(model), tuple(dict.fromkeys(images)), top_k, batch_size, precision, compiled, kind, shard_size,
            processes, photo_facts, asked_by, looking,
        )  # fmt: skip
        predict_all(into, asked, outputs)
        return
    outputs.require_possible(images)
    if processes > 1:
        raise ConfigError("--processes goes with --into, the folder that the processes share.")
    if kind != "jsonl":
        raise ConfigError("--format goes with --into; without it, --json writes JSON lines.")
    paths = find_images(images)
    say_notes(left_out_of_inputs(images))
    with waiting("loading the model"):
        engine = load_engine(
            model, batch_size=batch_size, precision=precision, compiled=compiled, keep_images=overlays is not None
        )
    say_notes(answer_by(engine, **asked_by))
    looking.give(engine, images)
    said = AnswerColumn(engine)
    if overlays is not None:
        overlays.mkdir(parents=True, exist_ok=True)
    table = (
        None
        if json_file == "-"
        else _Table(paths, engine.classes, min(top_k, _SHOWN), said, judged=engine.tells_strangers)
    )
    if table is not None:
        click.echo(table.heading())
    failures = strangers = unsure = empty = 0
    with (
        json_lines(json_file) as write_line,
        # On a terminal, the rows themselves show the progress; a bar would run into them.
        progress_bar("predicting", hidden=table is not None and sys.stdout.isatty()) as progress,
    ):
        for number, prediction in enumerate(engine.predict(paths), start=1):
            if table is not None:
                for row in table.rows(prediction):
                    click.echo(row)
            record = prediction.to_dict(top_k)
            if overlays is not None:
                record["overlay"] = _write_overlay(prediction, overlays, number)
            write_line(record)
            said.count(prediction)
            failures += prediction.error is not None
            strangers += prediction.verdict == "stranger"
            unsure += prediction.verdict == "unsure"
            empty += prediction.verdict == NOTHING
            progress(number, len(paths))
    say_notes(notes_on_verdicts(len(paths), strangers, unsure, failures, judged=engine.tells_strangers, empty=empty))
    for line in said.lines():
        click.echo(f"tlaam: {line}", err=True)
    if failures == len(paths):
        raise click.exceptions.Exit(1)


class _Table:
    """Aligned rows that can be printed one by one, since all paths and classes are known beforehand.

    The verdict comes before the classes: after long names it would be out of sight.
    """

    def __init__(
        self, paths: Sequence[str], classes: Sequence[str], shown: int, said: AnswerColumn, *, judged: bool
    ) -> None:
        self.judged, self.said, texts = judged, said, said.texts()
        self.said_width = widest(texts, _SAID, _WIDEST_CLASS, columns) if texts else 0
        self.titles = ("best class", "second", "third")[: min(shown, len(classes))]
        self.path_width = _width(["image", *paths], _WIDEST_PATH)
        self.class_width = _width(["best class", *classes], _WIDEST_CLASS)

    def heading(self) -> str:
        return self._line(
            "image",
            "answer",
            _SAID,
            [(title, "prob." if place == 0 else "") for place, title in enumerate(self.titles)],
        )

    def rows(self, prediction: Prediction) -> Iterator[str]:
        """Yield one line per object; a single line if the image has none or was not searched for several."""
        objects = prediction.objects or (prediction,)
        return (self._row(found, "" if number else prediction.path) for number, found in enumerate(objects))

    def _row(self, prediction: Prediction, path: str) -> str:
        path = printable(path)
        if prediction.error is not None:
            return f"{padded(path, self.path_width)}  ERROR: {printable(prediction.error)}"
        if not prediction.probabilities:
            return f"{padded(path, self.path_width)}  {prediction.verdict}"
        top = prediction.top(len(self.titles))
        cells = [(printable(label), f"{probability:.1%}") for label, probability in top]
        return self._line(path, prediction.verdict or "", self.said.cell(prediction), cells)

    def _line(self, path: str, verdict: str, said: str, cells: Sequence[tuple[str, str]]) -> str:
        verdicts = [padded(verdict, _WIDEST_VERDICT)] if self.judged else []
        verdicts += [padded(said, self.said_width)] if self.said_width else []
        texts = [f"{padded(label, self.class_width)} {share:>6}" for label, share in cells]
        return "  ".join([padded(path, self.path_width), *verdicts, *texts]).rstrip()


def _width(texts: Sequence[str], limit: int) -> int:
    return max(min(columns(printable(text)), limit) for text in texts)


def _write_overlay(prediction: Prediction, folder: Path, number: int) -> str | None:
    """Write the picture of one prediction and return its path; if that fails, only this picture is missing."""
    if not prediction.probabilities:
        return None
    path = folder / _overlay_name(prediction.path, number)
    try:
        prediction.save_plot(path)
    except (TlaamError, OSError) as error:
        click.echo(f"tlaam: no picture of {printable(prediction.path)}: {printable(str(error))}", err=True)
        return None
    return str(path)


def _overlay_name(path: str, number: int) -> str:
    """Return a file name of bounded length; its number distinguishes files of the same name from two folders."""
    start, end = f"{number:05d}-", ".png"
    stem, room = Path(path).stem, _LONGEST_NAME - len(start) - len(end)
    if len(os.fsencode(stem)) > room:
        stem = os.fsencode(stem)[:room].decode("utf-8", "ignore")  # drops a character that was cut in two
    return f"{start}{stem}{end}"
