"""Log a run's losses and measures with Lightning's loggers, in addition to ``history.csv`` (setting ``logger``).

A resumed run continues in the same place. TensorBoard's and ``metrics.csv``'s entries for steps after the checkpoint
are dropped; Weights & Biases and MLflow cannot delete entries, and keep both.
"""

from __future__ import annotations

import csv
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.fabric.loggers import CSVLogger, Logger, TensorBoardLogger

from tlaam.config.schema import Config
from tlaam.errors import MissingPackageError, RunError, TlaamError
from tlaam.runs.folder import RunFolder
from tlaam.utils.extras import install_hint, require_extra

_OF_PACKAGES = ("wandb", "mlflow")
"""Loggers that need their own extra, which has the same name."""
_PROJECT = "tlaam"
"""Name of the project in Weights & Biases and of the experiment in MLflow."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Both send telemetry to their vendors when imported, unless the environment says otherwise."""


def require_tracker(name: str) -> None:
    """Check that the packages of a logger are installed and can be imported.

    Raises:
        MissingPackageError: they are not.
    """
    if name not in _OF_PACKAGES:
        return
    require_extra(f"logger={name}", name)
    with _environment_kept(*_QUIET):
        os.environ.update({variable: value for variable, value in _QUIET.items() if variable not in os.environ})
        try:
            import_module(name)
        except ImportError as error:
            raise MissingPackageError(
                f"logger={name} needs a whole installation of {name}: {_one_line(error)}; {install_hint(name)}"
            ) from error


class Tracker:
    """A logger, or none.

    A logger that may depend on other machines can fail without ending the training: the failure is reported, and
    logging stops.

    Args:
        logger: the logger; None logs nothing.
        lenient: report its errors instead of raising them.
        say: called with a line to print.
        finish: called at the end, after the logger was closed, with whether the run has finished.
    """

    def __init__(
        self,
        logger: Logger | None = None,
        *,
        lenient: bool = False,
        say: Callable[[str], None] = lambda line: None,
        finish: Callable[[bool], None] = lambda finished: None,
    ) -> None:
        self._logger, self._lenient, self._say, self._finish = logger, lenient, say, finish
        self._unsaved = False

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a step."""
        with self._failing_alone():
            if self._logger is not None:
                self._logger.log_metrics(dict(values), step)
                self._unsaved = True

    def save(self) -> None:
        """Write what is still in memory."""
        with self._failing_alone():
            if self._logger is not None and self._unsaved:
                self._logger.save()
                self._unsaved = False

    def close(self, status: str) -> None:
        """End logging.

        Args:
            status: ``success``, ``failed``, or ``KILLED`` (MLflow's term) for a run that will be continued.
        """
        with self._failing_alone():
            if self._logger is not None:
                self._logger.finalize(status)
                self._finish(status == "success")

    @contextmanager
    def _failing_alone(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # third-party packages may raise anything
            if not self._lenient:
                raise
            self._logger = None
            self._say(f"The logger failed, and the training goes on without it: {_one_line(error)}")


def open_tracker(config: Config, folder: RunFolder, step: int, say: Callable[[str], None]) -> Tracker:
    """Return the tracker for the setting ``logger``, for a run that continues after a number of steps.

    Args:
        config: resolved settings.
        folder: the run folder. Logs go into its ``logs``; the run's name at Weights & Biases or MLflow is noted in
            ``run.json``.
        step: number of steps taken.
        say: called with a line to print.

    Raises:
        RunError: the logger is not available; the message says why.
        OSError: the system refused to write.
    """
    name = config.training.logger
    if name == "tensorboard":  # the checkpoint's own step was logged before it was saved
        _let_a_second_begin(folder.logs)
        return Tracker(TensorBoardLogger(folder.logs, name="", version="", purge_step=step + 1))
    if name == "csv":
        return Tracker(_csv_logger(folder.logs, step))
    if name == "none":
        return Tracker()
    require_tracker(name)
    try:
        folder.logs.mkdir(exist_ok=True)
        known = folder.read_json(folder.status).get("logged", {}) if folder.status.exists() else {}
        opened = (
            _wandb(config, folder, known.get(name)) if name == "wandb" else _mlflow(config, folder, known.get(name))
        )
        logger, identity, finish = opened
        folder.note_status(logged={**known, name: identity})
    except (TlaamError, OSError):
        raise
    except Exception as error:  # third-party packages may raise anything
        raise RunError(
            f"logger={name} cannot be had: {_one_line(error)}. Mend that, or give another: tensorboard, csv or none."
        ) from error
    return Tracker(logger, lenient=True, say=say, finish=finish)


def _let_a_second_begin(logs: Path) -> None:
    """Wait until a new event file's name, which holds the second, sorts after the others: readers use this order."""
    now = int(time.time())
    if any(logs.glob(f"events.out.tfevents.{now:010d}.*")):
        time.sleep(max(0.0, now + 1 - time.time()))


def _csv_logger(logs: Path, step: int) -> CSVLogger:
    """Return a logger to ``metrics.csv`` that keeps the file's rows up to a step.

    Lightning's logger first removes the file, so another file holds its rows until they are in the new one.
    """
    written, former = logs / "metrics.csv", logs / "metrics.former.csv"
    if written.exists() and not former.exists():
        written.replace(former)
    logger = CSVLogger(logs, name="", version="", flush_logs_every_n_steps=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory")  # its former files should be there
        writer = logger.experiment
    if former.exists():
        for row in _rows(former):
            if int(row["step"]) <= step:
                writer.log_metrics({name: value for name, value in row.items() if value != ""}, int(row["step"]))
        writer.save()
        former.unlink()
    return logger


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]  # a killed process may cut off the last line
    try:
        rows = list(csv.DictReader(whole))
        for row in rows:
            int(row["step"])
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path} is no table that this logger wrote; remove it, or give logger=none.") from error
    return rows


