"""``kill -9`` and SIGTERM at random moments: what was killed ends, gone on with, as if undisturbed."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stress import scenarios
from stress.attempts import Outcome, random_of
from stress.forks import Command, Ended

_GRACE = 5.0
"""Seconds within which SIGTERM has to end a training of these sizes."""


_ORDER = (
    "download", "predict", "cache", "sort", "predict, two processes", "undo", "train", "download", "cache", "predict",
    "sort", "predict, two processes", "undo", "download", "cache", "predict", "train, two loaders", "download", "cache",
    "predict", "compare", "download", "predict", "cache", "train, a localiser that learns", "export", "download",
    "clean --apply", "predict", "clean", "cache", "train, with a cache", "clean --apply", "clean",
)  # fmt: skip
"""What is killed, in turns; what takes long comes less often."""


class Kills:
    """See the module."""

    name = "kills"
    attempts = 200
    batch = 1
    seconds = 900.0
    megabytes = 4000

    def prepare(self, folder: Path) -> Any:
        """Do everything once, undisturbed, in forks of this process."""
        return scenarios.undisturbed(folder.resolve())

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Kill one piece of work up to three times, go on with it, and look at its end."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            name = _ORDER[number % len(_ORDER)]
            place = (folder / str(number)).resolve()
            term = name.startswith("train") and random.random() < 0.35
            kind = f"{name}: {'SIGTERM' if term else 'SIGKILL'}"
            (folder / "kind").write_text(kind)
            outcomes.append(_attempt(random, prepared[name], kind, place, term))
        return outcomes


def _attempt(random: np.random.Generator, victim: scenarios.Victim, kind: str, place: Path, term: bool) -> Outcome:
    place.mkdir()
    log = place.with_name(f"{place.name}.log")
    kills, wanted, group = 0, int(random.integers(1, 4)), bool(random.integers(2))
    try:
        for _ in range(12):
            if kills == wanted:
                break
            at_event = int(random.integers(1, victim.changes + 1)) if random.random() < 0.5 and not term else 0
            moment = random.uniform(0, victim.seconds)
            running = [_begun(victim, place, log, rank, at_event) for rank in range(victim.ranks)]
            begun = time.monotonic()
            while any([each.running() for each in running]):
                if not at_event and time.monotonic() - begun >= moment:
                    for each in running:
                        each.send(signal.SIGTERM if term else signal.SIGKILL, all_of_them=group and not term)
                    break
                time.sleep(0.004)
            ended = [each.wait() for each in running]
            if any(each.killed for each in ended):
                kills += 1
            elif term and any(each.code in (143, -signal.SIGTERM) for each in ended):
                kills += 1
                if fault := _of_term(ended[0], place / "run"):
                    return Outcome(kind, "wrong", fault)
            elif all("ended from outside by SIGKILL" in each.err for each in ended):
                kills += 1  # of a comparison's trainings, which change the disk, too
            elif any(each.code for each in ended):
                return Outcome(kind, "crash", f"after {kills} kills: {ended}"[:900])
            elif kills:
                break
            else:  # it was done before its moment came
                _emptied(place)
        ended = [_begun(victim, place, log, rank).wait() for rank in range(victim.ranks)]
        if any(each.code for each in ended):
            return Outcome(kind, "crash", f"going on after {kills} kills: {[each.err[-400:] for each in ended]}")
        found = victim.state(place)
    except Exception as error:
        return Outcome(kind, "crash", f"after {kills} kills: {error!r}"[:900])
    if differing := [name for name in victim.good if found[name] != victim.good[name]]:
        name = differing[0]
        return Outcome(
            kind, "wrong", f"after {kills} kills, {', '.join(differing)} differ: {found[name]!s:.400} instead of "
            f"{victim.good[name]!s:.400}"
        )  # fmt: skip
    return Outcome(f"{kind}, {kills} times", "right")


def _begun(victim: scenarios.Victim, place: Path, log: Path, rank: int, at_event: int = 0) -> Command:
    shared = {"RANK": str(rank), "WORLD_SIZE": str(victim.ranks), "LOCAL_RANK": str(rank)} if victim.ranks > 1 else {}
    return Command(
        victim.command(place), log.with_name(f"{log.name}-{rank}"), setup=victim.setup, at_event=at_event,
        below=place if at_event else None, environment=shared,
    )  # fmt: skip


def _of_term(ended: Ended, run: Path) -> str:
    """Return what is wrong about how a training ended that was asked to stop."""
    if ended.late > _GRACE:
        return f"it took {ended.late:.1f} s to stop"
    if ended.code == 143 and ("Continue with" not in ended.err or not any((run / "checkpoints").glob("step-*.ckpt"))):
        return f"it left no checkpoint, or does not say so: {ended.err[-300:]}"
    return ""


def _emptied(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()
