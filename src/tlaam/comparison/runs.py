"""The runs of a comparison, each in a process of its own."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tlaam.comparison.child import run_child
from tlaam.config.schema import Config
from tlaam.errors import RunError
from tlaam.runs.folder import RunFolder
from tlaam.utils.atomic import remove_leftovers, write_text


def wait_for_leftover(run: Path, say: Callable[[str], None]) -> None:
    """Wait for a training that outlived the comparison that started it; its result counts."""
    said = False
    while (run / ".lock").exists():
        try:
            with RunFolder(run).locked():
                return
        except RunError as error:
            if not said:
                say(f"{error} Waiting for it.")
                said = True
            time.sleep(_PATIENCE)


def train_run(run: Path, data: str, config: Config, rule: Sequence[str] = ()) -> str:
    """Train a run in a process of its own, or continue it; return what went wrong, or an empty string on success.

    Args:
        run: folder of the run.
        data: the data to train on.
        config: settings of the run.
        rule: options of ``tlaam train`` that determine how the data is split.

    Raises:
        RunError: a stop was requested.
    """
    command = [sys.executable, "-m", "tlaam", "train", "--no-report", "--no-gallery"]
    if (run / "config.yaml").exists():
        command += ["--resume", str(run)]
    else:
        settings = run.parent / f"{run.name}.yaml"
        run.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(run.parent, settings.name)
        write_text(settings, yaml.safe_dump(config.to_nested(), sort_keys=False))
        command += ["--config", str(settings), "--out", str(run), *rule, data]
    code = run_child(command)
    if code in _STOPPED:
        raise RunError(f"stopped as asked; the same command goes on with {run.name}.")
    if code < 0:  # killed by a signal, so it could not report the fault itself
        return f"ended from outside by {signal.Signals(-code).name}, often because the memory was full"
    return "failed, what it said stands above" if code else ""


_PATIENCE = 0.5
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that was asked to stop, whether or not it could still report it."""
