"""The reference index: training images as a model sees them, to show those most similar to a new one. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tlaam.data.images import require_jpeg
from tlaam.errors import DataError, ModelError
from tlaam.reference.ood_detector import OODDetector
from tlaam.reference.pooled import PooledFeatures
from tlaam.reference.similarity import Floats, cosines, unit
from tlaam.reference.thumbnail import MAX_THUMBNAIL_SIDE
from tlaam.taxonomy.shares import HeldOutAnswers
from tlaam.taxonomy.tree import Taxonomy

PER_CLASS = 30
MAX_IMAGES = 6000
"""Limits of an index that a run writes: images per class, and images in all."""


@dataclass(frozen=True)
class LookAlike:
    """A training image that looks like the image asked about.

    Attributes:
        label: its class.
        similarity: cosine of the two embeddings.
        name: its path relative to the data.
        thumbnail: a small JPEG file; None if the index holds none.
    """

    label: str
    similarity: float
    name: str
    thumbnail: bytes | None = field(repr=False)


@dataclass(frozen=True)
class ReferenceIndex:
    """Training images as a model sees them, with the detector of out-of-distribution images.

    Attributes:
        detector: detects out-of-distribution images.
        classes: class names, in index order.
        embeddings: embeddings of N images, each of length 1, ``(N, E)``.
        labels: class index of each image, ``(N,)``.
        names: path of each image relative to the data.
        thumbnails: a small JPEG file per image, or empty.
        held_out: what the model answered for held-out images, which a promise is based on; None for a model that held
            none out.
        taxonomy: the taxonomy of the classes; None if the model was trained without one.
        pooled: features of the images' branches, which are needed to teach the model a class (`tlaam.teaching`); None
            if the index was written without them.
        digest: digest of the file that it was read from; empty if it was not read from one.
    """

    detector: OODDetector
    classes: tuple[str, ...] = field(repr=False)
    embeddings: NDArray[np.float16] = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    thumbnails: tuple[bytes, ...] = field(default=(), repr=False)
    held_out: HeldOutAnswers | None = field(default=None, repr=False)
    taxonomy: Taxonomy | None = field(default=None, repr=False)
    pooled: PooledFeatures | None = field(default=None, repr=False)
    digest: str = ""

    def similarity(self, embedding: Floats) -> float:
        """Return `OODDetector.similarity` of one image's embedding ``(E,)``."""
        return float(self.detector.similarity(embedding[None])[0])

    def nearest(self, embedding: Floats, k: int = 5) -> list[LookAlike]:
        """Return the k images whose embeddings are nearest to one embedding ``(E,)``, the nearest first.

        Raises:
            ModelError: the embedding belongs to another model, or a thumbnail is not a small JPEG file.
        """
        if not len(self.embeddings):
            return []
        similarities = cosines(embedding[None], self._directions)[0]
        order = np.argsort(-similarities, kind="stable")[:k]
        return [
            LookAlike(self.classes[self.labels[i]], float(similarities[i]), self.names[i], self._thumbnail(int(i)))
            for i in order
        ]

    def without_images(self) -> ReferenceIndex:
        """Return only what the detector needs: no thumbnails, no file names, and no embeddings of single images."""
        return replace(
            self, embeddings=self.embeddings[:0], labels=self.labels[:0], names=(), thumbnails=(), pooled=None,
            digest="",
        )  # fmt: skip

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return unit(self.embeddings)

    def _thumbnail(self, index: int) -> bytes | None:
        if not self.thumbnails:
            return None
        content = self.thumbnails[index]
        try:
            require_jpeg(content, MAX_THUMBNAIL_SIDE)
        except DataError as error:
            raise ModelError(
                f"the reference index's picture of {self.names[index]} cannot be shown: {error}"
            ) from error
        return content
