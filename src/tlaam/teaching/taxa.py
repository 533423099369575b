"""Updating a taxonomy when classes are added, removed, renamed or merged."""

from __future__ import annotations

from dataclasses import replace

from tlaam.taxonomy.tree import Row, Taxonomy


def with_class(taxonomy: Taxonomy, name: str) -> Taxonomy:
    """Return the taxonomy with an additional class of which only the name is known.

    Examples:
        >>> crows = Taxonomy(("crow",), ("label", "genus"), (("crow", "Corvus"),))
        >>> with_class(crows, "wren").taxa
        (('crow', 'Corvus'), ('wren', ''))
    """
    row = (name, *[""] * (len(taxonomy.ranks) - 1))
    return replace(taxonomy, classes=(*taxonomy.classes, name), taxa=(*taxonomy.taxa, row))


def renamed(taxonomy: Taxonomy, old: str, new: str) -> Taxonomy:
    """Return the taxonomy with a class renamed; its taxa stay, except the deepest one if it equals the old name."""
    taxa = [
        (new, *row[1:]) if name == old and row[0] == old else row
        for name, row in zip(taxonomy.classes, taxonomy.taxa, strict=True)
    ]
    return replace(taxonomy, classes=tuple(new if name == old else name for name in taxonomy.classes), taxa=tuple(taxa))


def regrouped(taxonomy: Taxonomy, classes: tuple[str, ...], places: list[int | None]) -> Taxonomy:
    """Return the taxonomy for other classes; a merged class keeps the taxa that its members share.

    Args:
        taxonomy: the taxonomy of the previous classes.
        classes: the new classes.
        places: for each previous class, its index in `classes`; None for a class that is removed.
    """
    taxa = []
    for number, name in enumerate(classes):
        rows = [row for row, place in zip(taxonomy.taxa, places, strict=True) if place == number]
        taxa.append(rows[0] if len(rows) == 1 else _shared(rows, name))
    return Taxonomy(classes, taxonomy.ranks, tuple(taxa))


def _shared(rows: list[Row], name: str) -> Row:
    return (name, *(taxa[0] if len(set(taxa)) == 1 else "" for taxa in list(zip(*rows, strict=True))[1:]))
