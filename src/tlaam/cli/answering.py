"""Options for how a model answers: at which ranks, with which promise, and among which classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tlaam.cli.options import PATH
from tlaam.utils.text import printable

if TYPE_CHECKING:
    from tlaam.field.answer import Answer
    from tlaam.inference.engine import Engine
    from tlaam.inference.prediction import Prediction

Command = TypeVar("Command", bound=Callable[..., Any])

TAXONOMY = "Table of the classes' taxa: a column `label`, and a column for each rank, such as species, genus, family."
NAMES = ("taxonomy", "promise", "only", "prior")


def answering_options(command: Command) -> Command:
    """Give a command ``--taxonomy``, ``--promise``, ``--only`` and ``--prior``."""
    options = (
        click.option("--taxonomy", type=PATH, metavar="FILE.csv", help=f"{TAXONOMY} [the model's own, if any]"),
        click.option(
            "--promise",
            type=float,
            metavar="SHARE",
            help="Share of the answers that are to be right. Each answer is given at the deepest rank that is certain "
            "enough for this. [0.95 with a taxonomy]",
        ),
        click.option(
            "--only", type=PATH, metavar="FILE.txt",
            help="List of what lives where the images were taken: one class or taxon per line.",
        ),
        click.option(
            "--prior", type=PATH, metavar="FILE.csv",
            help="Table with columns `label` and `weight`: how common each class is where the images were taken, "
            "relative to how often it was seen in training.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def as_arguments(asked: Mapping[str, object]) -> list[str]:
    """Return the given options as command-line arguments."""
    return [text for name in NAMES if asked[name] is not None for text in (f"--{name}", str(asked[name]))]


class AnswerColumn:
    """The answers at ranks, in a column of the table and in a summary below it.

    Args:
        engine: the engine that answers.
    """

    def __init__(self, engine: Engine) -> None:
        self.answering = engine.answering if engine.answering and engine.answering.promise is not None else None
        self._ranks: Counter[str | None] = Counter()
        self._outside = _Outside()

    def texts(self) -> list[str]:
        """Return all possible texts of the column."""
        if self.answering is None:
            return []
        ranks, taxa = self.answering.taxonomy.ranks, self.answering.taxonomy.taxa
        return sorted({_cell(rank, taxon) for row in taxa for rank, taxon in zip(ranks, row, strict=True)})

    def cell(self, prediction: Prediction) -> str:
        """Return the text of a row."""
        return _cell(prediction.rank, prediction.taxon)

    def count(self, prediction: Prediction) -> None:
        """Count a prediction for the summary."""
        if prediction.answer is not None:
            self._ranks[prediction.rank] += 1
        if prediction.outside is not None:
            self._outside.count(prediction.outside)

    def lines(self) -> list[str]:
        """Return the lines of the summary."""
        found = []
        if self.answering is not None:
            depths = [f"{self._ranks[rank]} {printable(rank)}" for rank in self.answering.taxonomy.ranks]
            found.append(
                f"answered at {', '.join(depths)}; {self._ranks[None]} without an answer ({self.answering.said()})."
            )
        return [*found, *self._outside.lines("--json")]


def lines_on_answers(answers: Iterable[Answer]) -> list[str]:
    """Return the same summary of answers that were written to files, of the first object of each photograph."""
    ranks: Counter[str] = Counter()
    order: list[str] = []
    outside = _Outside()
    for answer in answers:
        for found in answer.objects[:1]:
            if found.is_promised:
                ranks[found.rank] += 1
                order = max(order, [rank for rank, _ in found.lineage], key=len)
            if found.outside is not None:
                outside.count(found.outside)
    if not ranks:
        return outside.lines("table and --json")
    depths = [f"{ranks[rank]} {printable(rank)}" for rank in dict.fromkeys([*order, *filter(None, ranks)])]
    answered = f"answered at {', '.join(depths)}; " if depths else ""
    return [f"{answered}{ranks['']} without an answer.", *outside.lines("table and --json")]


class _Outside:
    """How many images look like a class that does not live there, and the clearest of them."""

    def __init__(self) -> None:
        self._images = 0
        self._clearest: tuple[str, float] = ("", 0.0)

    def count(self, outside: tuple[str, float]) -> None:
        self._images += 1
        self._clearest = max(self._clearest, outside, key=lambda pair: pair[1])

    def lines(self, where: str) -> list[str]:
        if not self._images:
            return []
        label, share = self._clearest
        look = "1 image looks" if self._images == 1 else f"{self._images} images look"
        return [
            f"{look} like what does not live there, such as {printable(label)} with {share:.1%} ({where}: outside)."
        ]


def widest(texts: Iterable[str], heading: str, limit: int, columns: Callable[[str], int]) -> int:
    """Return the width of a column of texts under a heading."""
    return max(min(columns(printable(text)), limit) for text in (heading, *texts))


def _cell(rank: str | None, taxon: str | None) -> str:
    return "-" if rank is None else f"{printable(rank)} {printable(taxon or '')}"


__all__: Sequence[str] = [
    "NAMES",
    "TAXONOMY",
    "AnswerColumn",
    "answering_options",
    "as_arguments",
    "lines_on_answers",
    "widest",
]
