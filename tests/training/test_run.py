from __future__ import annotations

import csv
import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stub_network import SETTINGS, StubNetwork
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.data.depth import LEGACY, Depth
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.split import with_validation
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import ConfigError, DataError, ModelError, RunError
from tlaam.models.output import TLAAMOutput
from tlaam.runs.data import opened_again
from tlaam.runs.folder import RunFolder
from tlaam.runs.history import COLUMNS
from tlaam.training import checkpoint
from tlaam.training import run as running
from tlaam.training.checkpoint import Checkpoints
from tlaam.training.run import resume, train
from tlaam.utils import atomic

pytestmark = pytest.mark.usefixtures("stubbed")
Settings = Callable[..., Config]


@pytest.fixture
def copy(photographs: Path, tmp_path: Path) -> Path:
    """The photographs in a folder of the test's own."""
    folder = tmp_path / "data"
    for path in photographs.rglob("*.png"):
        target = folder / path.relative_to(photographs)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def test_run_folder_is_whole(photographs: Path, tmp_path: Path, settings: Settings) -> None:
    random_state = torch.random.get_rng_state()
    run = RunFolder(train(photographs, tmp_path / "run", settings(epochs=5), progress=False))
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert Config.from_yaml(run.config).training.precision == "32-true"  # resolved
    data = run.read_json(run.data)
    assert data["images"] == {"train": 21, "val": 6, "test": 0}
    assert len(data["val"]) == 6
    status = run.read_json(run.status)
    assert status["state"] == "finished" and status["versions"]["torch"] == torch.__version__.split("+")[0]
    rows = list(csv.DictReader(run.history.open()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0]["loss_object"] == "" and rows[1]["loss_object"] != ""  # the first epoch is raw only
    logged = EventAccumulator(str(run.logs)).Reload()
    assert [event.step for event in logged.Scalars("step/loss")] == [20]
    assert [event.step for event in logged.Scalars("epoch/val_top1_fused")] == [5, 10, 15, 20, 25]
    assert (run.path / "model.safetensors").is_file()


def test_finished_run_is_left_alone(photographs: Path, tmp_path: Path, settings: Settings) -> None:
    path = train(photographs, tmp_path / "run", settings(epochs=1), progress=False)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    resume(path, progress=False)
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_train_never_writes_into_a_used_folder(photographs: Path, tmp_path: Path, settings: Settings) -> None:
    train(photographs, tmp_path / "run", settings(epochs=1), progress=False)
    with pytest.raises(RunError, match="--resume"):
        train(photographs, tmp_path / "run", settings(), progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        train(photographs, tmp_path / "mine", settings(), progress=False)
    (tmp_path / "mine" / "letter.txt").rename(tmp_path / "mine" / "data.json")
    with pytest.raises(RunError, match="not empty"):  # a name of ours alone does not make it ours
        train(photographs, tmp_path / "mine", settings(), progress=False)
    with pytest.raises(RunError, match="does not exist"):
        resume(tmp_path / "nowhere")


def test_a_used_folder_is_refused_before_any_image_is_read(
    photographs: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("images were read")

    monkeypatch.setattr("tlaam.training.usable_data.find_unreadable", never)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        train(photographs, tmp_path, settings(), progress=False)


def test_leavings_of_a_run_killed_while_beginning_are_cleared(
    photographs: Path, tmp_path: Path, settings: Settings
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for name in (".lock", "data.json", "skipped.json", "run.json", ".config.yaml.7.tmp"):
        (run.path / name).write_text("{}")
    train(photographs, run.path, settings(epochs=1), progress=False)
    assert not run.skipped.exists() and not list(run.path.glob(".*.tmp"))
    assert run.read_json(run.status)["state"] == "finished"


class _Breaking(StubNetwork):
    """Answers NaN in the tenth training step."""

    steps = 0

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        output = super().forward(images, labels, raw_only)
        self.steps += self.training
        return output._replace(raw_logits=output.raw_logits * float("nan")) if self.steps == 10 else output


def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(
    photographs: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlaam.training.run.build_model", lambda config, classes, load_pretrained: _Breaking(classes))
    with pytest.raises(RunError, match=r"loss became nan in epoch 2, step 10;.*another --out"):
        train(photographs, tmp_path / "run", settings(), progress=False)
    run = RunFolder(tmp_path / "run")
    status = run.read_json(run.status)
    assert status["state"] == "failed" and status["reason"] == "The loss became nan in epoch 2, step 10"
    with pytest.raises(RunError, match=r"failed.*epoch 2, step 10.*another --out") as refused:
        train(photographs, tmp_path / "run", settings(), progress=False)
    assert "--resume" not in str(refused.value)
    state = Checkpoints(run.checkpoints).newest().state
    assert state is not None and state["step"] == 9
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_non_finite_loss_of_any_batch_ends_its_step(
    photographs: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenth: with five batches an epoch and two a step, the only one of step 6; with 13 and five, one of step 2."""
    monkeypatch.setattr("tlaam.training.run.build_model", lambda config, classes, load_pretrained: _Breaking(classes))
    with pytest.raises(RunError, match="loss became nan in epoch 2, step 6;"):
        train(photographs, tmp_path / "two", settings(accumulate=2), progress=False)
    with pytest.raises(RunError, match="loss became nan in epoch 1, step 2;"):
        options = {"accumulate": 5, "batch_size": 2, "val_fraction": 0.0, "raw_epochs": 0}
        train(photographs, tmp_path / "five", settings(**options), progress=False)


def test_full_disk_is_one_line_and_the_run_can_go_on(
    photographs: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = atomic.write_atomically

    def full(path: Path, *pieces: Any) -> None:
        with atomic.full_disk_named(path):
            if path.name == "step-000000007.ckpt":
                raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *pieces)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        with pytest.raises(
            RunError, match=r"disk is full: .*step-000000007\.ckpt .*continue with: tlaam train --resume"
        ) as caught:
            train(photographs, tmp_path / "run", settings(), progress=False)
    assert "\n" not in str(caught.value)
    resume(tmp_path / "run", progress=False)
    train(photographs, tmp_path / "whole", settings(), progress=False)
    names = ("run", "whole")
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in names}) == 1


def test_moved_data_is_said_with_what_helps(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    moved = copy.rename(tmp_path / "moved")
    with pytest.raises(
        RunError, match=rf"was at {copy}.*it continues with: tlaam train --resume {run} --data NEW$"
    ) as caught:
        resume(run, progress=False)
    assert "\n" not in str(caught.value)
    resume(run, source=open_dataset(moved), progress=False)
    status = RunFolder(run).read_json(RunFolder(run).status)
    assert status["state"] == "finished" and "reason" not in status


def test_moved_data_is_remembered_and_changes_nothing(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(copy, tmp_path / "whole", settings(), progress=False)
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    moved = copy.rename(tmp_path / "moved")
    other = tmp_path / "other"
    shutil.copytree(moved, other)
    (other / "class0" / "0.png").rename(other / "class1" / "new.png")
    before = RunFolder(run).data.read_text()
    assert main(["train", "--resume", str(run), "--data", str(other)]) == 1
    said = capsys.readouterr().err
    assert f"{run} is a run of another data set: not of {other}" in said and said.count("tlaam: ") == 1
    assert RunFolder(run).data.read_text() == before
    assert main(["train", str(moved), "--data", str(moved)]) == 2
    assert "--data says where the data of a run lies" in capsys.readouterr().err

    assert main(["train", "--resume", str(run), "--data", str(moved), "--no-index", "--no-report"]) == 0
    assert len({(path / "model.safetensors").read_bytes() for path in (whole, run)}) == 1
    facts = RunFolder(run).read_json(RunFolder(run).data)
    assert (facts["source"], facts["root"], facts["name"]) == (str(moved), str(moved), "data")
    assert opened_again(facts).fingerprint() == facts["source_fingerprint"]


def test_settings_may_be_a_mapping(photographs: Path, tmp_path: Path) -> None:
    options = {**{name.replace("_", "-"): value for name, value in SETTINGS.items()}, "epochs": 1}
    run = train(photographs, tmp_path / "run", options, progress=False)
    assert Config.from_yaml(run / "config.yaml").training.batch_size == 4
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        train(photographs, tmp_path / "other", {"epoch": 1}, progress=False)
    with pytest.raises(ConfigError, match="config is a str"):
        train(photographs, tmp_path / "other", "epochs", progress=False)  # type: ignore[arg-type]


def test_what_was_chosen_is_said_before_the_first_epoch(
    photographs: Path, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    train(photographs, tmp_path / "run", settings(epochs=2))
    said = capsys.readouterr().err.splitlines()
    assert "3 classes; images: 21 train, 6 val, 0 test" in said[0]
    assert "stub, starting from timm hub, stub; input 32 px, source 32 px; modules: oaam, mpalm, lcam" in said[1]
    assert "2 epochs (the first 1 on the raw image only), batch 4, adamw, lr 0.05, cpu (devices: 1)" in said[2]
    assert said[3] == "Classes: class0 9, class1 9, class2 9"
    assert said[4].startswith("epoch 1/2 · loss raw ") and "object" not in said[4].split("·")[1]
    assert all(f" {branch} " in said[5].split("·")[1] for branch in ("raw", "object", "parts"))
    train(photographs, tmp_path / "last", settings(epochs=1, val_fraction=0))
    assert "weights of the last epoch are kept" in capsys.readouterr().err


def test_run_of_another_data_set_is_refused(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    next(copy.rglob("*.png")).rename(copy / "class0" / "renamed.png")
    with pytest.raises(RunError, match="another data set"):
        resume(run, progress=False)


def test_only_machine_settings_may_change(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    with pytest.raises(ConfigError, match="lr"):
        resume(run, lr=1)
    resume(run, progress=False, workers=1, devices=None)
    assert RunFolder(run).read_json(RunFolder(run).status)["state"] == "finished"


def test_the_command_resumes_with_other_machine_settings_only(
    copy: Path,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    assert main(["train", "--resume", str(run), "--workers", "1", "--lr", "1"]) == 2
    assert "--lr cannot be changed" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--devices", "2"]) == 1
    said = capsys.readouterr().err
    assert "begun on 1 device(s), not 2" in said and said.count("tlaam: ") == 1
    others = ["--workers", "1", "--accelerator", "cpu", "--no-index", "--no-report"]  # the network is a stub
    assert main(["train", "--resume", str(run), *others]) == 0


def test_the_kind_of_device_may_change_within_a_run(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here there is no MPS; `--devices mps` replaces the accelerator that the run was begun on, and says so."""
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    assert main(["train", "--resume", str(run), "--devices", "mps"]) == 1
    said = capsys.readouterr().err
    assert "accelerator 'mps'" in said and "cannot be had" in said and said.count("\n") == 1
    with pytest.raises(ConfigError, match=r"accelerator 'mps'.*cannot be had"):
        resume(run, devices="mps", progress=False)
    assert main(["train", "--resume", str(run), "--devices", "mps", "--accelerator", "cpu"]) == 1
    assert "devices = mps and accelerator = cpu are two kinds" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--devices", "cpu", "--no-index", "--no-report"]) == 0


@pytest.mark.parametrize("spoken", [True, False])
def test_drawn_images_are_found_again(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, spoken: bool
) -> None:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    options = SyntheticOptions(classes=2, images_per_class=9, test_per_class=1, size=96)
    source = str(options) if spoken else synthetic_images(options, tmp_path / "elsewhere")
    run = _interrupted(source, tmp_path, settings, monkeypatch)
    assert RunFolder(run).read_json(RunFolder(run).data)["source"] == str(options)
    resume(run, progress=False)
    assert RunFolder(run).read_json(RunFolder(run).status)["state"] == "finished"
    assert (tmp_path / "cache").exists() == spoken


def test_checkpoint_of_another_run_is_refused(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    newest = Checkpoints(run / "checkpoints").paths()[-1]
    state = checkpoint.load_state(newest)
    state["identity"]["fingerprint"] = "another"
    checkpoint.save_state(newest, state)
    with pytest.raises(RunError, match="of a run on other data"):
        resume(run, progress=False)


def test_best_weights_of_a_lost_timeline_are_dropped(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    checkpoints = Checkpoints(run / "checkpoints")
    state = checkpoints.newest().state
    assert state is not None and state["best_epoch"] == 0
    checkpoints.save_best(1, {"of": "an epoch that the checkpoint has not seen"})
    checkpoints.save_best(9, {"of": "an epoch that the checkpoint has not seen"})
    resume(run, progress=False)
    train(copy, tmp_path / "whole", settings(), progress=False)
    assert len({(tmp_path / n / "model.safetensors").read_bytes() for n in ("run", "whole")}) == 1
    assert not list((run / "checkpoints").glob("best-000009*"))


def test_lost_best_weights_are_said(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    for path in (run / "checkpoints").glob("best-*"):
        path.write_bytes(b"broken")
    resume(run)
    assert "The best epoch from here on is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), "batch_size 4.*lower batch_size.*--resume"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "fewer workers.*--resume .*run"),
    ],
)
def test_faults_of_the_machine_are_one_line(
    copy: Path,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    fault: RuntimeError,
    message: str,
) -> None:
    def failing(self: StubNetwork, *args: Any, **options: Any) -> Any:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(StubNetwork, "forward", failing)
        with pytest.raises(RunError, match=message) as caught:
            train(copy, tmp_path / "run", settings(), progress=False)
    assert "\n" not in str(caught.value)
    resume(tmp_path / "run", progress=False)


def test_damaged_checkpoint_is_said_and_the_one_before_used(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    newest = Checkpoints(RunFolder(run).checkpoints).paths()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    resume(run)
    said = capsys.readouterr().err
    assert newest.name in said and "damaged" in said and "Continuing after step 8" in said


def _interrupted(
    source: Path | str | LabelledImages, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr("tlaam.training.run.build_model", lambda config, classes, load_pretrained: _Breaking(classes))
        with pytest.raises(RunError):
            train(source, tmp_path / "run", settings(), progress=False)
    return tmp_path / "run"


def test_unreadable_images_are_refused_or_recorded(copy: Path, tmp_path: Path, settings: Settings) -> None:
    for number in range(7):
        (copy / "class1" / f"{number}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"7 image\(s\).*and 4 more.*--skip-unreadable"):
        train(copy, tmp_path / "run", settings(), progress=False)
    assert not (tmp_path / "run").exists()
    run = RunFolder(train(copy, tmp_path / "run", settings(epochs=1, skip_unreadable=True), progress=False))
    skipped = run.read_json(run.skipped)["skipped"]
    assert {entry["name"] for entry in skipped} == {f"class1/{number}.png" for number in range(7)}
    data = run.read_json(run.data)  # the validation images are cut from those that can be read, of every class
    assert sorted({name.split("/")[0] for name in data["val"]}) == ["class0", "class1", "class2"]
    opened = open_dataset(copy)
    assert data["source_fingerprint"] == opened.fingerprint()
    names = {entry["name"] for entry in skipped}
    left = opened.with_samples([sample for sample in opened.samples if sample.name not in names])
    assert data["fingerprint"] == with_validation(left, data["val_fraction"], data["seed"]).fingerprint()


def test_a_run_without_unreadable_images_continues(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "class1" / "3.png").write_bytes(b"broken")
    run = _interrupted(copy, tmp_path, lambda **changes: settings(skip_unreadable=True, **changes), monkeypatch)
    resume(run, progress=False)
    assert RunFolder(run).read_json(RunFolder(run).status)["state"] == "finished"


def test_without_validation_images_the_last_weights_are_kept(
    photographs: Path, tmp_path: Path, settings: Settings
) -> None:
    path = train(photographs, tmp_path / "run", settings(val_fraction=0, ema_decay=0, epochs=1), progress=False)
    assert json.loads((path / "data.json").read_text())["images"]["val"] == 0
    assert not (path / "checkpoints" / "best-000000.ckpt").exists()


def test_a_running_process_locks_its_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    program = (
        "import sys; from pathlib import Path; from tlaam.runs.folder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).locked(): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match=f"in use.*process {other.pid}"), folder.locked():
            pass
        other.kill()
    with folder.locked():
        pass


def test_settings_that_cannot_be_had_are_one_line(photographs: Path, tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="fsdp"):
        train(photographs, tmp_path / "run", settings(strategy="fsdp_cpu_offload"), progress=False)
    with pytest.raises(ConfigError, match="devices") as caught:
        train(photographs, tmp_path / "run", settings(devices="many"), progress=False)
    assert "\n" not in str(caught.value)


def test_sizes_are_those_of_the_input_image(photographs: Path, tmp_path: Path, settings: Settings) -> None:
    assert Image.open(next(photographs.rglob("*.png"))).size == (48, 40)
    path = train(photographs, tmp_path / "run", settings(source_size=48, epochs=1), progress=False)
    assert (path / "model.safetensors").is_file()


def test_very_many_images_are_not_looked_at_beforehand(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next(iter(sorted((copy / "class0").iterdir())))
    broken.write_bytes(b"broken")
    monkeypatch.setattr("tlaam.training.usable_data.LOOKED_AT", 20)
    with pytest.raises(DataError, match=broken.name):
        train(copy, tmp_path / "run", settings(epochs=1, val_fraction=0))
    assert "27 images are too many to look at" in capsys.readouterr().err
    assert RunFolder(tmp_path / "run").checkpoints.exists()  # it had begun
    train(copy, tmp_path / "skipping", settings(epochs=1, skip_unreadable=True), progress=False)
    assert (tmp_path / "skipping" / "skipped.json").exists()


def test_settings_that_were_altered_are_refused(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    written = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(written.replace("lr: 0.05", "lr: 0.07"))
    with pytest.raises(RunError, match=r"config\.yaml is damaged or was altered.*lr 0\.07 instead of 0\.05"):
        resume(run, progress=False)
    (run / "config.yaml").write_text(written.replace("checkpoint_every: 0.0", "checkpoint_every: 5.0"))
    resume(run, progress=False)  # which decides nothing of the result


def test_the_best_weights_before_lost_ones_are_kept(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    checkpoints = Checkpoints(run / "checkpoints")
    state = checkpoints.newest().state
    assert state is not None and state["best_epoch"] == 0
    state["history"].append({**state["history"][0], "best": 1, "val_top1_fused": 2.0})
    state["best_epoch"] = 1
    checkpoint.save_state(checkpoints.paths()[-1], state)
    (run / "checkpoints" / "best-000001.ckpt").write_bytes(b"broken")
    resume(run)
    said = capsys.readouterr().err
    assert "best-000001.ckpt is damaged" in said and "weights of epoch 1, the best before it, are kept" in said


def test_the_damaged_model_of_a_finished_run_is_written_anew(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train(copy, tmp_path / "run", settings(epochs=1), progress=False)
    good = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(good[:-9])

    def damaged(folder: Path) -> None:
        raise ModelError("model.safetensors is damaged.")

    monkeypatch.setattr("tlaam.training.run.require_intact", damaged)
    resume(path)
    assert (path / "model.safetensors").read_bytes() == good
    assert "damaged. It is written anew from the newest checkpoint." in capsys.readouterr().err


def test_what_a_killed_process_left_half_written_is_removed(
    copy: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _interrupted(copy, tmp_path, settings, monkeypatch)
    (run / ".model.safetensors.7.tmp").write_bytes(b"half")
    resume(run, progress=False)
    assert not list(run.rglob(".*.tmp"))


@pytest.mark.usefixtures("without_heif")
def test_deep_images_are_read_by_one_depth_that_the_run_keeps(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in ("crow", "jay"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            levels = rng.integers(0, 4096 if number else 300, (40, 48)).astype(np.uint16)
            Image.fromarray(levels).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "jay" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    kept: list[Depth] = []
    save = running.save_model
    monkeypatch.setattr(running, "save_model", lambda *given: (kept.append(given[-1]), save(*given)))
    folder = RunFolder(train(tmp_path / "photos", tmp_path / "run", settings(epochs=1)))
    said = capsys.readouterr().err
    assert said.count("1 file of a type that is not read (1 .heic;") == 1
    assert said.count("16 images of more than 8 bits: black and white are taken for 12 bits (0…4095)") == 1
    assert kept == [Depth(whole=(0.0, 4095.0))]
    facts = folder.read_json(folder.data)
    assert opened_again(facts).depth == kept[0]
    assert opened_again({name: value for name, value in facts.items() if name != "depth"}).depth == LEGACY
    with pytest.raises(RunError, match=r"'depth' in data\.json cannot be used"):
        opened_again({**facts, "depth": {"whole": [9]}})
