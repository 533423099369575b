"""Pseudo masks on disk, and which sample each mask belongs to."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlaam.data.sample import Sample
from tlaam.errors import RunError
from tlaam.utils.checksums import TRAILER_SIZE, trailer
from tlaam.utils.reading import require_regular

MASK_SIZE = 64
"""Side of a stored mask in cells."""


@dataclass(frozen=True)
class PseudoMasks:
    """Memory-mapped masks of a sequence of samples: ``masks[i]`` is that of sample i.

    Attributes:
        array: uint8 ``(N, 64, 64)``, 255 where foreground, in the order of the names.
        places: index of each sample's mask in `array`, ``(N,)``.
    """

    array: NDArray[np.uint8]
    places: NDArray[np.int64]

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return the mask of one sample, uint8 ``(64, 64)``."""
        mask: NDArray[np.uint8] = np.array(self.array[self.places[index]])
        return mask


def read_pseudo_masks(path: Path, samples: Sequence[Sample]) -> PseudoMasks:
    """Open the file of `write_pseudo_masks` for the same samples, in any order.

    Raises:
        RunError: it is missing, damaged, or has another number of images.
    """
    try:
        require_regular(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy's reader raises many kinds of errors for damaged headers
        fault = " ".join(str(error).split())[:200]
        raise RunError(f"{path} cannot be read ({fault}); begin a new run, which makes it anew.") from error
    if not isinstance(array, np.ndarray):
        raise RunError(f"{path} is an archive of arrays, not masks; begin a new run.")
    if array.shape != (len(samples), MASK_SIZE, MASK_SIZE) or array.dtype != np.uint8:
        raise RunError(
            f"{path} holds {array.dtype} {array.shape}, not masks of {len(samples)} images; begin a new run."
        )
    if not _is_intact(path, array):
        raise RunError(
            f"{path} is damaged: its checksum does not fit its content; begin a new run, which makes it anew."
        )
    places = np.empty(len(samples), dtype=np.int64)
    places[sorted(range(len(samples)), key=lambda index: samples[index].name)] = np.arange(len(samples))
    return PseudoMasks(array, places)


def _is_intact(path: Path, array: NDArray[np.uint8]) -> bool:
    """Return whether the checksum after the masks matches them; files of older versions end with the last mask."""
    end = getattr(array, "offset", 0) + array.nbytes
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size == end:
            return True
        if size != end + TRAILER_SIZE:
            return False
        stream.seek(0)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as held:
            return bytes(held[end:]) == trailer(held[:end])
