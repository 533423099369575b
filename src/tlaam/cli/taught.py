"""What the commands that change a model's classes print about the new model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tlaam.cli.options import PATH
from tlaam.reference.file import index_file_of
from tlaam.utils.text import printable

if TYPE_CHECKING:
    from tlaam.teaching.known import Figures
    from tlaam.teaching.teach import Taught

out_option = click.option("--out", type=PATH, required=True, metavar="NEW.onnx", help="File to write.")


def say_taught(taught: Taught, name: str = "") -> None:
    """Print what was written, how often it is right, and what deserves a look, one line each.

    Args:
        taught: the model that was written.
        name: name of the new class.
    """
    for path, error in taught.unread:
        click.echo(f"tlaam: left out {printable(path)}: {printable(error)}", err=True)
    for path, known_as in taught.known_already[:5]:
        click.echo(
            f"tlaam: {printable(path)} is among what the model learnt from already, as '{printable(known_as)}'.",
            err=True,
        )
    if len(taught.known_already) > 5:
        click.echo(f"tlaam: and {len(taught.known_already) - 5} more.", err=True)
    if taught.alike is not None:
        label, count = taught.alike
        click.echo(
            f"tlaam: the model as it was is sure of {count} of the {taught.photographs} photographs, as "
            f"'{printable(label)}'. If that is what they show, '{printable(name)}' is no new class.",
            err=True,
        )
    click.echo(f"Model: {taught.file} ({len(taught.classes)} classes)")
    if (index := index_file_of(taught.file)).exists():
        click.echo(f"Reference index: {index}")
    if taught.figures is not None:
        for line in _lines(taught.figures, taught.photographs, name):
            click.echo(line)
    click.echo(f"Next: tlaam predict {printable(str(taught.file))} IMAGES")


def _lines(figures: Figures, photographs: int, name: str) -> list[str]:
    lines = []
    if name:
        lines.append(
            f"'{printable(name)}': of a single photograph nothing is known; give more."
            if figures.new is None
            else f"'{printable(name)}': {figures.new:.1%} of its {photographs} photographs are named right by "
            f"classifiers that had not seen them{_taken(figures)}."
        )
    if figures.old is not None and figures.old_before is not None:
        asked = f"{figures.images} validation images" if figures.were_held_out else f"{figures.images} training images"
        how = "" if figures.were_held_out else ", out of fold; that flatters where the network was fine-tuned on them"
        others = "The other classes" if name else "The classes"
        lines.append(f"{others}: {figures.old:.1%} named right, {figures.old_before:.1%} before ({asked}{how}).")
    return lines


def _taken(figures: Figures) -> str:
    taken = ", ".join(f"{count} for '{printable(label)}'" for label, count in figures.taken_for[:3])
    return f"; taken for another: {taken}" if taken else ""