Opened = tuple[Logger, str, Callable[[bool], None]]
"""A logger, its name for the run, and the function to call after it is closed (`Tracker`)."""


def _wandb(config: Config, folder: RunFolder, known: str | None) -> Opened:
    """Return Weights & Biases' logger: offline, unless ``WANDB_MODE`` says otherwise."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    ours = wandb.run is None  # else the caller started one and must end it
    logger = WandbLogger(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=folder.path.name,
        save_dir=folder.logs,
        id=known or uuid4().hex[:8],
        resume="allow",
        mode=os.environ.get("WANDB_MODE", "offline"),
    )
    run = logger.experiment
    if known is None:
        logger.log_hyperparams(config.to_nested())

    def finish(finished: bool) -> None:
        if ours:
            run.finish(exit_code=0 if finished else 1)

    return logger, str(run.id), finish


def _mlflow(config: Config, folder: RunFolder, known: str | None) -> Opened:
    """Return MLflow's logger: to files in the run folder, unless ``MLFLOW_TRACKING_URI`` says otherwise."""
    import mlflow
    from lightning.pytorch.loggers import MLFlowLogger

    given = os.environ.get("MLFLOW_TRACKING_URI")
    with _environment_kept("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        if given is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # later releases require it
        try:
            logger = MLFlowLogger(
                experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
                run_name=folder.path.name,
                tracking_uri=given or (folder.logs.resolve() / "mlruns").as_uri(),
                run_id=known,
            )
            identity = str(logger.run_id)  # this starts the run
        finally:
            mlflow.set_tracking_uri(given)  # Lightning sets its own for the whole process
    if known is None:
        logger.log_hyperparams(config.to_nested())
    else:
        logger.experiment.update_run(identity, status="RUNNING")
    return logger, identity, lambda finished: None


@contextmanager
def _environment_kept(*names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split())[:200] or type(error).__name__).rstrip(".")
