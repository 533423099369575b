"""Options for how many objects of a photograph are named, and for given boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from tlaam.cli.options import PATH
from tlaam.errors import DataError

if TYPE_CHECKING:
    from tlaam.inference.engine import Engine

Command = TypeVar("Command", bound=Callable[..., Any])


class _Count(click.ParamType):  # type: ignore[type-arg]  # older versions have none
    """``all``, or a whole number above 0."""

    name = "all|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all" or isinstance(value, int):
            return value
        if not str(value).isdecimal() or not 0 < int(value) < 1 << 31:
            self.fail(f"'{value}' is neither 'all' nor a whole number above 0.", param, ctx)
        return int(value)


def objects_option(command: Command) -> Command:
    """Give a command ``--objects``."""
    return click.option(
        "--objects", type=_Count(),
        help="Name each object that is large and certain enough, at most N; without any, answer 'nothing found'.",
    )(command)  # fmt: skip


def objects_options(command: Command) -> Command:
    """Give a command ``--objects``, ``--boxes`` and ``--boxes-confidence``."""
    options: tuple[Callable[[Command], Command], ...] = (
        objects_option,
        click.option(
            "--boxes", type=PATH, metavar="FILE",
            help="Name what is in these boxes: MegaDetector's JSON, COCO, a folder of YOLO text files, or CSV.",
        ),
        click.option(
            "--boxes-confidence", "least_confidence", type=click.FloatRange(0, 1), metavar="SHARE",
            help="Ignore boxes below this confidence; boxes without a confidence count.  [default: 0.2]",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Looking:
    """The values of these options."""

    objects: Literal["all"] | int | None = None
    boxes: Path | None = None
    least: float | None = None

    def give(self, engine: Engine, inputs: Sequence[str]) -> None:
        """Apply the options to an engine.

        Raises:
            DataError: the file of boxes names none of the images, such as that of another memory card.
            TlaamError: see `tlaam.inference.looking.look_for`.
        """
        from tlaam.inference.inputs import iter_images
        from tlaam.inference.looking import look_for

        look_for(engine, self.objects, boxes=self.boxes, least=self.least)
        if engine.boxes is not None and not any(map(engine.boxes.names, iter_images(inputs))):
            raise DataError(f"'{self.boxes}' names none of these images; their paths must end as those in it do.")

    def as_arguments(self) -> list[str]:
        """Return the options as command-line arguments."""
        given = {"--objects": self.objects, "--boxes": self.boxes, "--boxes-confidence": self.least}
        return [text for name, value in given.items() if value is not None for text in (name, str(value))]


__all__ = ["Looking", "objects_option", "objects_options"]
