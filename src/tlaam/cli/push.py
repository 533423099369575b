"""``tlaam push``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH, config_option, precision_option
from tlaam.utils.progress import progress_bar

if TYPE_CHECKING:
    from tlaam.inference.backend import Precision


@click.command()
@click.argument("run", type=PATH)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--data", metavar="DATA", help="Data set to measure on. [the data that RUN was trained on]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Split to measure on. [val, else test]")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option(
    "--license", metavar="NAME", help="Licence of the model, as the hub names it, e.g. apache-2.0. [none stated]"
)
@click.option(
    "--pictures", type=click.IntRange(0), default=4, show_default=True, help="Images shown on the card, and published."
)
@click.option(
    "--look-alikes", is_flag=True, help="Also publish small pictures and file names of training images (gallery.npz)."
)
@click.option("--out", type=PATH, metavar="FOLDER", help="Write the folder here for inspection, and upload nothing.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Images per batch.")
@precision_option
@config_option
def push(
    run: Path,
    repository: str,
    data: str | None,
    split: str | None,
    private: bool,
    license: str | None,
    pictures: int,
    look_alikes: bool,
    out: Path | None,
    batch_size: int,
    precision: Precision | None,
) -> None:
    """Upload the model in RUN to the Hugging Face hub as OWNER/NAME, with a model card of its results on DATA.

    Uploads the weights, the description, the card and pictures of a few of the measured images; and, if RUN has a
    reference index, the part that detects strangers. Log in first with `hf auth login`, or set HF_TOKEN. Others can
    then use hf://OWNER/NAME as MODEL.
    """
    from tlaam.publish.folder import save_pretrained
    from tlaam.publish.upload import push_to_hub

    with progress_bar("measuring") as progress:
        shared = {
            "split": split,
            "pictures": pictures,
            "license": license,
            "look_alikes": look_alikes,
            "progress": progress,
            "batch_size": batch_size,
            "precision": precision,
        }
        if out is None:
            done = f"Sent: {push_to_hub(run, repository, data, private=private, **shared)}"  # type: ignore[arg-type]
        else:
            done = f"Written, not sent: {save_pretrained(run, out, data, repo_id=repository, **shared)}"  # type: ignore[arg-type]
    click.echo(done)
