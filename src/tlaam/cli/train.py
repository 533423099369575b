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
@click.option("--resume", "resumed", type=PATH, metavar="RUN", help="Continue this run, with its settings.")
@moved_option
@click.option(
    "--from",
    "start",
    type=MODEL,
    metavar="RUN",
    help="Start from this trained model: its weights and settings, and its classifiers' rows of the classes that both "
    "have. A run folder, a published model's folder or its model.safetensors, or hf://owner/name.",
)
@click.option(
    "--keep-classes",
    is_flag=True,
    help="With --from: classes of RUN that DATA has no images of stay answers, though this training never sees them.",
)
@click.option(
    "--group",
    metavar="REGEX",
    help="Images in whose paths it finds the same (its first capture group, or all it matches) stay on one side of "
    "every split that is cut, e.g. '[^/]*(?=_\\d+\\.jpg)'. Copies do in any case, and a manifest's column group.",
)
@click.option(
    "--fold",
    metavar="NUMBER/COUNT",
    help="Hold out this fold of the training images as test split, e.g. 2/5, in place of the one that DATA has.",
)
@click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} Kept in the model.")
@click.option("--copies", "copies_file", type=PATH, hidden=True)
@click.option("--report/--no-report", default=True, help="Write RUN/report.html at the end. [yes]")
@click.option(
    "--index/--no-index", " /--no-gallery", "index", default=True,
    help="Write the reference index RUN/gallery.npz at the end: look-alikes, out-of-distribution images. [yes]",
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
    """Train on DATA: class folders (flat, or train/ val/ test/), a CSV manifest, the official folder of a public data
    set such as CUB-200-2011, or 'synthetic'.

    With nothing else it does what suits that data on this machine. Begin with `tlaam check DATA`. With --from it
    starts from a trained model: of next season's photographs, say, or of one class more.
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
        from tlaam.workflows.fit import fit_on

        changes = {name: getattr(settings.training, name) for name in given}
        if "devices" in given and settings.training.accelerator != "auto":  # which `--devices mps` says, too
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
        from tlaam.workflows.fit import fit

        fitted = fit(
            source, out, settings, start=start, keep_classes=keep_classes,
            taxonomy=taxonomy, index=index, report=report, say=_said,
        )  # fmt: skip
    if fitted.first:  # of several processes that trained together, one speaks
        quoted = shlex.quote(str(fitted.run))
        click.echo(
            f"Next: tlaam evaluate {quoted} {'DATA' if data is None else shlex.quote(data)}, "
            f"or tlaam predict {quoted} IMAGES --overlays FOLDER"
        )


def _source(data: str, group: str | None, fold: str | None, copies_file: Path | None) -> str | LabelledImages:
    """Return what is trained on: the data set itself, so that its faults are said before PyTorch is loaded.

    What is not there is said later, behind faults of the settings; of several processes that train together one is to
    open it: they get its name.
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
