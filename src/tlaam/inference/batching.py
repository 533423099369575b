"""Batches of images, read ahead by threads while the main thread answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Given = TypeVar("_Given")
_Read = TypeVar("_Read")


def read_ahead(
    given: Iterable[_Given], read: Callable[[_Given], _Read], *, batch_size: int, workers: int
) -> Iterator[list[_Read]]:
    """Yield the results of `read` for all items, in order, in lists of `batch_size`; the last list may be shorter.

    Args:
        given: the items, any number of them; at most two batches are held in memory.
        read: called from several threads; its exceptions are raised here.
        batch_size: items per list.
        workers: number of threads.

    Examples:
        >>> list(read_ahead([1, 2, 3], lambda value: 10 * value, batch_size=2, workers=1))
        [[10, 20], [30]]
    """
    with ThreadPoolExecutor(workers) as readers:
        remaining = iter(given)
        pending = [readers.submit(read, item) for item in islice(remaining, 2 * batch_size)]
        while pending:
            batch, pending = pending[:batch_size], pending[batch_size:]
            pending += [readers.submit(read, item) for item in islice(remaining, batch_size)]
            yield [future.result() for future in batch]
