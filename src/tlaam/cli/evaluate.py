"""``tlaam evaluate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import MODEL, PATH, JsonCommand, JsonOption, config_option, precision_option
from tlaam.cli.output import progress_bar, write_json
from tlaam.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from tlaam.runtime.answers import Precision


@click.command(cls=JsonCommand)
@click.argument("run", type=MODEL)
@click.argument("data")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="What to measure on. [test, else val, else all images]",
)
@click.option("--json", "json_file", cls=JsonOption, help="Write the measures as JSON, to FILE.json or the screen.")
@click.option("--page", type=PATH, metavar="FILE.html", help="Write a page with the measures and pictures.")
@click.option("--pictures", type=click.IntRange(0), default=40, show_default=True, help="Images on that page.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images a pass.")
@precision_option
@config_option
@click.option(
    "--devices",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="GPUs, or processes on a CPU, that share it; under torchrun those that it has started.",
)
@click.option("--skip-unreadable", is_flag=True, help="Measure without images that cannot be read.")
def evaluate(
    run: Path | str,
    data: str,
    split: str | None,
    json_file: str | None,
    page: Path | None,
    pictures: int,
    batch_size: int,
    precision: Precision | None,
    devices: int,
    skip_unreadable: bool,
) -> None:
    """Measure the trained model in RUN on DATA: every branch, their fusion, and the boxes where DATA has boxes.

    RUN may also name a model on the Hugging Face hub, hf://owner/name; what it was trained on is then not known.
    """
    from tlaam.evaluation.evaluate import evaluate as measure
    from tlaam.hub.download import local_folder

    run = local_folder(run)

    device, first = _launched(devices)
    with progress_bar("evaluating", hidden=not first) as progress:
        report = measure(
            run,
            data,
            split=split,  # type: ignore[arg-type]
            batch_size=batch_size,
            precision=precision,
            device=device,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
    if not first:
        return
    if split is None and report.split == "train":
        click.echo(
            "tlaam: DATA has no test or validation split, so all its images were measured; a model that was trained on "
            "them looks better than it is.",
            err=True,
        )
    if json_file != "-":
        click.echo(report.table())
    if json_file is not None:
        write_json(json_file, report.to_dict())
    if page is not None:
        from tlaam.evaluation.page import write_evaluation_page

        written = write_evaluation_page(
            page, run, data, report, count=pictures, batch_size=batch_size, precision=precision
        )
        click.echo(f"Pictures: {written}", err=json_file == "-")


def _launched(devices: int) -> tuple[torch.device | None, bool]:
    """Start or join the processes that share the work; return this one's device, and whether it is the first."""
    from tlaam.defaults import started_by_torchrun

    here, nodes = started_by_torchrun() or (devices, 1)
    if devices not in (1, here):
        raise ConfigError(
            f"--devices {devices} does not fit the {here} processes that torchrun has started; leave it out."
        )
    if here * nodes == 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None, True
    from lightning.fabric import Fabric

    from tlaam.model.build import default_device

    fabric = Fabric(accelerator=default_device().type, devices=here, num_nodes=nodes)
    fabric.launch()
    return fabric.device, fabric.is_global_zero
