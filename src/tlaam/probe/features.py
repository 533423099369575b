"""Pooled features of many images: in memory if they fit, otherwise in a temporary file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError

MEMORY_BYTES = 2 << 30
"""Features with more bytes go to a file."""


class FeatureStore:
    """Features ``(N, V, K)`` in float32, filled batch by batch in the images' order.

    If the system allows it (Linux, macOS), the file has no name in its folder, so nothing of it is left however the
    process ends, even if it is killed; elsewhere it is deleted with the store. Its space is reserved first, so that too
    small a disk is an immediate error and not a later crash. The space is released when the store is closed and no view
    of `array` is left.

    Examples:
        >>> with FeatureStore(3, 1, 2) as store:
        ...     store.append(np.zeros((2, 1, 2)))
        ...     store.append(np.ones((1, 1, 2)))
        ...     store.array.sum(axis=(1, 2)).tolist()
        [0.0, 0.0, 2.0]
    """

    def __init__(self, images: int, views: int, features: int, folder: str | os.PathLike[str] | None = None) -> None:
        """Allocate space for N images with V views of K features.

        Args:
            images: N.
            views: V.
            features: K.
            folder: folder of the file, if one is needed; by default the system's folder for temporary files.

        Raises:
            DataError: the folder has no room or cannot be written to.
        """
        shape = (images, views, features)
        size = 4 * images * views * features
        self._file: IO[bytes] | None = None
        self._filled = 0
        self._array: NDArray[np.float32] | None
        if size <= MEMORY_BYTES:
            self._array = np.empty(shape, dtype=np.float32)
            return
        place = Path(tempfile.gettempdir() if folder is None else folder)
        try:
            self._file = tempfile.TemporaryFile(dir=place, prefix="tlaam-features-")  # noqa: SIM115  # until `close`
            _reserve(self._file, size)
            self._array = np.memmap(self._file, dtype=np.float32, mode="r+", shape=shape)
        except OSError as error:
            self.close()
            raise DataError(
                f"features of {images} images take {size / 1e9:.1f} GB, for which {place} has no room: {error}. "
                "Free some, or choose another folder."
            ) from error

    @property
    def on_disk(self) -> bool:
        """Whether the features are in a file."""
        return self._file is not None

    @property
    def array(self) -> NDArray[np.float32]:
        """All features ``(N, V, K)``; reshaped to ``(N, V·K)`` or ``(N·V, K)`` it is the same memory.

        Raises:
            DataError: features of some images are still missing, or the store is closed.
        """
        if self._array is None or self._filled != len(self._array):
            state = "is closed" if self._array is None else f"holds {self._filled} of {len(self._array)} images"
            raise DataError(f"the store of features {state}; features of all images are needed.")
        return self._array

    def append(self, features: NDArray[np.floating[Any]]) -> None:
        """Add the next images' features ``(B, V, K)``.

        Raises:
            DataError: they have another shape, or there are more images than fit.
        """
        if self._array is None:
            raise DataError("the store of features is closed.")
        end = self._filled + len(features)
        if features.shape[1:] != self._array.shape[1:] or end > len(self._array):
            raise DataError(
                f"features of shape {features.shape} do not fit: there is room for {len(self._array) - self._filled} "
                f"more images of shape {self._array.shape[1:]}."
            )
        self._array[self._filled : end] = features
        self._filled = end

    def close(self) -> None:
        """Release the features and the file; closing again does nothing."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reserve(file: IO[bytes], size: int) -> None:
    """Set the size of a file, and reserve its space on the disk if the system supports that.

    Writing through a memory map to a full disk ends the process (SIGBUS).
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
