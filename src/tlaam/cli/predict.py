"""``tlaam predict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH, JsonCommand, JsonOption
from tlaam.cli.output import progress_bar, write_text

if TYPE_CHECKING:
    from tlaam.prediction import Prediction


@click.command(cls=JsonCommand)
@click.argument("run", type=PATH)
@click.argument("images", nargs=-1, required=True)
@click.option("--json", "json_file", cls=JsonOption, help="Write one JSON line an image, to FILE.json or the screen.")
@click.option("--overlays", type=PATH, help="Folder for one PNG an image: boxes, heat map, object and parts.")
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Classes an image.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images a pass.")
def predict(
    run: Path, images: tuple[str, ...], json_file: str | None, overlays: Path | None, top_k: int, batch_size: int
) -> None:
    """Name what IMAGES show with the trained model in RUN. IMAGES are files, folders and patterns such as '*.jpg'.

    A file that cannot be read becomes a row with its error, and the exit code is 1 if no image could be read.
    """
    from tlaam.prediction import Predictor, find_images

    paths = find_images(images)
    predictor = Predictor(run, batch_size=batch_size)
    lines, failures = [], 0
    with progress_bar("predicting") as progress:
        for number, prediction in enumerate(predictor.predict(paths), start=1):
            record = prediction.to_dict(top_k)
            if overlays is not None:
                record["overlay"] = _write_overlay(prediction, overlays, number)
            lines.append(json.dumps(record, ensure_ascii=False))
            failures += prediction.error is not None
            if json_file != "-":
                click.echo(_row(prediction))
            progress(number, len(paths))
    if json_file is not None:
        write_text(json_file, "".join(f"{line}\n" for line in lines))
    if failures:
        click.echo(f"tlaam: {failures} of {len(paths)} images could not be read.", err=True)
    if failures == len(paths):
        raise click.exceptions.Exit(1)


def _row(prediction: Prediction) -> str:
    if prediction.error is not None:
        return f"{prediction.path}  ERROR {prediction.error}"
    names = "  ".join(f"{label} {probability:.1%}" for label, probability in prediction.top(3))
    return f"{prediction.path}  {names}"


def _write_overlay(prediction: Prediction, folder: Path, number: int) -> str | None:
    """Write the picture of one prediction; its number keeps names apart when two folders hold the same name."""
    if prediction.error is not None:
        return None
    from tlaam.pictures import picture_of

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:05d}-{Path(prediction.path).stem}.png"
    picture_of(prediction).save(path)
    return str(path)
