"""The run folder: the paths of its files, and its lock."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tlaam.config.schema import Config
from tlaam.errors import RunError
from tlaam.utils.atomic import remove_leftovers, write_json, write_text
from tlaam.utils.lock import locked
from tlaam.utils.reading import read_text


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder.

    - ``config.yaml``: every setting.
    - ``data.json``: the data the run was started with.
    - ``skipped.json``: unreadable images that were left out, if any.
    - ``run.json``: its state (running, finished, or failed with the reason), versions, command, the seconds that its
      epochs took, what it started from, and its names in loggers.
    - ``start/``: the initial weights of a run that started from a trained model.
    - ``history.csv``: one row per epoch.
    - ``pseudo_masks.npy``: the training targets of a localiser that learns.
    - ``taxonomy.json``: the taxa of its classes, if a taxonomy was given.
    - ``out_of_fold.npz``: for a probe, answers for its training images by probes that had not seen them.
    - ``logs/``: what the logger writes (`tlaam.training.trackers`).
    - ``checkpoints/``: the checkpoints.
    - ``model.safetensors`` and ``config.json``: the model, written at the end.
    - ``gallery.npz`` (`tlaam.reference.file`) and ``report.html``: written by `tlaam.workflows.fit`.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """The record of the data that the run was started with."""
        return self.path / "data.json"

    @property
    def skipped(self) -> Path:
        """Unreadable images that were left out."""
        return self.path / "skipped.json"

    @property
    def status(self) -> Path:
        """The state of the run: running, finished or failed."""
        return self.path / "run.json"

    @property
    def history(self) -> Path:
        """The history, with one row per epoch."""
        return self.path / "history.csv"

    @property
    def pseudo_masks(self) -> Path:
        """Pseudo masks of the training images, if the localiser learns."""
        return self.path / "pseudo_masks.npy"

    @property
    def out_of_fold(self) -> Path:
        """Answers for training images by probes that had not seen them (`tlaam.runs.out_of_fold`)."""
        return self.path / "out_of_fold.npz"

    @property
    def taxonomy(self) -> Path:
        """The taxa of its classes, if the run was started with a taxonomy (`tlaam.runs.taxonomy`)."""
        return self.path / "taxonomy.json"

    @property
    def start(self) -> Path:
        """The initial weights as a model folder, if the run started from a trained model."""
        return self.path / "start"

    @property
    def logs(self) -> Path:
        """TensorBoard's event files, or the files of another logger."""
        return self.path / "logs"

    @property
    def lock(self) -> Path:
        """Locked by the process using the folder; created first, so it also marks the remains of an aborted start."""
        return self.path / ".lock"

    @property
    def checkpoints(self) -> Path:
        """Complete checkpoints."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The report, available once the run has finished."""
        return self.path / "report.html"

    def require_new(self) -> None:
        """Check that a run can start here: the folder is empty, or has only remains of a run killed while starting.

        Raises:
            RunError: the folder holds something else, or cannot be listed.
        """
        if self.config.exists():
            status = self.read_json(self.status) if self.status.exists() else {}
            if status.get("state") == "failed":
                raise RunError(
                    f"{self.path} holds a run that failed ({status.get('reason')}); choose another --out, "
                    "or remove the folder."
                )
            raise RunError(
                f"{self.path} already holds a run; continue it with --resume {shlex.quote(str(self.path))}, "
                "or choose another --out."
            )
        try:
            found = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        except OSError as error:
            raise RunError(f"Cannot make the run folder {self.path}: {error.strerror}.") from error
        if found and not (self.lock.name in found and all(map(self._is_of_beginning, found))):
            raise RunError(f"{self.path} is not empty; choose a new or empty folder for --out.")

    @contextmanager
    def created(self) -> Iterator[None]:
        """Create the folder, lock it (`locked`), and remove what a run killed while starting left behind.

        Raises:
            RunError: the folder holds something else, is in use, or cannot be created.
        """
        self.require_new()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"Cannot make the run folder {self.path}: {error.strerror}.") from error
        with self.locked():
            self.require_new()  # another process may have started here before this one got the lock
            remove_leftovers(self.path)
            for path in (self.data, self.skipped, self.status, self.taxonomy):
                path.unlink(missing_ok=True)
            if self.start.exists():
                shutil.rmtree(self.start)
            yield

    def _is_of_beginning(self, name: str) -> bool:
        ours = {path.name for path in (self.data, self.skipped, self.status, self.taxonomy)}
        half = {f".{own}." for own in (*ours, self.config.name)}
        return name in {self.lock.name, self.start.name, *ours} or (
            name.endswith(".tmp") and name.startswith(tuple(half))
        )

    def write_config(self, config: Config) -> None:
        """Write the settings; the presence of this file makes a folder a run."""
        write_text(self.config, yaml.safe_dump(config.to_nested(), sort_keys=False))

    def read_json(self, path: Path, *needed: str) -> dict[str, Any]:
        """Read one of the run's JSON files.

        Args:
            path: the file.
            needed: names that it must contain.

        Raises:
            RunError: the file is missing or damaged, or lacks a name.
        """
        try:
            content = json.loads(read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path} is not a whole run folder: {path.name} cannot be read ({error}).") from error
        if not isinstance(content, dict):
            raise RunError(f"{self.path} is not a whole run folder: {path.name} holds no JSON object.")
        if missing := [name for name in needed if name not in content]:
            raise RunError(f"{self.path} is not a whole run folder: {path.name} lacks '{missing[0]}'.")
        return content

    def require_run(self) -> None:
        """Check that there is a run to continue.

        Raises:
            RunError: there is none.
        """
        if not self.config.is_file():
            what = "holds no run (no config.yaml)" if self.path.is_dir() else "does not exist"
            raise RunError(f"{self.path} {what}; give the folder that `tlaam train` wrote.")

    def note_status(self, **values: Any) -> None:
        """Add or replace entries of ``run.json``; None removes an entry."""
        old = self.read_json(self.status) if self.status.exists() else {}
        write_json(self.status, {name: value for name, value in {**old, **values}.items() if value is not None})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder (`tlaam.utils.lock.locked`).

        Raises:
            RunError: another process is using the folder.
        """
        with locked(self.lock, self.path):
            yield
