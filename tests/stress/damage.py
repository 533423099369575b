"""Files cut off and bits turned in what the product keeps: it is noticed and said, or refused, and never believed."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stress import scenarios
from stress.attempts import Outcome, random_of
from stress.colours import write_model
from stress.forks import Command, imported, imported_for_export
from stress.mutate import flipped, mangled_line, removed, truncated, zeroed

_WAYS = {"truncated": truncated, "flipped bits": flipped, "zeroed stretch": zeroed, "removed bytes": removed}


@dataclass(frozen=True)
class _Target:
    """A file that is damaged, and what is done then.

    Attributes:
        start: folder with the file in it, which is copied, or the name of what makes it.
        file: pattern of the file within it; of several the last, or any.
        command: what reads it.
        state: what comes of it; equal to `good`, or the damage must have been said.
        good: undamaged.
        words: one of which tells, in what is said, that the damage was noticed where the end state is another.
    """

    start: Path | str
    file: str
    command: Callable[[Path], scenarios.Arguments]
    state: Callable[[Path], Any]
    setup: Callable[[], None] = lambda: None
    may_differ: bool = False
    good: Any = None


class _Measured(dict[str, _Target]):
    """Targets with what comes of them undamaged, each of which is made when it is first asked for."""

    def __init__(self, folder: Path, targets: dict[str, _Target], makers: dict[str, Callable[[], Path]]) -> None:
        super().__init__()
        self._folder, self._targets, self._makers = folder, targets, makers

    def __missing__(self, name: str) -> _Target:
        target, place = self._targets[name], self._folder / "good"
        start = self._makers[str(target.start)]()
        shutil.copytree(start, place)
        scenarios.finished(Command(target.command(place), self._folder / "log", setup=target.setup).wait())
        self[name] = replace(target, start=start, good=target.state(place))
        shutil.rmtree(place)
        return self[name]


_ORDER = (
    "predictions", "archive", "plan of predictions", "predictions", "archive", "predictions", "archive", "predictions",
    "plan of predictions", "archive", "predictions", "archive", "predictions", "plan of predictions", "archive",
    "newest checkpoint", "settings of a run", "pseudo masks", "state of a run", "best weights", "history of a run",
    "description", "weights", "weights, resumed", "index of canvases", "canvases", "results of a comparison", "export",
    "description", "weights", "export", "export",
)  # fmt: skip
"""What is damaged, in turns; what takes long to go on with comes less often."""


class Damage:
    """See the module."""

    name = "damage"
    attempts = 240
    batch = 1
    seconds = 600.0
    megabytes = 4000

    def prepare(self, folder: Path) -> Any:
        """Make one of everything, undamaged, and what comes of it."""
        folder = folder.resolve()
        imported()
        data = scenarios.photographs(folder / "data")
        halves = scenarios.photographs(folder / "halves", ("train", "test"))
        server = scenarios.publisher(data)
        foreground = scenarios.training(data, "--localizer", "foreground", "--pseudo-mask-size", "96")

        model = write_model(folder / "colours.onnx")
        makers: dict[str, Callable[[], Path]] = {
            "whole": lambda: _made(folder / "whole", scenarios.training(data)),
            "half": lambda: _stopped(folder / "half", foreground),
            "shards": lambda: _made(folder / "shards", scenarios.predicting(model, data)),
            "cached": lambda: _made(folder / "cached", scenarios.caching(data)),
            "exported": lambda: _exported(folder / "exported", makers["whole"]() / "run", data),
            "compared": lambda: _made(folder / "compared", scenarios.comparing(halves)),
            "downloaded": lambda: _made(folder / "downloaded", server.command, server.install),
        }

        def answers(of: str) -> Callable[[Path], scenarios.Arguments]:
            return lambda place: ["predict", place / of, data, "--json", place / "rows.jsonl"]

        def rows(place: Path) -> str:
            return (place / "rows.jsonl").read_text()

        def run(place: Path) -> dict[str, Any]:
            state = scenarios.run_state(place / "run")
            state["checkpoints"] = [name for name in state["checkpoints"] if not name.endswith(".damaged")]
            return state

        def tables(place: Path) -> Any:
            return scenarios.compared_state(place)

        def parts(place: Path) -> Any:
            return {"rows": scenarios.rows_of(place / "out")}

        def trained(place: Path) -> scenarios.Arguments:
            return ["train", data, "--out", place / "run", *scenarios.TRAINING, "--cache", place / "cache"]

        def weights(place: Path) -> str:
            return scenarios.digest(place / "run" / "model.safetensors")

        def tree(place: Path) -> Any:
            return scenarios.tree(place / "data" / "CUB_200_2011")

        resumed = scenarios.training(data)
        targets = {
            "newest checkpoint": _Target("half", "run/checkpoints/step-*.ckpt", resumed, run),
            "best weights": _Target("half", "run/checkpoints/best-*.ckpt", resumed, run, may_differ=True),
            "settings of a run": _Target("half", "run/config.yaml", resumed, run),
            "pseudo masks": _Target("half", "run/pseudo_masks.npy", resumed, run),
            "state of a run": _Target("half", "run/*.json", resumed, run),
            "history of a run": _Target("half", "run/history.csv", resumed, run),
            "weights": _Target("whole", "run/model.safetensors", answers("run"), rows),
            "description": _Target("whole", "run/config.json", answers("run"), rows),
            "weights, resumed": _Target("whole", "run/model.safetensors", resumed, run),
            "export": _Target("exported", "model.onnx", answers("model.onnx"), rows),
            "canvases": _Target("cached", "cache/64/canvases", trained, weights),
            "index of canvases": _Target("cached", "cache/64/index.jsonl", trained, weights),
            "predictions": _Target("shards", "out/part-*", scenarios.predicting(model, data), parts),
            "plan of predictions": _Target("shards", "out/plan.json", scenarios.predicting(model, data), parts),
            "archive": _Target("downloaded", "data/.archives/*/*.tgz", server.command, tree, server.install),
            "results of a comparison": _Target("compared", "out/results/*.json", scenarios.comparing(halves), tables),
        }
        return _Measured(folder, targets, makers)

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Damage one file, go on, and see whether it was believed."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            name = _ORDER[number % len(_ORDER)]
            target, place = prepared[name], (folder / str(number)).resolve()
            shutil.copytree(target.start, place)
            files = sorted(place.glob(target.file))
            path = files[-1] if name in ("newest checkpoint", "best weights") else files[random.integers(len(files))]
            good, how = path.read_bytes(), str(random.choice(list(_WAYS)))
            if path.suffix in (".yaml", ".json", ".jsonl") and random.random() < 0.3:
                how, bad = "mangled line", mangled_line(good.decode(), random).encode("utf-8", "surrogateescape")
            else:
                bad = _WAYS[how](good, random)
            path.write_bytes(bad)
            kind = f"{name}, {how}"
            (folder / "kind").write_text(kind)
            log = place.with_name(f"{number}.log")
            outcomes.append(_judged(kind, target, place, path, bad == good, log))
        return outcomes


def _judged(kind: str, target: _Target, place: Path, path: Path, same: bool, log: Path) -> Outcome:
    try:
        ended = Command(target.command(place), log, setup=target.setup).wait()
    except TimeoutError as error:
        return Outcome(kind, "hang", str(error))
    said = " ".join(ended.err.split())
    if "Traceback" in ended.err:
        return Outcome(kind, "crash", ended.err[-600:])
    if ended.code:
        lines = [line for line in ended.err.splitlines() if line.startswith("tlaam: ")]
        named = len(lines) == 1 and (path.name in lines[0] or path.parent.name in lines[0])
        return Outcome(kind, "refused" if named else "unnamed", said[-400:])
    try:
        found = target.state(place)
    except Exception as error:
        return Outcome(kind, "wrong", f"no end state: {error!r}")
    noticed = any(word in said for word in ("damaged", "not used", "does not fit", "cannot be read"))
    if found == target.good or (target.may_differ and noticed):
        return Outcome(kind, "right", "said" if noticed else "not said, and of no consequence")
    if same:
        return Outcome(kind, "wrong", "nothing was damaged, and yet another end")
    differing = [name for name in target.good if found[name] != target.good[name]] if isinstance(found, dict) else []
    return Outcome(kind, "wrong", f"believed; differs: {', '.join(differing)}; said: {said[-400:]}")


def _made(
    folder: Path, command: Callable[[Path], scenarios.Arguments], setup: Callable[[], None] = lambda: None
) -> Path:
    if not folder.exists():
        folder.mkdir()
        scenarios.finished(Command(command(folder), folder.with_name(f"{folder.name}.log"), setup=setup).wait())
        if folder.name == "downloaded":
            shutil.rmtree(folder / "data" / "CUB_200_2011")
    return folder


def _exported(folder: Path, run: Path, data: Path) -> Path:
    if not folder.exists():
        imported_for_export()
    return _made(folder, scenarios.exporting(run, data))


def _stopped(folder: Path, command: Callable[[Path], scenarios.Arguments]) -> Path:
    """Return a folder with a run that was killed after its third step of four."""
    if folder.exists():
        return folder
    folder.mkdir()
    running = Command(command(folder), folder.with_name("half.log"))
    checkpoints = folder / "run" / "checkpoints"
    while running.running() and not (checkpoints / "step-000000003.ckpt").exists():
        time.sleep(0.001)
    running.send(signal.SIGKILL)
    running.wait()
    for leftover in [*checkpoints.glob(".*.tmp"), *checkpoints.glob("step-000000004.ckpt")]:
        leftover.unlink()
    if not (checkpoints / "step-000000003.ckpt").exists():
        raise RuntimeError("the run could not be stopped in time")
    return folder
