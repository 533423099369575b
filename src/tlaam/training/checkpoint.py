"""Complete checkpoints: written atomically, verified when read, and read without unpickling code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tlaam.errors import RunError
from tlaam.utils.atomic import remove_leftovers, write_atomically
from tlaam.utils.checksums import MARK, TRAILER_SIZE, trailer
from tlaam.utils.reading import require_regular

_KEPT = 2


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain Python values to one file: torch's zip format, followed by its SHA-256.

    Raises:
        RunError: the disk is full; an older file at `path` stays intact.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    write_atomically(path, payload, trailer(payload))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU.

    Raises:
        RunError: the file is missing, truncated or altered, or holds more than tensors and plain values.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise RunError(f"Cannot read checkpoint {path}: {error.strerror}.") from error
    payload, end = memoryview(content)[:-TRAILER_SIZE], content[-TRAILER_SIZE:]
    if end != trailer(payload):
        raise RunError(f"Checkpoint {path} is damaged: its checksum does not fit its content.")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds of errors for content that it refuses
        raise RunError(f"Checkpoint {path} holds more than tensors and plain values; it was not loaded.") from error
    return state


def _content(path: Path) -> bytes:
    """Return the bytes of a file; if it does not end in a checksum and so cannot be used, only its end."""
    require_regular(path)
    with path.open("rb") as stream:
        stream.seek(-min(TRAILER_SIZE, path.stat().st_size), os.SEEK_END)
        end = stream.read()
        if not end.startswith(MARK):
            return end
        stream.seek(0)
        return stream.read()


class Found(NamedTuple):
    """The newest intact checkpoint, if any, and one line for each newer one that is damaged."""

    state: dict[str, Any] | None
    complaints: list[str]


class Checkpoints:
    """The checkpoints of one run: the last two, and the best weights that each of them refers to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return the existing checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.ckpt"))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint after `step` steps, then delete all but the newest two, and all but two best weights.

        Raises:
            RunError: the disk is full; the earlier checkpoints stay intact.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self.folder / f"step-{step:09d}.ckpt", state)
        self._drop_old()

    def _drop_old(self) -> None:
        # The newest checkpoint refers to the newest best weights, the previous one to the same or to the ones before.
        for path in (*self.paths()[:-_KEPT], *self._best_paths()[:-_KEPT]):
            path.unlink(missing_ok=True)

    def save_best(self, epoch: int, model: dict[str, Any]) -> None:
        """Write the weights of the best epoch so far; the previous ones stay until the next `save`.

        A process killed between the two leaves the older checkpoint with the older weights.

        Raises:
            RunError: the disk is full; the earlier files stay intact.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self._best_path(epoch), {"epoch": epoch, "model": model})

    def load_best(self, epoch: int) -> dict[str, Any]:
        """Read the weights of the best epoch.

        Raises:
            RunError: they are missing or damaged.
        """
        model: dict[str, Any] = load_state(self._best_path(epoch))["model"]
        return model

    def save_start(self, model: dict[str, Any]) -> None:
        """Write the weights that the run starts from, needed if it may keep those of a probe.

        Raises:
            RunError: the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_state(self._start, {"model": model})

    def load_start(self) -> dict[str, Any]:
        """Read the weights that the run started from.

        Raises:
            RunError: they are missing or damaged.
        """
        model: dict[str, Any] = load_state(self._start)["model"]
        return model

    @property
    def _start(self) -> Path:
        return self.folder / "start.ckpt"

    def has_best(self, epoch: int) -> bool:
        """Return whether there is a file with the best weights of this epoch."""
        return self._best_path(epoch).exists()

    def drop_best_after(self, epoch: int | None) -> None:
        """Remove the best weights of epochs that a resumed run has yet to repeat; None removes those of all epochs."""
        for path in self._best_paths():
            if epoch is None or path.name > self._best_path(epoch).name:
                path.unlink(missing_ok=True)

    def _best_path(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:06d}.ckpt"

    def _best_paths(self) -> list[Path]:
        return sorted(self.folder.glob("best-*.ckpt"))

    def newest(self) -> Found:
        """Read the newest intact checkpoint; damaged ones are renamed to ``*.damaged`` and reported."""
        remove_leftovers(self.folder)
        complaints: list[str] = []
        for path in reversed(self.paths()):
            try:
                found = Found(load_state(path), complaints)
                self._drop_old()  # a process killed after its last checkpoint did not
                return found
            except RunError as error:
                path.replace(path.with_suffix(".damaged"))  # else it would count as the newest forever
                complaints.append(f"{error} The one before it is used.")
        return Found(None, complaints)
