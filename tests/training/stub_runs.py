"""Runs of the stub network in processes that are killed and resumed; started by test_resume.py.

PyTorch is imported once, then every run is a fork: ``python stub_runs.py JOBS.json``. A job is a list of attempts, each
a mapping: ``verb`` (train or resume), ``out``, ``source``, ``settings`` and ``kill``, which names what the process is
killed at (``forward`` or ``fsync``; at ``forward, all`` its loaders are killed with it) and the how-manieth. The exit
statuses are printed as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # the forks would import it anew, each of them
from safetensors.torch import save_file
from stub_network import StubNetwork

from tlaam.config.schema import Config
from tlaam.errors import TlaamError
from tlaam.training import run


def use_stub() -> dict[str, Callable[..., Any]]:
    """Return replacements for the names in `tlaam.training.run` that build and store networks."""

    def build(config: Any, classes: int, *, load_pretrained: bool) -> StubNetwork:
        return StubNetwork(classes)

    def save(folder: Path, model: StubNetwork, config: Any, classes: Any, depth: Any) -> None:
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / "model.safetensors")

    return {"build_model": build, "save_model": save, "require_intact": lambda folder: None}


def _killed_at(calls: int, function: Callable[..., Any], number: int, *, group: bool = False) -> Callable[..., Any]:
    count = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls:
            if group:  # by a stranger: loaders take it otherwise from their parent
                kill = ["kill", f"-{number}", "--", f"-{os.getpgrp()}"]
                subprocess.run(kill, check=True, start_new_session=True)
                time.sleep(0.5)  # what has become of the loaders is known by then
            else:
                os.kill(os.getpid(), number)
        return function(*args, **options)

    return counted


def _attempt(verb: str, out: str, source: str, settings: dict[str, Any], kill: list[Any] | None) -> int:
    for name, replacement in use_stub().items():
        setattr(run, name, replacement)
    if kill is not None:
        what, calls, number = kill
        if what.startswith("forward"):
            if group := what.endswith("all"):
                os.setpgrp()
            StubNetwork.forward = _killed_at(  # type: ignore[method-assign]
                calls, StubNetwork.forward, number, group=group
            )
        else:
            os.fsync = _killed_at(calls, os.fsync, number)
    try:
        if verb == "train":
            run.train(source, out, Config.from_flat(settings), progress=False)
        else:
            run.resume(out, progress=False)
    except TlaamError as error:
        print(error, file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    return 0


def _forked(attempt: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _attempt(**attempt)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert signal.SIGKILL  # forks and signals: not for Windows
    jobs = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({name: [_forked(attempt) for attempt in attempts] for name, attempts in jobs.items()}))
