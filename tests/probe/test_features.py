"""The store of features: in memory or in a file that nobody sees, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tlaam.errors import DataError
from tlaam.probe import features
from tlaam.probe.features import FeatureStore

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MEMORY_BYTES", 100)


def mapped(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_what_was_put_in_comes_out_of_memory_and_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 3, 5))
    for limit, on_disk in ((7 * 3 * 5 * 4, False), (7 * 3 * 5 * 4 - 1, True)):
        monkeypatch.setattr(features, "MEMORY_BYTES", limit)
        with FeatureStore(7, 3, 5, tmp_path) as store:
            for start in (0, 4):
                store.append(values[start : start + 4])
            assert store.on_disk is on_disk and isinstance(store.array, np.memmap) is on_disk
            assert_array_equal(store.array, values.astype(np.float32))
            for view in (store.array.reshape(7, 15), store.array.reshape(21, 5)):
                assert np.shares_memory(view, store.array)  # what the solvers read is no copy


@linux
def test_the_file_has_no_name_and_its_room_is_given_back(small_memory: None, tmp_path: Path) -> None:
    with FeatureStore(10, 1, 10, tmp_path) as store:
        store.append(np.ones((10, 1, 10)))
        assert store.on_disk and not any(tmp_path.iterdir()) and mapped(tmp_path)
    assert not mapped(tmp_path)


@linux
def test_nothing_is_left_after_an_exception(small_memory: None, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FeatureStore(10, 1, 10, tmp_path) as store:
        store.append(np.ones((1, 1, 10)) / (1 // 0))
    assert not any(tmp_path.iterdir()) and not mapped(tmp_path)


@linux
def test_nothing_is_left_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from tlaam.probe import features; features.MEMORY_BYTES = 1\n"
        "store = features.FeatureStore(2, 1, 4096, sys.argv[1]); assert store.on_disk; os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], timeout=120, check=False)
    assert ended.returncode == -9 and not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot say whether there is room")
def test_a_disk_without_room_is_an_error_at_once(
    small_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"10 images take .* no room.*No space left"):
        FeatureStore(10, 1, 10, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error(small_memory: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        FeatureStore(10, 1, 10, tmp_path / "nowhere")


def test_it_says_what_does_not_fit(tmp_path: Path) -> None:
    store = FeatureStore(3, 2, 4, tmp_path)
    store.append(np.zeros((2, 2, 4)))
    with pytest.raises(DataError, match="holds 2 of 3"):
        _ = store.array
    for shape in ((2, 2, 4), (1, 1, 4), (1, 2, 5)):
        with pytest.raises(DataError, match="room for 1"):
            store.append(np.zeros(shape))
    store.append(np.zeros((1, 2, 4)))
    assert store.array.shape == (3, 2, 4)
    store.close()
    store.close()
    with pytest.raises(DataError, match="closed"):
        _ = store.array
    with pytest.raises(DataError, match="closed"):
        store.append(np.zeros((1, 2, 4)))
