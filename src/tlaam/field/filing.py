"""The heading under which an object is filed, in folders and as keywords: only what its answer vouches for."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tlaam.field.answer import Answer, FoundObject

Reserve = Literal["unsure", "stranger", "elsewhere"]
"""What an answer says about its own name: it is uncertain; the object resembles nothing in the training data; the
object is probably of a class that does not live where the photograph was taken."""


class Heading(NamedTuple):
    """A heading.

    Attributes:
        reserve: the reserve with which the name is given; None if there is none.
        name: the class, or with a promise the taxon at the deepest rank that is sure enough; empty if there is no
            answer.
        above: the taxa above it, coarsest first.
    """

    reserve: Reserve | None
    name: str = ""
    above: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The heading as one folder: the name, or the reserve if the answer does not vouch for a name."""
        return self.name if self.name and self.reserve in (None, "unsure") else f"_{self.reserve}"


def heading_of(answer: Answer, found: FoundObject) -> Heading:
    """Return the heading of one object.

    Examples:
        >>> heading_of(Answer("a.jpg"), FoundObject((("jay", 0.4),), verdict="unsure"))
        Heading(reserve='unsure', name='jay', above=())
        >>> crow = FoundObject((("carrion crow", 0.5),), "genus", taxon="Corvus", is_promised=True, verdict="unsure",
        ...                    lineage=(("genus", "Corvus"), ("family", "Corvidae")))
        >>> heading_of(Answer("a.jpg"), crow)
        Heading(reserve=None, name='Corvus', above=('Corvidae',))
    """
    verdict = answer.verdict_of(found)
    if verdict == "stranger":
        return Heading("stranger")
    if found.outside is not None:
        return Heading("elsewhere", found.outside[0])
    if not found.is_promised:
        return Heading("unsure" if verdict == "unsure" else None, found.label)
    if not found.rank:
        return Heading("unsure")
    *above, name = [taxon for _, taxon in reversed(found.lineage)]
    return Heading(None, name, tuple(above))
