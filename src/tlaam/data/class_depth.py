"""The depth at which class folders lie: directly below a data set or split, or below folders that group classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from tlaam.data.names import clean_name
from tlaam.data.sample import Split
from tlaam.data.walk import holds_images, images_directly_in, visible_folders
from tlaam.errors import DataError

DEEPEST = 7
"""Number of folder levels at which classes can be requested: that of zoological ranks from kingdom to species."""

_DATE = re.compile(r"(19|20)\d\d([ _.-]?\d\d?){0,2}([ _T-].*)?|\d\d?|\d{3}[A-Z_]{5}")
_PLACES = frozenset(
    (
        *("images", "image", "img", "imgs", "photos", "pictures", "jpg", "jpeg", "png", "raw", "new", "old", "crops"),
        *("train", "val", "valid", "validation", "test", "male", "female", "adult", "juvenile", "good", "bad"),
    )
)


def option(depth: int) -> str:
    """Return the option, written after a path, that requests classes at a depth."""
    return f"depth={depth}"


def at_depth(folders: Sequence[tuple[Split, Path]], depth: int) -> list[tuple[Split, Path]]:
    """Return the folders at a depth; depth 1 is that of the given folders."""
    for _ in range(depth - 1):
        folders = [(split, inner) for split, folder in folders for inner in visible_folders(folder)]
    return list(folders)


def above_depth(folders: Sequence[tuple[Split, Path]], depth: int) -> Iterator[Path]:
    """Yield the folders above those of `at_depth`, from the given ones downwards."""
    for level in range(1, depth):
        yield from (folder for _, folder in at_depth(folders, level))


def require_certain(root: Path, folders: Sequence[tuple[Split, Path]]) -> None:
    """Check that class folders are not folders of classes, such as the orders that species belong to.

    They count as folders of classes if at least half of them hold no image but several folders with names (dates and
    generic names such as ``images`` are ignored), and at most half of these names occur in more than one of them.

    Raises:
        DataError: they are folders of classes; the message says how to choose.
    """
    inside: dict[str, set[str]] = {}
    plain = set()
    for _, folder in folders:
        if images_directly_in(folder):
            plain.add(folder.name)
        else:
            inside.setdefault(folder.name, set()).update(
                inner.name for inner in visible_folders(folder) if holds_images(inner)
            )
    require_certain_names(root, plain, inside)


def require_certain_names(root: Path, plain: Set[str], inside: Mapping[str, Set[str]]) -> None:
    """Check class folders as `require_certain` does, given what is in them.

    Args:
        root: root of the data set, for the message.
        plain: names of the class folders that hold images themselves.
        inside: for each of the others, the names of the image folders in it.

    Raises:
        DataError: see `require_certain`.
    """
    inside = {name: set(filter(_is_named, found)) for name, found in inside.items() if name not in plain}
    several = {name: found for name, found in inside.items() if len(found) > 1}
    uses = Counter(name for found in inside.values() for name in found)
    shared = sum(count > 1 for count in uses.values())
    if len(inside) + len(plain) < 2:
        return  # a single class is refused elsewhere, with a hint at what lies inside it
    if not several or len(several) * 2 < len(inside) + len(plain) or shared * 2 > len(uses):
        return
    outer = min(several)
    examples = ", ".join(f"'{clean_name(name)}'" for name in sorted(several[outer])[:2])
    raise DataError(
        f"The folders in '{root}' hold no images but folders with names, such as '{outer}' with {examples}. Write "
        f"'{root}:{option(1)}' if '{outer}' is a class, or '{root}:{option(2)}' if the {len(uses)} folders inside are "
        "the classes."
    )


def _is_named(name: str) -> bool:
    return _DATE.fullmatch(name) is None and name.lower() not in _PLACES


__all__ = ["DEEPEST", "above_depth", "at_depth", "option", "require_certain", "require_certain_names"]
