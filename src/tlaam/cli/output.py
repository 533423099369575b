"""What verbs write: files, atomically, and a progress bar on the error stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tlaam import atomic


def write_text(target: str, text: str) -> None:
    """Write text to a file, whole or not at all, or to the standard output for ``-``."""
    if target == "-":
        click.echo(text, nl=False)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that draws a bar on the error stream; silent where that is no terminal."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit=" images", file=sys.stderr, disable=None, leave=False)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        bar.close()
