"""What a campaign is, and how an attempt can end."""

from __future__ import annotations

import io
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tlaam.errors import TlaamError

ENDINGS = {
    "right": "the answer is the right one",
    "refused": "refused in one line that names the file and the fault",
    "unnamed": "refused, but the file is not named",
    "wrong": "an answer that is not the right one, or somebody else's",
    "crash": "an exception that is not the product's own, or the process died",
    "hang": "not done in the time that it is given",
    "memory": "more memory than it is given",
}
GOOD = ("right", "refused")


class Outcome(NamedTuple):
    """How one attempt ended.

    Attributes:
        kind: what was tried.
        ending: one of `ENDINGS`.
        detail: the message or what was expected instead.
    """

    kind: str
    ending: str
    detail: str = ""


class Campaign(Protocol):
    """One kind of attack. Attempts are numbered; what each one is depends on the seed and its number alone."""

    name: str
    attempts: int
    """Of a full run."""
    batch: int
    """Attempts that are tried together; when their process dies they are tried one by one."""
    seconds: float
    """That one attempt may take."""
    megabytes: int
    """That the process may occupy."""

    def prepare(self, folder: Path) -> Any:
        """Make in `folder` what all attempts of a process use."""

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Try some attempts, their inputs written below the empty `folder`, and return one outcome for each."""


@dataclass(frozen=True)
class Said:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str


def random_of(seed: int, campaign: str, number: int) -> np.random.Generator:
    """Return the source of everything random in one attempt."""
    return np.random.default_rng([seed, *campaign.encode(), number])


def tlaam(*arguments: str | Path) -> Said:
    """Run the command line in this process, with its output kept.

    Raises:
        Exception: what the user would see as a stack trace.
    """
    from tlaam.cli.main import main

    with _kept_output() as streams:
        code = main([str(argument) for argument in arguments])
        texts = [_content(stream) for stream in streams]
    return Said(code, *texts)


def refusal(action: Callable[[], Any], kind: str, *names: str | Path) -> tuple[Any, Outcome | None]:
    """Call the product; return what it returns, or how the attempt ended.

    Args:
        action: the call.
        kind: what is tried.
        names: of the files of which the message has to name one.
    """
    try:
        return action(), None
    except TlaamError as error:
        return None, judged_refusal(kind, str(error), *names)
    except Exception:
        return None, Outcome(kind, "crash", last_lines(traceback.format_exc()))


def checked(given: str | Path, home: Path, kind: str) -> Outcome | None:
    """Return how ``tlaam check`` of a data set failed: with a trace, or in a way that does not name it in one line."""
    said, crash = refusal(lambda: tlaam("check", given, "--json", "-"), kind)
    if crash is not None:
        return crash
    if not said.out and (plain(str(home)) not in plain(said.err) or len(said.err.splitlines()) != 1):
        return Outcome(kind, "unnamed", f"check: {said.code} {said.err[:300]}")
    return None


def judged_refusal(kind: str, message: str, *names: str | Path) -> Outcome:
    """Return the outcome of a refusal: it must be of a bearable length and name one of the files."""
    said = plain(message)
    if len(said) > 4000 + max(len(plain(str(name))) for name in names):
        return Outcome(kind, "unnamed", f"a message of {len(said)} characters: {said[:200]}")
    return Outcome(kind, "refused" if any(plain(str(name)) in said for name in names) else "unnamed", said[:300])


def plain(text: str) -> str:
    """Return text as the command line prints it at most: one line, and bytes that are no text or codes as escapes."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return re.sub(r"\s+", " ", escaped)


def last_lines(trace: str, count: int = 6) -> str:
    """Return the end of a stack trace, where the fault is."""
    return "\n".join(trace.strip().splitlines()[-count:])[-900:]


@contextmanager
def _kept_output() -> Iterator[list[io.TextIOWrapper]]:
    before = sys.stdout, sys.stderr
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in before]
    sys.stdout, sys.stderr = streams
    try:
        yield streams
    finally:
        sys.stdout, sys.stderr = before


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "backslashreplace")  # type: ignore[attr-defined]
