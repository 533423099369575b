"""Output of the commands: text on the terminal, and files that are either complete or absent."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tlaam.utils import atomic
from tlaam.utils.text import printable


def write_json(target: str, value: Any) -> None:
    """Write indented JSON to a file, atomically, or to standard output for ``-``."""
    if target == "-":
        click.echo(json.dumps(value, indent=2))
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, value)


def say_notes(notes: Iterable[str]) -> None:
    """Write notes on the data to standard error, one per line."""
    for note in notes:
        click.echo(f"tlaam: {printable(note)}", err=True)


def notes_on_verdicts(
    images: int, strangers: int, unsure: int, failures: int, *, judged: bool, empty: int = 0
) -> Iterator[str]:
    """Yield notes on the answers, one line each.

    Args:
        images: number of images.
        strangers, unsure, failures: number of images with that verdict, or without an answer.
        judged: whether the model can detect strangers.
        empty: number of images without an object, if objects were looked for.
    """
    from tlaam.inference.prediction import TELLS_NO_STRANGERS

    if failures + empty < images and not judged:
        yield f"{TELLS_NO_STRANGERS} (docs/strangers.md)."
    if strangers:
        do = "does" if strangers == 1 else "do"
        yield (
            f"{strangers} of {images} images {do} not look like what this model learnt from (stranger); "
            "do not rely on the names."
        )
    if unsure:
        are = "is" if unsure == 1 else "are"
        yield f"{unsure} of {images} answers {are} unsure: less probable than those that can be relied on."
    if empty:
        yield f"nothing was found in {empty} of {images} images."
    if failures:
        yield f"{failures} of {images} images could not be read."


@contextmanager
def json_lines(target: str | None) -> Iterator[Callable[[Any], None]]:
    """Yield a function that writes a value as one line of JSON, for ``-`` immediately to standard output.

    The file appears, or replaces an older one, when the block ends without an exception. For None, nothing is written.
    The JSON is pure ASCII, so that names that are not valid text (lone surrogates in Python) can be written, too.
    """
    if target is None:
        yield lambda value: None
    elif target == "-":
        yield lambda value: click.echo(json.dumps(value))
    else:
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w", encoding="ascii") as stream:

                def write(value: Any) -> None:
                    with _named(path):
                        print(json.dumps(value), file=stream)

                yield write
                with _named(path):
                    stream.flush()
                    os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file's name to system errors, which lack it when writing to an open file fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def accept_all_names() -> None:
    """Let standard streams escape characters that their encoding lacks, so that no file name can crash a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def quiet_decoders() -> None:
    """Keep remarks of image decoders off standard error: they name no file, and faults are raised anyway."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"PIL\.")


def padded(text: str, width: int) -> str:
    """Return text padded with spaces to `width` terminal columns; longer text stays as it is."""
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """Return the width of a text in terminal columns: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
