"""Two processes train and measure as one does, to rounding."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tlaam.training.checkpoint import load_state

# A network without batch normalisation, whose statistics are each device's own, and whose images divide by two.
OPTIONS = shlex.split(
    "--backbone test_vit --pretrained none --image-size 160 --source-size 160 --localizer oaam --epochs 2 "
    "--raw-epochs 1 --lr 0.01 --accelerator cpu --workers 0 --keep last"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen training and seven validation images of three classes."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, counts in {"train": (6, 5, 5), "val": (2, 2, 3)}.items():
        for label, count in enumerate(counts):
            (folder / split / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 160, (60, 70, 3), dtype=np.uint8)
                pixels[..., label] += 80
                Image.fromarray(pixels).save(folder / split / f"class{label}" / f"{number}.png")
    return folder


def tlaam(*arguments: object) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    subprocess.run(
        [sys.executable, "-m", "tlaam", *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


def test_two_processes_do_what_one_does(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    tlaam("train", data, *OPTIONS, "--devices", 1, "--batch-size", 8, "--out", one)
    tlaam("train", data, *OPTIONS, "--devices", 2, "--batch-size", 4, "--out", two)
    added_up = tmp_path / "added up"
    accumulated = ["--devices", 2, "--batch-size", 2, "--accumulate", 2, "--no-index", "--no-report"]
    tlaam("train", data, *OPTIONS, *accumulated, "--out", added_up)
    assert (two / "report.html").exists()
    alone = load_file(one / "model.safetensors")
    for together in (load_file(run / "model.safetensors") for run in (two, added_up)):
        for name, weights in alone.items():
            torch.testing.assert_close(together[name], weights, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(*(csv.DictReader((run / "history.csv").open()) for run in (one, two)), strict=True):
        for column in set(mine) - {"seconds"}:
            assert (mine[column] == theirs[column] == "") or float(theirs[column]) == pytest.approx(
                float(mine[column]), rel=1e-5
            ), column

    measured = []
    for devices in (1, 2):
        file = tmp_path / f"{devices}.json"
        options = ["--devices", devices, "--precision", "32-true", "--split", "val", "--json", file]
        tlaam("evaluate", one, data, *options, "--page", tmp_path / f"{devices}.html", "--pictures", 2)
        measured.append(json.loads(file.read_text()))
        assert (tmp_path / f"{devices}.html").exists()
    assert measured[1]["images"] == 7 and _close(*measured)


SHARDED = shlex.split(
    "--backbone test_resnet --pretrained none --image-size 64 --source-size 96 --part-size 32 --localizer foreground "
    "--pseudo-mask-size 96 --lr 0.01 --epochs 2 --raw-epochs 1 --batch-size 2 --accumulate 2 --accelerator cpu "
    "--workers 0 --keep last --no-report --devices 2"
)


def test_shards_learn_what_whole_copies_learn_and_each_goes_on_with_the_other(data: Path, tmp_path: Path) -> None:
    runs = {strategy: tmp_path / strategy for strategy in ("ddp", "fsdp")}
    for strategy, run in runs.items():
        tlaam("train", data, *SHARDED, "--strategy", strategy, "--out", run)
    learnt = {strategy: load_file(run / "model.safetensors") for strategy, run in runs.items()}
    for name, weights in learnt["ddp"].items():
        torch.testing.assert_close(learnt["fsdp"][name], weights, rtol=1e-4, atol=1e-5)
    begun = load_state(runs["fsdp"] / "checkpoints" / "step-000000002.ckpt")  # after the first of two epochs
    assert not torch.equal(begun["model"]["classifier.weight"], learnt["ddp"]["classifier.weight"])

    for strategy, other in (("fsdp", "ddp"), ("ddp", "fsdp")):
        run = runs[strategy]
        (run / "checkpoints" / "step-000000004.ckpt").unlink()
        (run / "model.safetensors").unlink()
        status = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**status, "state": "running"}))
        tlaam("train", "--resume", run, "--strategy", other, "--no-report")
        for name, weights in load_file(run / "model.safetensors").items():
            torch.testing.assert_close(weights, learnt["ddp"][name], rtol=1e-4, atol=1e-5)


def _close(one: object, other: object) -> bool:
    """Return whether two JSON values are the same but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return one == pytest.approx(other, abs=1e-5) if isinstance(one, float) else one == other
