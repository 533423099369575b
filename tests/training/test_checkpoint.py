from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tlaam.errors import RunError
from tlaam.training.checkpoint import Checkpoints, load_state, save_state
from tlaam.utils import atomic

STATE: dict[str, Any] = {"step": 3, "model": {"w": torch.arange(5.0)}, "names": ["é", None], "best": (0.5, -1.0)}


def test_round_trip(tmp_path: Path) -> None:
    save_state(tmp_path / "a.ckpt", STATE)
    loaded = load_state(tmp_path / "a.ckpt")
    assert torch.equal(loaded.pop("model")["w"], STATE["model"]["w"])
    assert loaded == {name: value for name, value in STATE.items() if name != "model"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no trailer"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.ckpt"
    save_state(path, STATE)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"truncated": content[:-100], "flipped": content, "empty": b"", "no trailer": content[:-45]}[damage]
    )
    with pytest.raises(RunError, match="damaged"):
        load_state(path)


def test_code_is_never_unpickled(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "hacked"),)

    save_state(tmp_path / "a.ckpt", {"payload": Malicious()})
    with pytest.raises(RunError, match="not loaded"):
        load_state(tmp_path / "a.ckpt")
    assert not (tmp_path / "hacked").exists()


def test_the_newest_good_one_is_used_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step})
    assert [path.name for path in checkpoints.paths()] == ["step-000000002.ckpt", "step-000000003.ckpt"]
    checkpoints.paths()[-1].write_bytes(b"broken")
    (tmp_path / ".step-000000004.ckpt.99.tmp").write_bytes(b"half")
    found = checkpoints.newest()
    assert found.state == {"step": 2}
    assert len(found.complaints) == 1 and "step-000000003" in found.complaints[0]
    checkpoints.save(3, {"step": 3})
    again = checkpoints.newest()
    assert again.state == {"step": 3} and again.complaints == []
    assert not list(tmp_path.glob(".*.tmp"))


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "missing").newest() == (None, [])


@pytest.mark.parametrize(
    ("number", "said", "message"),
    [
        (errno.ENOSPC, "No space left on device", "disk is full.*Free some space"),
        (errno.EDQUOT, "Disk quota exceeded", "Disk quota exceeded.*Free some space"),
        (errno.EFBIG, "File too large", "File too large.*Free some space"),
        (errno.EIO, "Input/output error", "Input/output error.*Check the folder"),
    ],
)
def test_failed_writing_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, message: str
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, STATE)

    def full(descriptor: int) -> None:
        raise OSError(number, said)

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(RunError, match=message) as caught, atomic.full_disk_named(tmp_path, "go on."):
        checkpoints.save(2, STATE)
    assert "step-000000002.ckpt" in str(caught.value) and str(caught.value).endswith("then go on.")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.ckpt"]
    assert load_state(tmp_path / "step-000000001.ckpt")["step"] == 3


def test_best_weights_stay_until_no_checkpoint_refers_to_them(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(0, {"w": torch.zeros(1)})
    checkpoints.save(10, {"best_epoch": 0})
    checkpoints.save_best(2, {"w": torch.ones(1)})
    checkpoints.save(30, {"best_epoch": 2})
    checkpoints.save_best(3, {"w": torch.ones(1)})  # killed here: both checkpoints' weights must be there
    assert checkpoints.load_best(0)["w"] == 0 and checkpoints.load_best(2)["w"] == 1
    checkpoints.drop_best_after(2)
    with pytest.raises(RunError, match="best-000003"):
        checkpoints.load_best(3)
    checkpoints.save(40, {"best_epoch": 2})
    checkpoints.save_best(4, {"w": torch.ones(1)})
    checkpoints.save(50, {"best_epoch": 4})
    assert [path.name for path in sorted(tmp_path.glob("best-*"))] == ["best-000002.ckpt", "best-000004.ckpt"]


def test_what_a_killed_process_had_not_dropped_yet_is_dropped_when_it_goes_on(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in range(4):
        save_state(tmp_path / f"step-{step:09d}.ckpt", {"step": step})
        save_state(tmp_path / f"best-{step:06d}.ckpt", {"epoch": step, "model": {}})
    (tmp_path / ".step-000000003.ckpt.x1y2.tmp").write_bytes(b"half")
    assert store.newest().state == {"step": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-000002.ckpt", "best-000003.ckpt", "step-000000002.ckpt", "step-000000003.ckpt",
    ]  # fmt: skip
