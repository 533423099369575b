"""``tlaam export``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH, config_option, moved_option
from tlaam.data.sample import SPLITS, Split
from tlaam.reference.file import index_file_of, read_index
from tlaam.utils.extras import require_extra
from tlaam.utils.progress import progress_bar, waiting

if TYPE_CHECKING:
    from tlaam.export.precision import Precision
    from tlaam.pocket.runtime import Runtime


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, metavar="MODEL.onnx", help="ONNX file to write; not needed with --page.")
@click.option(
    "--images",
    multiple=True,
    metavar="PATH",
    help="Photographs to compare the answers on: a file, folder or pattern; may be repeated. [the run's own]",
)
@moved_option
@click.option("--split", type=click.Choice(SPLITS), help="Split of the run's own data to compare on. [val, else train]")
@click.option(
    "--count", type=click.IntRange(1), default=64, show_default=True, help="Maximum number of photographs to compare."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the backbone; maps, boxes and classifiers stay in float32.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="PATH",
    help="Photographs to calibrate int8's activation ranges on; may be repeated. [32 of the run's training images]",
)
@click.option(
    "--page",
    "folder",
    type=PATH,
    metavar="DIR",
    help="Write a web page that answers in the browser, without a server or a network; RUN may then be an ONNX file.",
)
@click.option("--title", default="", metavar="TEXT", help="Title of the page. [the model's name]")
@click.option(
    "--runtime",
    type=PATH,
    metavar="DIR",
    help="Folder with the npm package onnxruntime-web for the page. [fetched by npm, once]",
)
@click.option("--no-pictures", is_flag=True, help="Name look-alikes on the page without showing training pictures.")
@click.option("--texts", type=PATH, metavar="FILE.json", help="File with the texts of the page, in another language.")
@config_option
def export(
    run: Path,
    out: Path | None,
    images: tuple[str, ...],
    moved: str | None,
    split: Split | None,
    count: int,
    precision: Precision,
    calibration: tuple[str, ...],
    folder: Path | None,
    title: str,
    runtime: Path | None,
    no_pictures: bool,
    texts: Path | None,
) -> None:
    """Export the trained model in RUN to one ONNX file, from a photograph's pixels to the boxes in it.

    The file is written only if ONNX Runtime gives the same answers as PyTorch; MODEL.parity.json beside it records how
    closely they agree. For fp16 and int8, the float32 graph must agree with PyTorch, and the loss of the smaller file
    is measured on the same images.

    If RUN has a reference index, it is written to MODEL.gallery.npz, for look-alikes. The data that detects strangers
    is also stored in the ONNX file itself, up to 8 MB.

    --page DIR writes a folder of static files for any web server. A phone that has opened the page once finds, names
    and shows objects without a network. From an ONNX file, the page is made without PyTorch.
    """
    if out is None and folder is None:
        raise click.UsageError("give --out MODEL.onnx, or --page DIR, or both.")
    if folder is None:
        options = {"--title": title, "--runtime": runtime, "--no-pictures": no_pictures, "--texts": texts}
        if unused := [name for name, given in options.items() if given]:
            raise click.UsageError(f"{unused[0]} goes with --page DIR.")
        assert out is not None
        _export(run, out, images, moved, split, count, precision, calibration)
        return
    if not _is_file(run):
        require_extra("tlaam export", "export")
    else:
        of_runs: dict[str, object] = {
            "--out": out, "--images": images, "--data": moved, "--split": split, "--calibration": calibration,
            "--precision": precision != "fp32",
        }  # fmt: skip
        if unused := [name for name, given in of_runs.items() if given]:
            raise click.UsageError(f"{run} is an ONNX file already; leave {unused[0]} out.")
    from tlaam.pocket.runtime import find_runtime
    from tlaam.pocket.texts import page_texts

    said = page_texts(texts)  # before the steps that take minutes
    found = find_runtime(runtime)
    with TemporaryDirectory(prefix="tlaam-") as place:
        model = run
        if not _is_file(run):
            model = out or Path(place) / f"{run.name or 'model'}.onnx"
            _export(run, model, images, moved, split, count, precision, calibration, is_kept=out is not None)
        _write_page(model, folder, found, said, title=title, pictures=not no_pictures)


def _write_page(
    model: Path, folder: Path, runtime: Runtime, texts: dict[str, str], *, title: str, pictures: bool
) -> None:
    from tlaam.inference.engine import load_engine
    from tlaam.pocket.page import write_page

    page = write_page(load_engine(model), folder, runtime, texts, title=title, pictures=pictures)
    click.echo(f"Page: {folder} ({len(page.sizes)} files, {sum(page.sizes.values()) / 1e6:.1f} MB)")
    click.echo(f"Try it: python -m http.server --directory {folder}, then open http://127.0.0.1:8000")
    click.echo("For phones put the folder on any web server with https; docs/pocket.md says how.")


def _is_file(model: Path) -> bool:
    """Return whether a model is an ONNX file rather than a run folder."""
    return not model.is_dir() and (model.exists() or model.suffix.lower() == ".onnx")


def _export(
    run: Path,
    out: Path,
    images: tuple[str, ...],
    moved: str | None,
    split: Split | None,
    count: int,
    precision: Precision,
    calibration: tuple[str, ...],
    *,
    is_kept: bool = True,
) -> None:
    """Write the file and print what there is to know of it; one that is not kept is on its way into a page."""
    require_extra("tlaam export", "export")
    with waiting("loading PyTorch"):
        from tlaam.export.onnx import export_run, require_packages

    require_packages()
    data = None
    if moved is not None:
        from tlaam.runs.splits import TrainingData, opened_elsewhere

        data = opened_elsewhere(moved, TrainingData.of_run(run), run)
    with ExitStack() as shown:
        shown.enter_context(waiting("writing the graph, which takes about a minute"))
        bars: list[Callable[[int, int], None]] = []

        def compared(number: int, total: int) -> None:
            if not bars:
                shown.close()
                bars.append(shown.enter_context(progress_bar("comparing")))
            bars[0](number, total)

        done = export_run(
            run, out, images, split=split, count=count, precision=precision, calibration=calibration, data=data,
            progress=compared,
        )  # fmt: skip
    for parity in done.parities.values():
        click.echo(parity.table())
    if done.seen_in_training:
        click.echo("  (of the run's training images; --images or --split test compares on others)")
    if is_kept:
        click.echo(f"Model: {out} ({out.stat().st_size:,} bytes)\nFigures: {done.figures}")
    if done.index is None:
        click.echo(
            f"No reference index in {run}: the file neither tells strangers nor shows look-alikes (tlaam index RUN)."
        )
        return
    if not is_kept:
        return
    detector = read_index(index_file_of(run)).detector
    worth = (
        "look-alikes; neither it nor the file tells strangers"
        if not detector.tells_strangers
        else "look-alikes; without it the file still tells strangers"
        if detector.to_text() is not None
        else "look-alikes and what tells strangers, which is too much for the file itself: keep both together"
    )
    click.echo(f"Reference index: {done.index} ({worth})")
