"""Loader processes for the data sets of `tlaam.training.dataset`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from tlaam.errors import DataError, RunError
from tlaam.training.dataset import Item
from tlaam.utils.allocator import hand_back_freed_memory


def batch_loader(dataset: Dataset[Item], batches: Sampler[Any] | list[list[int]], workers: int, *, pin: bool) -> Any:
    """Return a loader that yields `Item` batches in the order of `batches`, whatever the number of `workers`."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_begin_loader if workers else None,
    )


def with_plain_errors(loader: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the loader's batches; an error from a loader process is reduced to the one line that was raised there.

    Raises:
        DataError: an image cannot be read.
    """
    try:
        yield from loader
    except DataError as error:
        raise DataError(re.split(r"\b\w+Error: ", str(error).strip())[-1]) from None


@contextmanager
def lost_loaders_named(run: Path) -> Iterator[None]:
    """Turn the loss of a loader process, which PyTorch may report at any moment, into a plain `RunError`."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise RunError(
            "A process that loads images was ended from outside, often because the memory was full; what was saved is "
            f"intact. Continue, perhaps with fewer workers: tlaam train --resume {shlex.quote(str(run))} --workers 1"
        ) from error


def _begin_loader(worker: int) -> None:
    hand_back_freed_memory()
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM every process of a job; the parent still
    # needs its loaders to finish the current step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_parent, daemon=True).start()


def _end_for_parent() -> None:
    """Wait until the parent asks this process to end, as it does when it ends itself; ignore other senders."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
