"""A taxonomy whose classes change: one more, one fewer, another name, several in one."""

from __future__ import annotations

from dataclasses import replace

from tlaam.taxonomy.tree import Row, Taxonomy


def with_class(taxonomy: Taxonomy, name: str) -> Taxonomy:
    """Return it with a class of which nothing but its name is known.

    >>> crows = Taxonomy(("crow",), ("label", "genus"), (("crow", "Corvus"),))
    >>> with_class(crows, "wren").taxa
    (('crow', 'Corvus'), ('wren', ''))
    """
    row = (name, *[""] * (len(taxonomy.ranks) - 1))
    return replace(taxonomy, classes=(*taxonomy.classes, name), taxa=(*taxonomy.taxa, row))


def renamed(taxonomy: Taxonomy, old: str, new: str) -> Taxonomy:
    """Return it with a class under another name; its taxa stay, but for the deepest where that is its name."""
    taxa = [
        (new, *row[1:]) if name == old and row[0] == old else row
        for name, row in zip(taxonomy.classes, taxonomy.taxa, strict=True)
    ]
    return replace(taxonomy, classes=tuple(new if name == old else name for name in taxonomy.classes), taxa=tuple(taxa))


def regrouped(taxonomy: Taxonomy, classes: tuple[str, ...], places: list[int | None]) -> Taxonomy:
    """Return it under other classes: of one that several become, the taxa that these share.

    Args:
        taxonomy: of the classes as they were.
        classes: the new ones.
        places: of each class as it was, which of these it is; None for one that goes.
    """
    taxa = []
    for number, name in enumerate(classes):
        rows = [row for row, place in zip(taxonomy.taxa, places, strict=True) if place == number]
        taxa.append(rows[0] if len(rows) == 1 else _shared(rows, name))
    return Taxonomy(classes, taxonomy.ranks, tuple(taxa))


def _shared(rows: list[Row], name: str) -> Row:
    return (name, *(taxa[0] if len(set(taxa)) == 1 else "" for taxa in list(zip(*rows, strict=True))[1:]))
