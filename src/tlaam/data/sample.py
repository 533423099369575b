"""The type into which every source of labelled images is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.container import Source, absolute, path_of, source_of
from tlaam.data.depth import Depth
from tlaam.data.images import image_size, load_image, load_levels, reduced, unreadable
from tlaam.data.split_rule import SplitRule
from tlaam.utils.checksums import checksum_of

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

_PIECE = 4096

Box = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` in pixels of the image as it is decoded (EXIF orientation applied); x1 and y1 are exclusive."""

Point = tuple[float, float]
"""``(x, y)`` in the same pixels."""

Window = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)``: a part of an upright image, in its pixels; x1 and y1 are exclusive."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The file of an image's mask, and what its grey levels (or palette indices) mean.

    Attributes:
        path: the file; as large as the image, banner included.
        object: levels of the object's pixels.
        background: levels of background pixels. All other levels are unknown, and are never measured.
    """

    path: Path
    object: range
    background: range


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        file: where the image is stored, as a string, since a million `Path`s would take 0.3 GB more. For an image
            inside a container (`tlaam.data.container`), the container's path and the position in it.
        name: its stable name: the path relative to the data set's root, with forward slashes.
        label: index into `LabelledImages.classes`.
        split: the part of the data set it belongs to.
        box: the object's box in pixels of `picture`, if the source has one. Only ever used to *measure*.
        keypoints: positions of the object's visible parts, as the source gives them; empty if none is visible, None if
            the source does not say. Only ever used to *measure*.
        banner: height in pixels of a strip at the bottom of the file that is not part of the picture, such as a
            copyright line. `picture`, `picture_size` and `mask_levels` cut it off; `box` and `keypoints` count from the
            top left, so they do not change.
        mask: which pixels are the object's, if the source says so. Only ever used to *measure*.
        group: images of one group stay on the same side of every split that is cut (`tlaam.data.groups`); None for an
            image that is a group of its own.
        depth: black and white levels of images of more than 8 bits whose files do not declare them, the same for all
            images of the data set (`tlaam.data.survey`); None if there are no such images, or no survey was made.
        window: the part of the image, without its banner, that is the picture: an image with several objects is a
            sample for each. What lies outside the image is cut off. None: the whole image.
    """

    file: str
    name: str
    label: int
    split: Split
    box: Box | None = None
    keypoints: tuple[Point, ...] | None = None
    banner: int = 0
    mask: Mask | None = None
    group: str | None = None
    depth: Depth | None = None
    window: Window | None = None

    @property
    def path(self) -> Path:
        """The image's file, or the container that holds it."""
        return path_of(self.file)

    @property
    def source(self) -> Source:
        """Where the image is stored, in the form that readers take."""
        return source_of(self.file, self.name)

    @property
    def pixels(self) -> tuple[str, int]:
        """What determines the picture: the file's absolute path, and the number of rows cut off at its bottom.

        The path is followed by the black and white levels and the window, if the sample has them.
        """
        path = absolute(self.file)
        path = path if self.depth is None else f"{path}\0{self.depth.to_dict()}"
        return path if self.window is None else f"{path}\0{self.window}", self.banner

    def picture(self, max_side: int | None = None) -> Image.Image:
        """Decode the picture to upright 8-bit RGB, without its banner and what is outside its window.

        See `tlaam.data.images.load_image`.

        Args:
            max_side: maximum number of pixels of the longer side; a larger picture is reduced.

        Raises:
            ImageError: the file cannot be read as an image, is no higher than its banner, or lies outside the window.
        """
        if self.is_whole:
            return load_image(self.source, max_side=max_side, depth=self.depth)
        # Cut at full size: an edge is rarely at a whole pixel of an image decoded at a reduced size.
        image = load_image(self.source, depth=self.depth)
        return reduced(image.crop(self._shown(*image.size)), max_side)

    def picture_size(self) -> tuple[int, int]:
        """Return ``(width, height)`` of `picture` in pixels, reading only the file's header.

        Raises:
            ImageError: see `picture`, except that damage after the header goes unnoticed.
        """
        x0, y0, x1, y1 = self._shown(*image_size(self.source))
        return x1 - x0, y1 - y0

    def mask_levels(self) -> NDArray[np.uint8]:
        """Return the levels ``(H, W)`` of `mask`, which must not be None, at the picture's pixels.

        Raises:
            ImageError: the mask cannot be read, is no higher than the banner, or lies outside the window.
        """
        assert self.mask is not None
        levels = load_levels(self.mask.path)
        x0, y0, x1, y1 = self._shown(levels.shape[1], levels.shape[0])
        return levels[y0:y1, x0:x1]

    @property
    def is_whole(self) -> bool:
        """Whether the picture is the whole image."""
        return not self.banner and self.window is None

    def _shown(self, width: int, rows: int) -> Window:
        """Return the part of an image of this size that is the picture."""
        if rows <= self.banner:
            raise unreadable(
                self.source, f"nothing is left of its {rows} rows of pixels without the banner of {self.banner}"
            )
        height = rows - self.banner
        if self.window is None:
            return 0, 0, width, height
        x0, y0, x1, y1 = self.window
        shown = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if shown[0] >= shown[2] or shown[1] >= shown[3]:
            at = ", ".join(map(str, self.window))
            raise unreadable(
                self.source, f"its part [{at}] lies outside its {width} x {height} pixels", "Correct the box."
            )
        return shown

    def box_in_picture(self, height: float) -> Box | None:
        """Return the box without the part that reaches into the banner.

        Args:
            height: height of the picture in pixels, without the banner.
        """
        if self.box is None:
            return None
        x0, y0, x1, y1 = self.box
        # Any other box that leaves the picture is faulty, which `tlaam.data.check` must see.
        return (x0, y0, x1, height) if y0 < height < y1 <= height + self.banner else self.box


