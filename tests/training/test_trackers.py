"""Where losses and measures go beside history.csv, and how a resumed run goes on there."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.errors import MissingPackageError, RunError
from tlaam.runs.folder import RunFolder
from tlaam.training import trackers
from tlaam.training.run import resume, train
from tlaam.training.trackers import Tracker, open_tracker
from tlaam.utils.extras import install_hint

Settings = Callable[..., Config]


def opened(folder: RunFolder, logger: str, step: int, said: list[str] | None = None) -> Tracker:
    return open_tracker(Config.from_flat({"logger": logger}), folder, step, (said if said is not None else []).append)


def session(folder: RunFolder, logger: str, after: int, values: dict[int, float]) -> None:
    """Log values at their steps, in a session that goes on after a step."""
    tracker = opened(folder, logger, after)
    for step, value in values.items():
        tracker.log({"step/loss": value}, step)
    tracker.log({"epoch/loss": 9.0}, max(values))
    tracker.save()
    tracker.close("failed")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def rows(folder: RunFolder) -> list[tuple[int, str, str]]:
    table = csv.DictReader((folder.logs / "metrics.csv").open(newline=""))
    return [(int(row["step"]), row["step/loss"], row["epoch/loss"]) for row in table]


def test_csv_drops_what_lies_behind_the_checkpoint(folder: RunFolder) -> None:
    session(folder, "csv", 0, {20: 0.5, 40: 0.25, 60: 0.125})
    assert rows(folder) == [(20, "0.5", ""), (40, "0.25", ""), (60, "0.125", ""), (60, "", "9.0")]
    session(folder, "csv", 40, {60: 0.75})
    assert rows(folder) == [(20, "0.5", ""), (40, "0.25", ""), (60, "0.75", ""), (60, "", "9.0")]
    session(folder, "csv", 60, {80: 0.0})  # what was logged with the checkpoint's own step stays
    assert rows(folder)[2:] == [(60, "0.75", ""), (60, "", "9.0"), (80, "0.0", ""), (80, "", "9.0")]
    assert [path.name for path in folder.logs.iterdir()] == ["metrics.csv"]


def test_csv_of_a_process_killed_while_it_opened_or_wrote(folder: RunFolder) -> None:
    session(folder, "csv", 0, {20: 0.5, 40: 0.25})
    table = folder.logs / "metrics.csv"
    whole = table.read_text()
    (folder.logs / "metrics.former.csv").write_text(whole + "0.1,4")  # half a line, which would be of step 4
    table.write_text("step\n")
    session(folder, "csv", 40, {60: 0.75})
    assert [step for step, *_ in rows(folder)] == [20, 40, 40, 60, 60]


def test_csv_that_is_not_ours_is_refused(folder: RunFolder) -> None:
    folder.logs.mkdir()
    (folder.logs / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match=r"metrics\.former\.csv is no table that this logger wrote; remove it"):
        opened(folder, "csv", 0)
    assert (folder.logs / "metrics.former.csv").read_text() == "a,b\n1,2\n"


def test_tensorboard_drops_what_lies_behind_the_checkpoint(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Event files of one second sort by their writers' numbers: 8, 9 and 10 of one process would be read as 10, 8, 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(8))
    session(folder, "tensorboard", 0, {20: 0.5, 40: 0.25})
    session(folder, "tensorboard", 20, {40: 0.75})
    session(folder, "tensorboard", 40, {60: 0.0})
    logged = EventAccumulator(str(folder.logs)).Reload()
    assert [(event.step, event.value) for event in logged.Scalars("step/loss")] == [(20, 0.5), (40, 0.75), (60, 0.0)]
    assert [event.step for event in logged.Scalars("epoch/loss")] == [40, 60]


@pytest.mark.usefixtures("stubbed")
def test_a_run_logs_where_it_is_told_to(
    photographs: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(photographs, tmp_path / "none", settings(logger="none"), progress=False)
    assert not (tmp_path / "none" / "logs").exists()

    train(photographs, tmp_path / "whole", settings(logger="csv", epochs=5), progress=False)
    whole = list(csv.DictReader((tmp_path / "whole" / "logs" / "metrics.csv").open()))
    assert [(row["step"], row["epoch/epoch"]) for row in whole] == [
        ("5", "1"), ("10", "2"), ("15", "3"), ("20", ""), ("20", "4"), ("25", "5")
    ]  # fmt: skip
    history = list(csv.DictReader((tmp_path / "whole" / "history.csv").open()))
    assert [row["epoch/loss"] for row in whole if row["epoch/loss"]] == [row["loss"] for row in history]

    calls = 0

    def fails(self: Any, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 23:
            raise RunError("interrupted")
        save(self, *arguments)

    save = trackers.Tracker.save
    monkeypatch.setattr(trackers.Tracker, "save", fails)
    with pytest.raises(RunError, match="interrupted"):
        train(photographs, tmp_path / "again", settings(logger="csv", epochs=5), progress=False)
    resume(tmp_path / "again", progress=False)
    again = list(csv.DictReader((tmp_path / "again" / "logs" / "metrics.csv").open()))
    assert [{**row, "epoch/seconds": ""} for row in again] == [{**row, "epoch/seconds": ""} for row in whole]
    resume(tmp_path / "again", progress=False, logger="none")  # it has finished, and the option may change


def test_a_package_that_is_absent_is_named_before_anything_is_read(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tlaam.utils.extras.find_spec", lambda name: None if name in ("wandb", "mlflow") else True)
    for name, title in (("wandb", "wandb"), ("mlflow", "MLflow")):
        with pytest.raises(MissingPackageError) as error:
            train(tmp_path / "nowhere", tmp_path / "run", settings(logger=name))
        assert str(error.value) == f"logger={name} needs {title}: {install_hint(name)}"
    assert main(["train", str(tmp_path / "nowhere"), "--logger", "wandb"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Calls(list[Any]):
    """What a stub of a package was asked for, in order."""

    def named(self, name: str) -> list[Any]:
        return [arguments for call, arguments in self if call == name]


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__dict__.update(content)
    return made


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Let the package be one that records what Lightning's logger calls."""
    calls = Calls()

    class Run:
        def __init__(self, **options: Any) -> None:
            calls.append(("init", options))
            self.id = options["id"]
            self.config = SimpleNamespace(update=lambda values, **_: calls.append(("config", values)))

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

        def log(self, values: dict[str, Any]) -> None:
            if values.get("step/loss") == -1.0:
                raise ConnectionError("no way\nthere")
            calls.append(("log", values))

        def finish(self, exit_code: int) -> None:
            calls.append(("finish", exit_code))

    stub = module("wandb", init=Run, run=None)
    for name, made in {
        "wandb": stub,
        "wandb.sdk": module("wandb.sdk"),
        "wandb.sdk.lib": module("wandb.sdk.lib", RunDisabled=type("RunDisabled", (), {})),
        "wandb.wandb_run": module("wandb.wandb_run", Run=Run),
    }.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    for variable in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    return calls


