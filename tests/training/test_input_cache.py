"""Cached input images are those that decoding gives, whatever happened to the cache or to the images."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlaam.config.schema import Config
from tlaam.data.input_image import load_for_input, to_input
from tlaam.data.sample import Sample
from tlaam.errors import ConfigError, RunError
from tlaam.training.dataset import EvaluationImages, TrainingImages
from tlaam.training.input_cache import InputCache
from tlaam.training.transforms import Augment
from tlaam.utils.lock import locked

SIZE = 48


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(5):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (90 + number, 120, 3), dtype=np.uint8)).save(path)
        found.append(Sample(str(path), path.name, number % 2, "train", (10.0, 20.0, 60.0, 80.0), banner=number))
    return found


def decoded(sample: Sample) -> np.ndarray:
    return to_input(load_for_input(sample, SIZE)[0], SIZE)


def assert_right(cache: InputCache, samples: list[Sample]) -> None:
    for sample in samples:
        found = cache.get(sample)
        assert found is not None and np.array_equal(found[0], decoded(sample))
        assert found[1] == load_for_input(sample, SIZE)[1]


def test_inputs_are_kept_and_read_back(tmp_path: Path, samples: list[Sample]) -> None:
    cache, steps = InputCache(tmp_path / "cache", SIZE), []
    assert cache.get(samples[0]) is None
    assert cache.fill(samples[:3], progress=lambda done, total: steps.append((done, total))) == 3
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert_right(cache, samples[:3])
    assert cache.get(samples[4]) is None
    again = InputCache(tmp_path / "cache", SIZE)
    assert again.fill(samples) == 2 and again.fill(samples) == 0
    assert_right(pickle.loads(pickle.dumps(again)), samples)  # as a process that loads images gets it
    assert InputCache(tmp_path / "cache", SIZE + 1).get(samples[0]) is None


def test_windows_of_one_image_have_inputs_of_their_own(tmp_path: Path, samples: list[Sample]) -> None:
    parts = [replace(samples[0], name=str(side), window=(side, 5, side + 50, 60)) for side in (0, 10, 20)]
    cache = InputCache(tmp_path / "cache", SIZE)
    assert cache.fill([samples[0], *parts]) == 4
    assert_right(InputCache(tmp_path / "cache", SIZE), [samples[0], *parts])
    assert not np.array_equal(decoded(parts[0]), decoded(parts[1]))


def test_training_and_validation_see_the_same_with_and_without(tmp_path: Path, samples: list[Sample]) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples[:4])  # the last one has to be decoded
    augment = Augment(SIZE, flip=True, jitter=0.2, crop_scale=1)
    plain, cached = (TrainingImages(samples, SIZE, augment, 0, cache=kept) for kept in (None, cache))
    for epoch in range(3):
        for index in range(5):
            for one, other in zip(plain[epoch, index], cached[epoch, index], strict=True):
                torch.testing.assert_close(one, other)
    for index in range(5):
        pair = EvaluationImages(samples, SIZE)[index], EvaluationImages(samples, SIZE, cache)[index]
        for one, other in zip(*pair, strict=True):
            torch.testing.assert_close(one, other, equal_nan=True)


def test_an_image_that_changed_is_decoded_anew(tmp_path: Path, samples: list[Sample]) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    Image.new("RGB", (100, 100), "red").save(samples[1].path)
    assert cache.get(samples[1]) is None
    assert cache.fill(samples) == 1
    assert_right(cache, samples)
    state = samples[2].path.stat()
    os.utime(samples[2].path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert cache.get(samples[2]) is None
    samples[3].path.unlink()
    assert cache.get(samples[3]) is None and cache.fill(samples) == 1


@pytest.mark.parametrize("damage", ["half a line", "half an input image", "rubbish", "no line", "doubled"])
def test_what_is_not_whole_is_not_used_and_is_made_again(tmp_path: Path, samples: list[Sample], damage: str) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    index, rows = cache.folder / "index.jsonl", cache.folder / "canvases"
    if damage == "half a line":
        index.write_bytes(index.read_bytes()[:-9])
    elif damage == "half an input image":
        rows.write_bytes(rows.read_bytes()[:-9])
    elif damage == "rubbish":
        index.write_bytes(index.read_bytes() + b"\xff\x00[1]\n")
    elif damage == "no line":
        index.unlink()
    else:
        lines = index.read_text().splitlines(keepends=True)
        index.write_text("".join([*lines[:2], lines[1], *lines[2:]]))
    missing = {"half a line": 1, "half an input image": 1, "rubbish": 0, "no line": 5, "doubled": 3}[damage]
    again = InputCache(tmp_path / "cache", SIZE)
    assert again.fill(samples) == missing
    assert_right(again, samples)
    assert_right(InputCache(tmp_path / "cache", SIZE), samples)
    assert rows.stat().st_size == 5 * 3 * SIZE * SIZE


def test_a_flipped_bit_is_noticed(tmp_path: Path, samples: list[Sample]) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    rows = cache.folder / "canvases"
    content = bytearray(rows.read_bytes())
    content[3 * SIZE * SIZE + 7] ^= 1
    rows.write_bytes(content)
    again = InputCache(tmp_path / "cache", SIZE)
    assert again.get(samples[1]) is None
    assert_right(again, [samples[0], samples[2]])


def test_an_unreadable_image_is_left_to_who_uses_it(tmp_path: Path, samples: list[Sample]) -> None:
    samples[0].path.write_bytes(b"no image")
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    assert cache.get(samples[0]) is None
    assert_right(cache, samples[1:])


def test_one_process_fills_at_a_time(tmp_path: Path, samples: list[Sample]) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples[:1])
    child = os.fork()
    if child == 0:  # locks are a process's
        try:
            with locked(cache.folder / "lock", cache.folder):
                (tmp_path / "held").touch()
                while not (tmp_path / "done").exists():
                    pass
        finally:
            os._exit(0)
    while not (tmp_path / "held").exists():
        pass
    with pytest.raises(RunError, match="in use"):
        cache.fill(samples)
    (tmp_path / "done").touch()
    os.waitpid(child, 0)
    assert cache.fill(samples) == 4


def test_crops_and_a_cache_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="crop_scale"):
        Config.from_flat({"cache": "somewhere", "crop_scale": 0.5})


def test_a_damaged_index_is_said_and_what_it_lost_is_cached_anew(
    tmp_path: Path, samples: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    index = cache.folder / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join([lines[0], lines[1].replace(" 120, 90,", " 120, 95,"), *lines[2:]]))  # an image's height
    assert index.read_text() != "".join(lines)
    again = InputCache(tmp_path / "cache", SIZE)
    assert again.fill(samples) == 4
    assert_right(again, samples)
    assert "index.jsonl is damaged at line 2; 4 images are cached anew" in capsys.readouterr().err


def test_a_damaged_input_image_is_said_once(
    tmp_path: Path, samples: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = InputCache(tmp_path / "cache", SIZE)
    cache.fill(samples)
    (cache.folder / "canvases").write_bytes(bytes(5 * 3 * SIZE * SIZE))
    again = InputCache(tmp_path / "cache", SIZE)
    assert [again.get(sample) for sample in samples] == [None] * 5
    assert capsys.readouterr().err.count("does not fit its checksum") == 1
