"""Decoded and resized images, cached on disk between epochs and runs, for training that is limited by decoding.

A folder holds ``<P>/canvases``, the input images one after the other, and ``<P>/index.jsonl``, with one line for each:
its file, that file's size and modification time, and checksums of the input image and of the line itself. Both files
only grow, and an input image is written before its line. So whenever a process is killed, the lines tell which images
are complete. A file that has changed since matches no line and gets a new one.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tlaam.data.container import size_of
from tlaam.data.input_image import load_for_input, to_input
from tlaam.data.sample import Sample
from tlaam.errors import DataError
from tlaam.utils.atomic import full_disk_named
from tlaam.utils.lock import locked

_AHEAD = 64


class _Key(NamedTuple):
    """The origin of an input image; another file, or another state of the file, has another key."""

    path: str
    bytes: int
    modified_ns: int
    cut_off: int


class _Place(NamedTuple):
    row: int
    width: int
    height: int
    checksum: int
    line: int = 0
    """Checksum of the line without this checksum."""


class InputCache:
    """Input images of side P by sample, read from a memory-mapped file.

    Args:
        folder: folder of the cache; created if missing, and may serve several data sets and runs.
        size: P.
    """

    def __init__(self, folder: Path | str, size: int) -> None:
        self.folder, self.size = Path(folder) / str(size), size
        self._rows, self._index = self.folder / "canvases", self.folder / "index.jsonl"
        self._places: dict[_Key, _Place] = {}
        self._map: NDArray[np.uint8] | None = None
        self._complained = False
        self._read_index()

    def fill(
        self,
        samples: Sequence[Sample],
        *,
        workers: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Add the missing samples and return how many there were; an image that cannot be read is left out.

        Args:
            samples: the images.
            workers: number of decoding threads; by default the number of processors.
            progress: called with the number of missing samples done and their total number.

        Raises:
            RunError: another process is filling the cache, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (
            locked(self.folder / "lock", self.folder),
            full_disk_named(self.folder, "go on, or train without --cache."),
        ):
            self._read_index()
            missing = [s for s in samples if (key := _key(s)) is not None and key not in self._places]
            # Anything written after the last complete line is dropped.
            whole = sorted(self._places.items(), key=lambda item: item[1].row)
            count = len(whole)
            self._say_what_is_lost(count)
            with self._rows.open("ab") as rows, self._index.open("a", encoding="utf-8") as index:
                rows.truncate(count * self._bytes)
                index.truncate(sum(len(self._line(*item)) for item in whole))
                with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
                    for done, made in enumerate(_in_order(pool, self._made, missing), start=1):
                        if made is not None:
                            key, input_image, width, height = made
                            rows.write(input_image)
                            rows.flush()
                            place = _Place(count, width, height, zlib.crc32(input_image))
                            index.write(self._line(key, place))
                            index.flush()
                            self._places[key] = place
                            count += 1
                        progress(done, len(missing))
        self._map = None
        return len(missing)

    def get(self, sample: Sample) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
        """Return a sample's input image ``(3, P, P)`` and its image's ``(width, height)``.

        None if there is none, if the file has changed since, or if the input image is damaged.
        """
        key = _key(sample)
        place = None if key is None else self._places.get(key)
        if place is None:
            return None
        if self._map is None:
            self._map = np.memmap(self._rows, np.uint8, "r").reshape(-1, self._bytes)
        if place.row >= len(self._map):
            return None
        row = np.array(self._map[place.row])
        if zlib.crc32(row.data) != place.checksum:
            if not self._complained:
                self._complained = True
                _say(
                    f"{self._rows} is damaged: an input image, if not more, does not fit its checksum. Such images are "
                    "decoded each time; to mend it, remove the folder."
                )
            return None
        return row.reshape(3, self.size, self.size), (place.width, place.height)

    def __getstate__(self) -> dict[str, Any]:
        # A loader process maps the file by itself instead of receiving its content.
        return {**self.__dict__, "_map": None}

    def _say_what_is_lost(self, whole: int) -> None:
        """Report which lines of the index are dropped; a last line cut off by a killed process is not reported."""
        lines = self._index.read_bytes().splitlines() if self._index.exists() else []
        if len(lines) > whole + 1:
            _say(f"{self._index} is damaged at line {whole + 1}; {len(lines) - whole} images are cached anew.")

    @property
    def _bytes(self) -> int:
        return 3 * self.size * self.size

    def _made(self, sample: Sample) -> tuple[_Key, bytes, int, int] | None:
        key = _key(sample)
        try:
            image, (width, height) = load_for_input(sample, self.size)
        except DataError:  # reported where the image is used
            return None
        return None if key is None else (key, to_input(image, self.size).tobytes(), width, height)

    def _read_index(self) -> None:
        """Read the lines up to the first that is not intact."""
        self._places = {}
        try:
            held = self._rows.stat().st_size // self._bytes
            with self._index.open("rb") as lines:
                for row, line in enumerate(lines):
                    values = json.loads(line)
                    key, place = _Key(*values[: len(_Key._fields)]), _Place(*values[len(_Key._fields) :])
                    if (
                        line != self._line(key, place).encode()
                        or place.row != row
                        or row >= held
                        or key in self._places
                    ):
                        return
                    self._places[key] = place
        except (FileNotFoundError, ValueError, TypeError):  # no index yet, or a foreign line
            return

    @staticmethod
    def _line(key: _Key, place: _Place) -> str:
        values = [*key, *place[:-1]]
        return json.dumps([*values, zlib.crc32(json.dumps(values).encode())]) + "\n"


def _say(message: str) -> None:
    tqdm.write(f"tlaam: {message}", file=sys.stderr)


def _key(sample: Sample) -> _Key | None:
    """Return a sample's key; None for a missing file."""
    try:
        modified, size = sample.path.stat().st_mtime_ns, size_of(sample.source)
    except OSError:
        return None
    path, cut_off = sample.pixels
    return _Key(path, size, modified, cut_off)


def _in_order(pool: ThreadPoolExecutor, function: Callable[[Sample], Any], samples: Sequence[Sample]) -> Iterator[Any]:
    """Yield results in order, working a bounded number of samples ahead."""
    remaining = iter(samples)
    pending = [pool.submit(function, sample) for sample in islice(remaining, _AHEAD)]
    while pending:
        yield pending.pop(0).result()
        pending += [pool.submit(function, sample) for sample in islice(remaining, 1)]
