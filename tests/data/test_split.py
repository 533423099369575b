from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.data.split import with_test, with_validation
from tlaam.errors import ConfigError


def _images(sizes: dict[str, int], *, test: int = 0) -> LabelledImages:
    """Classes of the given numbers of training images, each with some test images besides."""
    samples = []
    for label, (name, size) in enumerate(sizes.items()):
        for number in range(size + test):
            split: Split = "train" if number < size else "test"
            samples.append(Sample(f"{name}/{number}.jpg", f"{name}/{number}.jpg", label, split))
    return LabelledImages("x", Path("x"), "folder", tuple(sizes), tuple(samples))


def _chosen(images: LabelledImages, split: Split) -> set[str]:
    return {sample.name for sample in images.split(split)}


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.5, 0.99])
def test_sizes_are_stratified(fraction: float) -> None:
    sizes = {"a": 1, "b": 2, "c": 3, "d": 10, "e": 45, "f": 100}
    cut = with_validation(_images(sizes, test=4), fraction, seed=0)
    taken = Counter(cut.classes[sample.label] for sample in cut.split("val"))
    for name, size in sizes.items():
        expected = 0 if size == 1 else min(max(1, round(fraction * size)), size - 1)
        assert taken[name] == expected
    assert len(cut.split("test")) == 4 * len(sizes)
    assert len(cut.samples) == sum(sizes.values()) + 4 * len(sizes)


def test_test_images_and_the_order_are_left_alone() -> None:
    images = _images({"a": 10, "b": 10}, test=5)
    cut = with_validation(images, 0.3, seed=1)
    assert cut.split("test") == images.split("test")
    assert [sample.name for sample in cut.samples] == [sample.name for sample in images.samples]
    assert [sample.label for sample in cut.samples] == [sample.label for sample in images.samples]


def test_depends_on_seed_only() -> None:
    images = _images({"a": 50, "b": 50})
    first = _chosen(with_validation(images, 0.2, seed=0), "val")
    assert _chosen(with_validation(images, 0.2, seed=0), "val") == first
    shuffled = images.with_samples(images.samples[::-1])
    assert _chosen(with_validation(shuffled, 0.2, seed=0), "val") == first
    alone = images.with_samples([sample for sample in images.samples if sample.label == 0])
    assert _chosen(with_validation(alone, 0.2, seed=0), "val") == {name for name in first if name.startswith("a/")}
    assert _chosen(with_validation(images, 0.2, seed=1), "val") != first


def test_the_cut_is_the_same_on_every_machine_and_version() -> None:
    cut = with_validation(_images({"a": 10, "b": 10}), 0.2, seed=0)
    assert _chosen(cut, "val") == {"a/3.jpg", "a/4.jpg", "b/0.jpg", "b/6.jpg"}


def test_a_larger_fraction_keeps_what_a_smaller_one_took() -> None:
    images = _images({"a": 40})
    small, large = (_chosen(with_validation(images, fraction, seed=3), "val") for fraction in (0.1, 0.4))
    assert small < large


def test_existing_split_and_fraction_zero_change_nothing() -> None:
    images = _images({"a": 10, "b": 10})
    assert with_validation(images, 0, seed=0) is images
    cut = with_validation(images, 0.2, seed=0)
    assert with_validation(cut, 0.5, seed=9) is cut
    with_tests = _images({"a": 10, "b": 10}, test=1)
    assert with_test(with_tests, 0.5, seed=0) is with_tests


def test_test_and_validation_are_drawn_independently() -> None:
    images = _images({"a": 100, "b": 100})
    test, validation = with_test(images, 0.2, seed=0), with_validation(images, 0.2, seed=0)
    assert len(_chosen(test, "test")) == len(_chosen(validation, "val")) == 40
    assert _chosen(test, "test") != _chosen(validation, "val")
    both = with_validation(test, 0.25, seed=0)
    assert [len(both.split(split)) for split in ("train", "val", "test")] == [120, 40, 40]
    assert _chosen(both, "test") == _chosen(test, "test")


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction is"):
        with_validation(_images({"a": 3}), fraction, seed=0)


def test_names_that_are_not_unicode() -> None:
    images = _images({"a\udcff": 4})
    assert len(with_validation(images, 0.25, seed=0).split("val")) == 1


def test_real_training_images(shared_data: Path) -> None:
    from tlaam.data.public.cub import read_cub

    images = read_cub(shared_data / "cub10")
    cut = with_validation(images, 0.2, seed=0)
    assert set(Counter(sample.label for sample in cut.split("val")).values()) == {6}
    assert cut.split("test") == images.split("test")
