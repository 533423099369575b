"""Images of the same pixels, found before splits are cut, so that none is known from its copy on the other side."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from tlaam.data.container import Member, piece_of, size_of
from tlaam.data.images import ImageError
from tlaam.data.near_copies import near_copies, sets_of, small_greys
from tlaam.data.sample import LabelledImages, Sample, Window
from tlaam.data.split_rule import name_checksum
from tlaam.utils.checksums import checksum, file_checksum
from tlaam.utils.text import printable

DECODED = 20_000
"""Training images above which only equal files are found: to decode more of them takes longer than it is worth."""

Progress = Callable[[int, int], None]
"""Called with the images done and their total."""

_Key = TypeVar("_Key", bound=Hashable)
_BATCH = 256  # so many are handed to the threads at a time: an interrupt waits for no more
_SIDE = 64
_PIECE = 4096
_JPEG = b"\xff\xd8\xff"


def with_copies(images: LabelledImages, progress: Progress | None = None) -> LabelledImages:
    """Return `images` with copies and near copies among its training images in its rule, unless they were looked for.

    Near copies are looked for among up to `DECODED` images.

    Args:
        images: the data set.
        progress: called after every training image, once for copies and once for near ones.
    """
    if images.rule.copies is not None:
        return images
    train = images.split("train")
    copies = _named(find_copies(train, progress))
    near = () if len(train) > DECODED else _named(find_near_copies(train, progress))
    near = tuple(alike for alike in near if not any(set(alike) <= set(equal) for equal in copies))
    return replace(images, rule=replace(images.rule, copies=copies, near=near))


def find_near_copies(samples: Sequence[Sample], progress: Progress | None = None) -> list[list[Sample]]:
    """Return the sets of images that near copies join, each of at least two (`tlaam.data.near_copies`)."""
    pairs = [match[:2] for match in near_copies(small_greys(samples, progress))]
    return [[samples[place] for place in members] for members in sets_of(len(samples), pairs)]


def _named(sets: Sequence[Sequence[Sample]]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(sorted(name_checksum(sample.name) for sample in alike)) for alike in sets))


def contradictions(images: LabelledImages) -> str:
    """Say how many pictures lie under several classes, as far as copies were looked for; an empty text for none."""
    if not images.rule.copies:
        return ""
    labels = {name_checksum(sample.name): (sample.label, sample.name) for sample in images.samples}
    found = [[labels[name] for name in equal if name in labels] for equal in images.rule.copies]
    doubtful = [sorted(members) for members in found if len({label for label, _ in members}) > 1]
    if not doubtful:
        return ""
    pictures = "1 picture lies" if len(doubtful) == 1 else f"{len(doubtful):,} pictures lie"
    return (
        f"{pictures} under several classes, such as '{printable(doubtful[0][0][1])}' and "
        f"'{printable(doubtful[0][-1][1])}': only one label can be right. tlaam check names them all."
    )


def find_copies(samples: Sequence[Sample], progress: Progress | None = None) -> list[list[Sample]]:
    """Return the sets of images that show the same pixels, each of at least two.

    Up to `DECODED` images they are compared as they are decoded, whatever their files: those of one width and height
    by their header are decoded, JPEG files among themselves at a reduced size first, which is the same where all pixels
    are, and only those that agree in full. Of more images only files that are equal byte for byte are found: those of
    one size by a piece from their middle first, then by the checksum of all. Images that cannot be read have no copy.

    Args:
        samples: the images.
        progress: called after every image.
    """
    if len(samples) > DECODED:
        return _narrowed(_narrowed([list(samples)], _of_file), _of_content)
    found: list[list[Sample]] = []
    done = 0

    def note(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(samples))

    for bucket in _buckets(samples, _of_header).values():
        if len(bucket) > 1:
            only_jpeg = all(map(_is_jpeg, bucket))
            alike = _narrowed([bucket], _reduced_pixels, note) if only_jpeg else [bucket]
            found += _narrowed(alike, _pixels, None if only_jpeg else note)
        else:
            note(1)
    return found


def _narrowed(
    sets: Iterable[Sequence[Sample]], key: Callable[[Sample], _Key | None], note: Callable[[int], None] | None = None
) -> list[list[Sample]]:
    """Return what is left of sets of images that may be equal, by something that equal ones have in common."""
    return [bucket for each in sets for bucket in _buckets(each, key, note).values() if len(bucket) > 1]


def _buckets(
    samples: Sequence[Sample], key: Callable[[Sample], _Key | None], note: Callable[[int], None] | None = None
) -> dict[_Key, list[Sample]]:
    """Return images by a key that is found in threads; those without one are left out."""
    found: defaultdict[_Key, list[Sample]] = defaultdict(list)
    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        for start in range(0, len(samples), _BATCH):
            batch = samples[start : start + _BATCH]
            for sample, value in zip(batch, pool.map(key, batch), strict=True):
                if value is not None:
                    found[value].append(sample)
                if note is not None:
                    note(1)
    return found


def _of_header(sample: Sample) -> tuple[int, int] | None:
    try:
        return sample.picture_size()
    except ImageError:
        return None


def _is_jpeg(sample: Sample) -> bool:
    try:
        return piece_of(sample.source, 0, len(_JPEG)) == _JPEG and sample.is_whole  # what is not is cut at full size
    except OSError:
        return False


def _reduced_pixels(sample: Sample) -> str | None:
    return _digest(sample, _SIDE)


def _pixels(sample: Sample) -> str | None:
    return _digest(sample, None)


def _digest(sample: Sample, max_side: int | None) -> str | None:
    try:
        image = sample.picture(max_side)
    except ImageError:
        return None
    return checksum(repr(image.size).encode(), image.tobytes())


def _of_file(sample: Sample) -> tuple[int, int, Window | None, bytes] | None:
    """Return a file's size, what of it is the picture, and a piece from its middle."""
    try:
        source = sample.source
        size = size_of(source)
        return size, sample.banner, sample.window, piece_of(source, size // 2, _PIECE)
    except OSError:
        return None


def _of_content(sample: Sample) -> str | None:
    try:
        source = sample.source
        return checksum(source.read()) if isinstance(source, Member) else file_checksum(source)
    except OSError:
        return None


__all__ = ["DECODED", "contradictions", "find_copies", "find_near_copies", "with_copies"]