def test_wandb_stays_offline_and_goes_on_with_its_run(folder: RunFolder, wandb: Calls) -> None:
    session(folder, "wandb", 0, {20: 0.5})
    (begun,) = wandb.named("init")
    known = folder.read_json(folder.status)["logged"]["wandb"]
    assert begun["id"] == known and begun["mode"] == "offline" and begun["resume"] == "allow"
    assert (begun["project"], begun["name"], begun["dir"]) == ("tlaam", "run", str(folder.logs))
    assert wandb.named("log") == [
        {"step/loss": 0.5, "trainer/global_step": 20}, {"epoch/loss": 9.0, "trainer/global_step": 20}
    ]  # fmt: skip
    assert wandb.named("config")[0]["training"]["logger"] == "wandb" and wandb.named("finish") == [1]
    session(folder, "wandb", 20, {40: 0.25})
    assert [options["id"] for options in wandb.named("init")] == [known, known]
    assert len(wandb.named("config")) == 1  # settings are the run's, not the session's
    assert "WANDB_MODE" not in os.environ


def test_wandb_sends_when_asked_to(folder: RunFolder, wandb: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    opened(folder, "wandb", 0).close("success")
    assert [(options["mode"], options["project"]) for options in wandb.named("init")] == [("online", "birds")]
    assert wandb.named("finish") == [0]


def test_a_logger_that_fails_is_said_and_left(folder: RunFolder, wandb: Calls) -> None:
    said: list[str] = []
    tracker = opened(folder, "wandb", 0, said)
    for value in (0.5, -1.0, 0.25):
        tracker.log({"step/loss": value}, 20)
    tracker.save()
    tracker.close("success")
    assert said == ["The logger failed, and the training goes on without it: no way there"]
    assert [values["step/loss"] for values in wandb.named("log")] == [0.5]


def test_a_logger_that_cannot_begin_is_one_line(
    folder: RunFolder, wandb: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ValueError("no\nkey")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(RunError, match=r"^logger=wandb cannot be had: no key\. Mend that, or give another"):
        opened(folder, "wandb", 0)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """As `wandb`."""
    calls = Calls()

    class Client:
        def __init__(self, uri: str) -> None:
            calls.append(("client", (uri, os.environ.get("MLFLOW_ALLOW_FILE_STORE"))))

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str, artifact_location: Any) -> str:
            calls.append(("experiment", name))
            return "7"

        def create_run(self, experiment_id: str, tags: dict[str, str]) -> Any:
            calls.append(("create", tags))
            return SimpleNamespace(info=SimpleNamespace(run_id="abc", experiment_id="7"))

        def get_run(self, run_id: str) -> Any:
            return SimpleNamespace(info=SimpleNamespace(run_id=run_id, experiment_id="7"))

        def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
            calls.extend(("metric", (run_id, metric.key, metric.value, metric.step)) for metric in metrics)
            calls.extend(("param", (parameter.key, parameter.value)) for parameter in params)

        def set_terminated(self, run_id: str, status: str) -> None:
            calls.append(("ended", (run_id, status)))

        def update_run(self, run_id: str, status: str) -> None:
            calls.append(("update", (run_id, status)))

    def set_tracking_uri(uri: str | None) -> None:
        os.environ["MLFLOW_TRACKING_URI"] = str(uri)  # as the package does

    entities = module("mlflow.entities", Metric=SimpleNamespace, Param=SimpleNamespace)
    registry = module("mlflow.tracking.context.registry", resolve_tags=lambda tags: tags)
    context = module("mlflow.tracking.context", registry=registry)
    stubs = {
        "mlflow": module("mlflow", set_tracking_uri=set_tracking_uri),
        "mlflow.entities": entities,
        "mlflow.tracking": module("mlflow.tracking", MlflowClient=Client, context=context),
        "mlflow.tracking.context": context,
        "mlflow.tracking.context.registry": registry,
        "mlflow.utils": module("mlflow.utils"),
        "mlflow.utils.mlflow_tags": module("mlflow.utils.mlflow_tags", MLFLOW_RUN_NAME="name"),
    }
    for name, made in stubs.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", True)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(variable, raising=False)
    return calls


def test_mlflow_writes_files_of_the_run_and_goes_on_with_it(folder: RunFolder, mlflow: Calls) -> None:
    session(folder, "mlflow", 0, {20: 0.5})
    assert mlflow.named("client") == [((folder.logs / "mlruns").resolve().as_uri(), "true")]
    assert mlflow.named("experiment") == ["tlaam"] and mlflow.named("create") == [{"name": "run"}]
    assert mlflow.named("metric") == [("abc", "step/loss", 0.5, 20), ("abc", "epoch/loss", 9.0, 20)]
    assert ("training/logger", "mlflow") in mlflow.named("param") and mlflow.named("update") == []
    assert mlflow.named("ended") == [("abc", "FAILED")]
    assert folder.read_json(folder.status)["logged"] == {"mlflow": "abc"}

    del mlflow[:]
    opened(folder, "mlflow", 20).close("success")
    assert mlflow.named("create") == mlflow.named("param") == []
    assert mlflow.named("update") == [("abc", "RUNNING")] and mlflow.named("ended") == [("abc", "FINISHED")]
    assert "MLFLOW_TRACKING_URI" not in os.environ and "MLFLOW_ALLOW_FILE_STORE" not in os.environ


def test_mlflow_sends_where_it_is_told_to(folder: RunFolder, mlflow: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    opened(folder, "mlflow", 0).close("KILLED")
    assert mlflow.named("client") == [("http://tracker:5000", None)] and mlflow.named("ended") == [("abc", "KILLED")]
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://tracker:5000"
