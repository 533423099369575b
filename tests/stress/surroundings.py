"""A full disk, a read-only folder, data that vanish, loaders that are killed, too little memory, two at once.

What is asked for: one clear line, an exit code that is not zero, and nothing damaged.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stress import scenarios
from stress.attempts import Outcome, random_of
from stress.forks import Command, Ended, descendants
from stress.scenarios import Victim

Random = np.random.Generator
_ALL = ("train", "compare", "download", "cache", "export", "predict")


class Surroundings:
    """See the module."""

    name = "surroundings"
    attempts = 90
    batch = 1
    seconds = 900.0
    megabytes = 4000

    def prepare(self, folder: Path) -> Any:
        """Do everything once, undisturbed."""
        return folder.resolve(), scenarios.undisturbed(folder.resolve())

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Make the surroundings hostile, begin, make them friendly again, go on, and look at the end."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            kinds = list(_KINDS)
            kind = kinds[number % len(kinds)]
            name, attack = _KINDS[kind]
            (folder / "kind").write_text(kind)
            place = (folder / str(number)).resolve()
            place.mkdir()
            try:
                outcomes.append(attack(kind, prepared[1][name], place, random, prepared[0]))
            except TimeoutError as error:
                outcomes.append(Outcome(kind, "hang", str(error)))
            except Exception as error:
                outcomes.append(Outcome(kind, "crash", f"{error!r}"[:900]))
        return outcomes


def _run(victim: Victim, place: Path, setup: Callable[[], None] = lambda: None) -> Ended:
    return _begin(victim, place, setup).wait()


def _begin(victim: Victim, place: Path, setup: Callable[[], None] = lambda: None, name: str = "log") -> Command:
    def both() -> None:
        victim.setup()
        setup()

    return Command(victim.command(place), place.with_name(f"{place.name}.{name}"), setup=both)


def _judged(kind: str, ended: Ended, victim: Victim, place: Path, words: Sequence[str] = ()) -> Outcome:
    """OODDetector what was said, go on in friendly surroundings, and compare the end."""
    if ended.code:
        lines = [line for line in ended.err.splitlines() if line.startswith("tlaam: ")]
        if "Traceback" in ended.err or ended.code < 0 or ended.code == 70:
            fatal = ended.err.find("Fatal Python error")
            return Outcome(
                kind, "crash", f"{ended.code}: {ended.err[fatal:][:1500] if fatal >= 0 else ended.err[-700:]}"
            )
        # A comparison's trainings have a line each before its own.
        many = kind.startswith("compare")
        if not lines or (len(lines) > 1 and not many) or (words and not any(word in "".join(lines) for word in words)):
            return Outcome(kind, "unnamed", f"{ended.code}: {ended.err[-700:]}")
    again = _run(victim, place)
    if again.code:
        return Outcome(kind, "wrong", f"afterwards it cannot go on: {again.err[-500:]}; before: {ended.err[-300:]}")
    found = victim.state(place)
    if differing := [name for name in victim.good if found[name] != victim.good[name]]:
        return Outcome(kind, "wrong", f"afterwards {differing} differ: {found[differing[0]]!s:.500}")
    return Outcome(kind, "refused" if ended.code else "right", ended.err[-200:])


@contextmanager
def _mounted(place: Path, size: int) -> Iterator[None]:
    """Have a small disk of its own at `place`; it is large when the work is done with it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _full_disk(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    size = int(random.integers(1, 200)) << 12
    with _mounted(place, size):
        ended = _run(victim, place)
        subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
        return _judged(kind, ended, victim, place, ("full", "space", "No space"))


def _file_limit(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    size = int(random.integers(200, 300_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    ended = _run(victim, place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before)))
    return _judged(kind, ended, victim, place)


def _read_only(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    """Take away the right to write before it begins or, once it has been begun and killed, as it goes on."""
    with _mounted(place, 1 << 30):
        if random.random() < 0.5:
            running = _begin(victim, place)
            time.sleep(random.uniform(0, victim.seconds))
            running.send(signal.SIGKILL, all_of_them=True)
            running.wait()
        until = time.monotonic() + 30
        while subprocess.run(["mount", "-o", "remount,ro", str(place)], stderr=subprocess.DEVNULL).returncode:
            if time.monotonic() > until:  # what was killed may have left a process that writes still
                raise TimeoutError("the folder stayed in use")
            time.sleep(0.1)
        ended = _run(victim, place)
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        if not ended.code and ended.err.strip() == "" and victim.state(place) != victim.good:
            return Outcome(kind, "wrong", "it claims to have done what it could not write")
        return _judged(kind, ended, victim, place, ("Read-only",))


def _vanished(kind: str, victim: Victim, place: Path, random: Random, home: Path) -> Outcome:
    running = _begin(victim, place)
    time.sleep(random.uniform(0.1, 0.9) * victim.seconds)
    away = home / "away"
    (home / "data").rename(away)
    try:
        ended = running.wait()
    finally:
        away.rename(home / "data")
    return _judged(kind, ended, victim, place, ("data",))


def _lost_loader(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    running = _begin(victim, place)
    until = time.monotonic() + random.uniform(0.2, 1.0) * victim.seconds
    while running.running():
        loaders = descendants(running.pid)
        if loaders and time.monotonic() >= until:
            os.kill(loaders[random.integers(len(loaders))], signal.SIGKILL)
            break
        time.sleep(0.01)
    return _judged(kind, running.wait(), victim, place, ("loads images",))


def _memory(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    spare = int(random.integers(1, 160)) << 20

    def limit() -> None:
        occupied = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (occupied + spare, resource.getrlimit(resource.RLIMIT_AS)[1]))

    return _judged(kind, _run(victim, place, limit), victim, place)


def _not_finite(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    arguments = victim.command(place)
    assert isinstance(arguments, list)
    lr = f"1e{int(random.integers(12, 38))}"
    log = place.with_name(f"{place.name}.log")
    ended = Command([*arguments, "--lr", lr, "--gradient-clip", "0"], log).wait()
    lines = [line for line in ended.err.splitlines() if line.startswith("tlaam: ")]
    if ended.code == 0:
        return Outcome(kind, "wrong", f"lr {lr} went well: {ended.err[-400:]}")
    if "Traceback" in ended.err or len(lines) != 1 or ("not finite" not in lines[0] and "became" not in lines[0]):
        return Outcome(kind, "unnamed", ended.err[-700:])
    if (place / "run" / "model.safetensors").exists():
        return Outcome(kind, "wrong", "it left a model")
    again = Command(victim.command(place), log).wait()
    said = "failed before" in again.err and again.code != 0
    return Outcome(kind, "refused" if said else "wrong", f"{ended.err[-200:]}; again: {again.err[-300:]}")


def _two_at_once(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    first = _begin(victim, place)
    time.sleep(random.uniform(0, 0.8) * victim.seconds)
    second = _begin(victim, place, name="second")
    ends = second.wait(), first.wait()
    for ended in ends:
        lines = [line for line in ended.err.splitlines() if line.startswith("tlaam: ")]
        if ended.code and ("Traceback" in ended.err or ended.code < 0 or len(lines) != 1):
            return Outcome(kind, "crash", f"{ended.code}: {ended.err[-700:]}")
        refused = ("in use", "already holds", "not empty", "nothing to do", "finished already", "it is there already")
        if ended.code and not any(words in ended.err for words in refused):
            return Outcome(kind, "unnamed", f"{ended.code}: {ended.err[-700:]}")
    if all(ended.code for ended in ends):
        return Outcome(kind, "wrong", f"both refused: {[ended.err[-300:] for ended in ends]}")
    return _judged(kind, next((ended for ended in ends if ended.code), ends[0]), victim, place)


def _workers(kind: str, victim: Victim, place: Path, random: Random, _: Path) -> Outcome:
    arguments = victim.command(place)
    assert isinstance(arguments, list)
    workers = str(random.integers(1, 5))
    ended = Command([*arguments, "--workers", workers], place.with_name(f"{place.name}.log")).wait()
    found, good = victim.state(place), victim.good
    same = all(found[name] == good[name] for name in ("weights", "history", "description"))
    return Outcome(kind, "right" if same and not ended.code else "wrong", f"{workers} workers: {ended.err[-300:]}")


def _mounts() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


_KINDS: dict[str, tuple[str, Callable[[str, Victim, Path, Random, Path], Outcome]]] = {
    **({f"{name}, full disk": (name, _full_disk) for name in _ALL} if _mounts() else {}),
    **({f"{name}, read-only folder": (name, _read_only) for name in _ALL} if _mounts() else {}),
    **{f"{name}, limit on files": (name, _file_limit) for name in _ALL},
    "train, data vanish": ("train", _vanished),
    "train with loaders, data vanish": ("train, two loaders", _vanished),
    "a loader is killed": ("train, two loaders", _lost_loader),
    "train, memory": ("train", _memory),
    "predict, memory": ("predict", _memory),
    "train, learning rate without bounds": ("train", _not_finite),
    **{f"{name}, two at once": (name, _two_at_once) for name in _ALL},
    "any number of loaders": ("train", _workers),
}
"""Attacks by kind, and what they are made on; those that mount need the rights to."""
