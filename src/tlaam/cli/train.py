"""``tlaam train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlaam.cli.answering import TAXONOMY
from tlaam.cli.options import MODEL, PATH, moved_option
from tlaam.cli.settings import settings_from, settings_options
from tlaam.config.recipes import recipe_names, recipe_title
from tlaam.config.sections import MACHINE_OPTIONS
from tlaam.utils.progress import waiting
from tlaam.utils.work_sharing import started_by_torchrun

if TYPE_CHECKING:
    from tlaam.data.sample import LabelledImages


def _recipes() -> str:
    names = recipe_names()
    width = max(map(len, names))
    lines = (f"  {name.ljust(width)}  {recipe_title(name)}" for name in names)
    return "\b\nRecipes:\n" + "\n".join(lines)


@click.command(epilog=_recipes())
@click.argument("data", required=False)
@click.option("--out", type=PATH, help="Folder of the new run. [runs/<data>-<number>]")
@click.option("--resume", "resumed", type=PATH, metavar="RUN", help="Resume this run, with its settings.")
@moved_option
@click.option(
    "--from",
    "start",
    type=MODEL,
    metavar="RUN",
    help="Start from this trained model: its weights, its settings, and its classifiers' rows for the classes that "
    "both have. A run folder, a published model's folder or its model.safetensors, or hf://owner/name.",
)
@click.option(
    "--keep-classes",
    is_flag=True,
    help="With --from: classes of RUN without images in DATA remain possible answers, although this training never "
    "sees them.",
)
@click.option(
    "--group",
    metavar="REGEX",
    help="Regular expression to search in image paths, e.g. '[^/]*(?=_\\d+\\.jpg)'. Images with the same match (its "
    "first capture group, or else the whole match) stay on the same side of every split that tlaam cuts. Copies and "
    "images with the same value in a manifest's column `group` always do.",
)
@click.option(
    "--fold",
    metavar="NUMBER/COUNT",
    help="Hold out this fold of the training images as the test split, e.g. 2/5, instead of the one that DATA has.",
)
@click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} Stored in the model.")
@click.option("--copies", "copies_file", type=PATH, hidden=True)
@click.option("--report/--no-report", default=True, help="Write RUN/report.html at the end. [yes]")
@click.option(
    "--index/--no-index", " /--no-gallery", "index", default=True,
    help="Write the reference index RUN/gallery.npz at the end, for look-alikes and out-of-distribution images. [yes]",
)  # fmt: skip
@settings_options
@click.pass_context
def train(
    context: click.Context,
    /,
    data: str | None,
    out: Path | None,
    resumed: Path | None,
    moved: str | None,
    start: Path | str | None,
    keep_classes: bool,
    group: str | None,
    fold: str | None,
    taxonomy: Path | None,
    copies_file: Path | None,
    report: bool,
    index: bool,
    **_settings: object,
) -> None:
    """Train a model on DATA.

    DATA is a folder with one subfolder per class (flat, or in train/ val/ test/), a CSV manifest, the official folder
    of a public data set such as CUB-200-2011, 'synthetic', or another format of docs/own-data.md.
    Begin with `tlaam check DATA`.

    By default, the settings are chosen for this data on this machine. With --from, training starts from a trained
    model, for example for next season's photographs or one more class.
    """
    if (data is None) == (resumed is None):
        raise click.UsageError("give either DATA, to begin a run, or --resume RUN, to continue one.")
    if moved is not None and resumed is None:
        raise click.UsageError("--data says where the data of a run lies that --resume continues; give DATA alone.")
    if resumed is not None:
        given = [
            name
            for name in context.params
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            and name not in ("resumed", "moved", "report", "index")
        ]
        for name in given:
            if name not in MACHINE_OPTIONS:
                flag = "from" if name == "start" else name.replace("_", "-")
                raise click.UsageError(
                    f"--resume continues a run with the settings it has; --{flag} cannot be changed."
                )
        settings = settings_from(context)
        with waiting("loading PyTorch"):
            from tlaam.workflows.fit import fit_on

        changes = {name: getattr(settings.training, name) for name in given}
        if "devices" in given and settings.training.accelerator != "auto":  # `--devices mps` sets it, too
            changes["accelerator"] = settings.training.accelerator
        fitted = fit_on(resumed, source=moved, index=index, report=report, say=_said, **changes)
    else:
        if keep_classes and start is None:
            raise click.UsageError("--keep-classes keeps classes of the model that --from names; give --from too.")
        if taxonomy is not None and not index:
            raise click.UsageError("--taxonomy is kept in the reference index; leave --no-index out.")
        settings = settings_from(context)
        assert data is not None
        source = _source(data, group, fold, copies_file)
        with waiting("loading PyTorch"):
            from tlaam.workflows.fit import fit

        fitted = fit(
            source, out, settings, start=start, keep_classes=keep_classes,
            taxonomy=taxonomy, index=index, report=report, say=_said,
        )  # fmt: skip
    if fitted.first:  # of several processes that trained together, only one prints
        quoted = shlex.quote(str(fitted.run))
        click.echo(
            f"Next: tlaam evaluate {quoted} {'DATA' if data is None else shlex.quote(data)}, "
            f"or tlaam predict {quoted} IMAGES --overlays FOLDER"
        )


def _source(data: str, group: str | None, fold: str | None, copies_file: Path | None) -> str | LabelledImages:
    """Return the data set to train on, opened now so that its faults are reported before PyTorch is loaded.

    Its name is returned instead if it does not exist, which is reported later, after faults of the settings; or if
    several processes train together, of which one will open it.
    """
    plain = group is None and fold is None and copies_file is None
    if plain and (started_by_torchrun() or not Path(data).exists()):
        return data
    from tlaam.data.groups import with_rule
    from tlaam.data.open import open_dataset
    from tlaam.data.split_rule import parsed_fold, read_copies

    held_out = None if fold is None else parsed_fold(fold)
    images = open_dataset(data)
    if plain:
        return images
    known = images.rule if copies_file is None else read_copies(copies_file)
    return with_rule(images, group=group, fold=held_out, copies=known.copies, near=known.near)


def _said(line: str) -> None:
    click.echo(line, err=line.startswith("tlaam: "))