@dataclass(frozen=True)
class LabelledImages:
    """A data set: its classes and its samples, in a fixed order.

    Attributes:
        name: its name in reports and default folder names.
        root: the folder or file it was read from.
        kind: the layout it was recognised as (``folder``, ``manifest``, ``parquet``, ``tar``, ``synthetic``; an
            annotation format: ``coco``, ``label-studio``, ``cvat``, ``class-csv``, ``yolo``; or an official one:
            ``cub``, ``nabirds``, ``aircraft``, ``cars``, ``pets``, ``dogs``, ``flowers``).
        classes: class names; `Sample.label` indexes them.
        samples: all samples of all splits.
        option: the option after the path, such as ``level=family`` in ``fgvc-aircraft-2013b:level=family``.
        rule: how splits are cut, beyond what the samples say (`tlaam.data.split.cut_splits`).
        is_cut: whether the splits have been cut, so that they are not cut again.
        notes: human-readable notes on what was left out or read under another spelling, one line each.
        several: names of images that show several objects with boxes, none of which is the image's box.
    """

    name: str
    root: Path
    kind: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...] = field(repr=False)
    option: str = ""
    rule: SplitRule = field(default_factory=SplitRule)
    is_cut: bool = False
    notes: tuple[str, ...] = ()
    several: frozenset[str] = field(default=frozenset(), repr=False)

    def split(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one split, in order."""
        return self._by_split.get(split, ())

    @cached_property
    def _by_split(self) -> dict[str, tuple[Sample, ...]]:
        found: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in self.samples:
            found[sample.split].append(sample)
        return {split: tuple(samples) for split, samples in found.items()}

    def with_samples(self, samples: Sequence[Sample]) -> LabelledImages:
        """Return the same data set with other samples."""
        return replace(self, samples=tuple(samples))

    @property
    def depth(self) -> Depth:
        """The black and white levels with which its samples are read if their files do not declare them."""
        return next((sample.depth for sample in self.samples if sample.depth is not None), Depth())

    def with_depth(self, depth: Depth) -> LabelledImages:
        """Return the same data set with images that are read at this depth; itself if that is its depth already."""
        if self.depth == depth:
            return self
        return self.with_samples([replace(sample, depth=depth or None) for sample in self.samples])

    def class_counts(self, split: Split | None = None) -> dict[str, int]:
        """Return the number of images of each class, in one split or in all."""
        counts = Counter(sample.label for sample in self.samples if split is None or sample.split == split)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    def without_groups(self) -> LabelledImages:
        """Return the data set without groups, as versions before groups read it; itself if it has none."""
        if all(sample.group is None for sample in self.samples):
            return self
        return self.with_samples([replace(sample, group=None) for sample in self.samples])

    def fingerprint(self) -> str:
        """Return a hash of class names and of every sample's name, label, split and group (not of the pixels)."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        samples = (
            f"{s.name}\0{s.label}\0{s.split}\0" if s.group is None else f"{s.name}\0{s.label}\0{s.split}\0{s.group}\0\0"
            for s in sorted(self.samples, key=attrgetter("name"))
        )
        texts = chain((f"{name}\0" for name in self.classes), samples)
        pieces = iter(lambda: "".join(islice(texts, _PIECE)), "")  # hashing one by one takes as long as all the rest
        return checksum_of(piece.encode("utf-8", "surrogateescape") for piece in pieces)
