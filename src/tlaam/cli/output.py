"""What verbs write: text on the screen, files that are whole or not there, and a progress bar on the error stream."""

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
    """Write indented JSON to a file, whole or not at all, or to the standard output for ``-``."""
    if target == "-":
        click.echo(json.dumps(value, indent=2))
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, value)


def say_notes(notes: Iterable[str]) -> None:
    """Write what is to be known of the data to the error stream, a line each."""
    for note in notes:
        click.echo(f"tlaam: {printable(note)}", err=True)


def notes_on_verdicts(
    images: int, strangers: int, unsure: int, failures: int, *, judged: bool, empty: int = 0
) -> Iterator[str]:
    """Yield what is to be said of the answers for so many images, a line each.

    Args:
        images: all of them.
        strangers, unsure, failures: how many have that verdict, or no answer.
        judged: whether the model can tell strangers.
        empty: how many show no object, where objects were looked for.
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
    """Yield a function that writes a value as one line of JSON, at once to the standard output for ``-``.

    A file appears, or replaces an older one, when the block ends without an exception. Nothing is written for None.
    JSON is pure ASCII, so that names that are no valid text (lone surrogates in Python) can be written as well.
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
    """Give an error of the system the file's name, which writing to an open file does not know."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def accept_all_names() -> None:
    """Let the standard streams write what their encoding lacks as escapes, so that no file name can end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def quiet_decoders() -> None:
    """Keep what image decoders remark off the error stream: it names no file, and what is a fault is raised as well."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"PIL\.")


def padded(text: str, width: int) -> str:
    """Return text with spaces up to `width` columns of a terminal; longer text stays as it is."""
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
