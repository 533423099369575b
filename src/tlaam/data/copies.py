"""Images with identical pixels, found before splits are cut, so that no image has its copy in another split."""

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
"""Training images above which only identical files are found: decoding more of them takes longer than it is worth."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total."""

_Key = TypeVar("_Key", bound=Hashable)
_BATCH = 256  # images handed to the threads at a time: an interrupt waits for one batch at most
_SIDE = 64
_PIECE = 4096
_JPEG = b"\xff\xd8\xff"


def with_copies(images: LabelledImages, progress: Progress | None = None) -> LabelledImages:
    """Return `images` with the copies and near copies of its training images in its rule, unless already searched for.

    Near copies are searched for only if there are at most `DECODED` training images.

    Args:
        images: the data set.
        progress: called after every training image, once for copies and once for near copies.
    """
    if images.rule.copies is not None:
        return images
    train = images.split("train")
    copies = _named(find_copies(train, progress))
    near = () if len(train) > DECODED else _named(find_near_copies(train, progress))
    near = tuple(alike for alike in near if not any(set(alike) <= set(equal) for equal in copies))
    return replace(images, rule=replace(images.rule, copies=copies, near=near))


def find_near_copies(samples: Sequence[Sample], progress: Progress | None = None) -> list[list[Sample]]:
    """Return the sets of near copies (`tlaam.data.near_copies`), each of at least two images."""
    pairs = [match[:2] for match in near_copies(small_greys(samples, progress))]
    return [[samples[place] for place in members] for members in sets_of(len(samples), pairs)]


def _named(sets: Sequence[Sequence[Sample]]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(sorted(name_checksum(sample.name) for sample in alike)) for alike in sets))


def contradictions(images: LabelledImages) -> str:
    """Return a note on pictures that lie under several classes, as far as copies are known, or an empty string."""
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
    """Return the sets of images with identical pixels, each of at least two.

    Up to `DECODED` images are compared by their decoded pixels, whatever their files. Images whose headers give the
    same width and height are decoded. JPEG files are first compared with one another at a reduced size, which is equal
    if all pixels are; only those that agree are decoded in full. Of more images, only files that are equal byte for
    byte are found: files of the same size are compared by a piece from their middle, then by the checksum of the whole
    file. Images that cannot be read have no copy.

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
    """Divide sets of images by a key that equal images share, and return the parts of at least two images."""
    return [bucket for each in sets for bucket in _buckets(each, key, note).values() if len(bucket) > 1]


def _buckets(
    samples: Sequence[Sample], key: Callable[[Sample], _Key | None], note: Callable[[int], None] | None = None
) -> dict[_Key, list[Sample]]:
    """Group images by a key that is computed in threads; images without a key are left out."""
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
        return piece_of(sample.source, 0, len(_JPEG)) == _JPEG and sample.is_whole  # others are cut at full size
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
    """Return a file's size, which part of it is the picture, and a piece from its middle."""
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
