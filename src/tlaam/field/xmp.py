"""Keywords in XMP sidecars beside photographs; everything that other programs wrote is kept byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tlaam.errors import DataError
from tlaam.field.answer import Answer
from tlaam.field.filing import heading_of
from tlaam.field.xmp_edit import with_keywords
from tlaam.utils.atomic import write_atomically
from tlaam.utils.reading import require_regular
from tlaam.utils.text import valid_text

Naming = Literal["stem", "full"]
"""``stem``: photo.xmp, as in Lightroom and Adobe Bridge; ``full``: photo.jpg.xmp, as in digiKam and darktable."""

ROOT = "tlaam"
LARGEST = 1 << 24
"""Maximum size of a sidecar in bytes."""


def sidecar_of(photo: Path, naming: Naming) -> Path:
    """Return the path of a photograph's sidecar, existing or new; an existing file with suffix .XMP is found, too."""
    start = photo.stem if naming == "stem" else photo.name
    usual, loud = photo.with_name(f"{start}.xmp"), photo.with_name(f"{start}.XMP")
    return loud if not usual.exists() and loud.exists() else usual


def keywords_of(answer: Answer, root: str = ROOT) -> tuple[list[str], list[str]]:
    """Return flat and hierarchical keywords, with levels separated by ``|``; empty if there is no answer.

    Names without a reserve (`tlaam.field.filing`) are placed directly below the root or, with a taxonomy, below their
    taxa; others below their reserve, such as ``unsure``. A ``stranger`` gets no name.

    Examples:
        >>> from tlaam.field.answer import FoundObject
        >>> keywords_of(Answer("a.jpg", (FoundObject((("jay", 0.9),)),), "unsure"))
        (['jay'], ['tlaam|unsure|jay'])
    """
    flat: list[str] = []
    deep: list[str] = []
    for found in answer.objects:
        heading = heading_of(answer, found)
        names = [heading.reserve, *heading.above, heading.name]
        levels = [_level(name) for name in (root, *names) if name]
        flat.append(levels[-1])
        deep.append("|".join(levels))
    return list(dict.fromkeys(flat)), list(dict.fromkeys(deep))


def write_sidecar(sidecar: Path, flat: Sequence[str], deep: Sequence[str], *, based_on: Path | None = None) -> bool:
    """Add keywords to a sidecar, or write a new one; the file is written atomically.

    Args:
        sidecar: the file.
        flat, deep: keywords for ``dc:subject`` and ``lr:hierarchicalSubject``.
        based_on: a sidecar elsewhere whose content a new one starts from.

    Returns:
        Whether the file was written; False if it already has all keywords.

    Raises:
        DataError: an existing sidecar cannot be parsed; it is left as it is.
        OSError: the file cannot be read or written.
    """
    source = next((path for path in (sidecar, based_on) if path is not None and path.exists()), None)
    before = None
    if source is not None:
        require_regular(source, LARGEST)
        before = source.read_bytes()
    try:
        after = with_keywords(before, flat, deep)
    except DataError as error:
        raise DataError(f"{source} is left as it is: {error}") from error
    if after == before and source == sidecar:
        return False
    sidecar.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(sidecar.resolve(), after)
    return True


def _level(name: str) -> str:
    """Return a name as one level of a keyword: XML forbids control characters, and ``|`` separates levels."""
    text = valid_text(name).replace("|", "_")
    text = "".join(c if c >= " " and c not in "\x7f\ufffe\uffff" else " " for c in text)
    return " ".join(text.split()) or "_"
