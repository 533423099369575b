"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


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


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is waited for, and how long already, on standard error; silent if that is not a terminal.

    For a step of unknown length. A step that tells how far it is has a `progress_bar`.
    """
    from tqdm import tqdm

    with tqdm(desc=what, bar_format="{desc} ... {elapsed}", file=sys.stderr, disable=None, leave=False) as bar:
        ended = Event()

        def show() -> None:
            while not ended.wait(1):
                bar.refresh()

        clock = None if bar.disable else Thread(target=show, daemon=True)
        if clock is not None:
            clock.start()
        try:
            yield
        finally:
            ended.set()
            if clock is not None:
                clock.join()
