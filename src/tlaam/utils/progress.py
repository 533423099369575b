"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str, *, unit: str = " images", hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that updates a bar on standard error; silent if that is not a terminal."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit=unit, unit_scale=unit == "B", file=sys.stderr, disable=hidden or None, leave=False)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        bar.close()
