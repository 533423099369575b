"""Class folders inside archives, recognised by the paths of their images alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tlaam.data.class_depth import require_certain_names
from tlaam.data.left_out import left_out_note
from tlaam.data.names import clean_name, spelt_in_several_ways
from tlaam.data.rules import split_of
from tlaam.data.sample import SPLITS, Split
from tlaam.data.shards import Shard
from tlaam.data.tar_index import TarIndex
from tlaam.errors import DataError


class PackedImage(NamedTuple):
    """A labelled image in an archive.

    Attributes:
        split: its split.
        label: name of its class.
        name: name of its sample.
        shard: index of the archive.
        row: row in the archive's index.
    """

    split: Split
    label: str
    name: str
    shard: int
    row: int


class Packed(NamedTuple):
    """The labelled images of a data set, in order, and notes on the others."""

    images: list[PackedImage]
    notes: list[str]


class _Path(NamedTuple):
    text: str
    shard: int
    row: int


def by_class_folder(
    root: Path, shards: Sequence[Shard], indexes: Sequence[TarIndex], images: Sequence[Sequence[int]], depth: int | None
) -> Packed:
    """Return images with their folder names as classes, in the order of `tlaam.data.folder.read_folder`.

    Args:
        root: root of the data set, for messages.
        shards: the archives.
        indexes: indexes of the archives.
        images: for each archive, the rows of its images.
        depth: depth of the class folders; None: directly below, if that is unambiguous.

    Raises:
        DataError: it is unclear which folders are classes or splits.
    """
    paths = [_Path(indexes[n].names[row], n, row) for n, rows in enumerate(images) for row in rows]
    notes: list[str] = []
    while around := _folder_around(paths):
        paths = [_Path(path.text[len(around) + 1 :], path.shard, path.row) for path in paths]
        notes.append(f"The folder '{around}' around all images of '{root}' does not count.")
    splits = _split_folders(root, paths, notes)
    groups: defaultdict[tuple[Split, str], list[_Path]] = defaultdict(list)
    inside: defaultdict[str, set[str]] = defaultdict(set)
    plain: set[str] = set()
    loose = 0
    for path in paths:
        top, _, rest = path.text.partition("/") if splits else ("", "", path.text)
        inner = splits.get(top)
        if splits and inner is None:
            continue  # already noted
        home, slash, rest = rest.partition("/")
        for _ in range((depth or 1) - 1):
            deeper, slash, rest = rest.partition("/")
            home = f"{home}/{deeper}"
        if not slash:
            loose += 1
            continue
        split = _one_split(shards[path.shard], inner)
        groups[split, f"{top}/{home}" if top else home].append(path)
        if "/" in rest:
            inside[home].add(rest.partition("/")[0])
        else:
            plain.add(home)
    if loose:
        are = "1 image that lies" if loose == 1 else f"{loose:,} images that lie"
        notes.append(f"Left out: {are} in no class folder of '{root}'.")
    if not groups:
        raise DataError(
            f"'{root}' holds images without labels: neither class folders nor files such as 1.cls beside 1.jpg. Pack "
            "the images in one folder for each class."
        )
    if depth is None:
        require_certain_names(root, plain, inside)
    others = [
        name.rpartition("/")[2]
        for n, index in enumerate(indexes)
        for name in (
            set(index.names) - {index.names[row] for row in images[n]} if len(index.names) > len(images[n]) else ()
        )
    ]
    notes += [note for note in [left_out_note(others, root)] if note]
    paths.clear()
    return Packed(_in_order(root, shards, groups, notes), notes)


def _in_order(
    root: Path, shards: Sequence[Shard], groups: dict[tuple[Split, str], list[_Path]], notes: list[str]
) -> list[PackedImage]:
    found: list[PackedImage] = []
    is_one = root.is_file()
    spellings = spelt_in_several_ways({home.rpartition("/")[2] for _, home in groups})
    for name, ways in spellings.items():
        notes.append(f"Class '{name}' has its images in folders of {len(ways)} spellings: {', '.join(ways)}.")
    for split, home in sorted(groups, key=lambda group: (SPLITS.index(group[0]), group[1])):
        label = clean_name(home.rpartition("/")[2])
        for text, shard, row in sorted(groups.pop((split, home))):  # may be millions: never two lists of all at once
            name = text if is_one else f"{shards[shard].name}/{text}"
            found.append(PackedImage(split, label, name, shard, row))
    return found


def _folder_around(paths: Sequence[_Path]) -> str:
    """Return the folder in which all images lie, if it is neither a class nor a split; else an empty string."""
    around = paths[0].text.partition("/")[0]
    if split_of(around) is not None:
        return ""
    start = f"{around}/"
    is_around = all(path.text.startswith(start) and "/" in path.text[len(start) :] for path in paths)
    return around if is_around else ""


def _split_folders(root: Path, paths: Sequence[_Path], notes: list[str]) -> dict[str, Split]:
    """Return the folders that are splits, by name; empty if the folders are classes."""
    tops: defaultdict[str, int] = defaultdict(int)
    loose: set[str] = set()
    for path in paths:
        top, slash, rest = path.text.partition("/")
        if slash:
            tops[top] += 1
            if "/" not in rest:
                loose.add(top)
    named = {top: split for top in tops if (split := split_of(top)) is not None}
    is_certain = "train" in named.values() if len(named) < len(tops) else bool(named)
    if not is_certain or named.keys() <= loose:
        return {}
    if doubled := next((split for split in named.values() if list(named.values()).count(split) > 1), None):
        raise DataError(f"'{root}' holds several folders that name the {doubled} split. Keep one of them.")
    for top in sorted(tops):
        if top in named and top in loose and named[top] == "test":
            notes.append(f"Left out: folder '{top}' of '{root}' with {tops[top]:,} images: unlabelled.")
            named.pop(top)
        elif top in loose and top in named:
            raise DataError(f"Images lie in the split folder '{top}' of '{root}' itself. Put them in class folders.")
        elif top not in named:
            notes.append(
                f"Left out: folder '{top}' of '{root}' with {tops[top]:,} images: it is neither a split nor below one."
            )
    return named


def _one_split(shard: Shard, inside: Split | None) -> Split:
    if shard.split is not None and inside is not None and shard.split != inside:
        raise DataError(
            f"'{shard.path}' is {shard.split} by its name, but holds a folder {inside}. Rename one of them."
        )
    return inside or shard.split or "train"


__all__ = ["Packed", "PackedImage", "by_class_folder"]
