"""Rare and frequent classes."""

from __future__ import annotations

import pytest

from tlaam.evaluation.rarity import Band, bands_of, lines_of


def measured(**recalls: float) -> dict[str, dict[str, float]]:
    return {name: {"recall": recall, "f1": recall / 2, "support": 10} for name, recall in recalls.items()}


def test_classes_fall_into_bands_by_their_training_images() -> None:
    counts = {"a": 100, "b": 51, "c": 50, "d": 26, "e": 25, "f": 2, "g": 0}
    found = bands_of(counts, measured(a=1.0, b=0.8, c=0.6, d=0.4, e=0.2, f=0.0, g=0.9))
    assert [band.name for band in found] == ["rare", "less frequent", "frequent"]
    assert found[0] == Band("rare", 2, 2, 25, 20, pytest.approx(0.1), pytest.approx(0.05))
    assert (found[1].fewest, found[1].most, found[1].recall) == (26, 50, pytest.approx(0.5))
    assert (found[2].fewest, found[2].most, found[2].recall) == (51, 100, pytest.approx(0.9))
    assert lines_of(found).splitlines()[0] == (
        "rare           2 classes of 2 to 25 training images: recall 10.0 %, F1 5.0 % (means of classes; 20 images)"
    )


def test_there_is_nothing_to_say_of_classes_of_about_equally_many_images() -> None:
    assert bands_of({"a": 39, "b": 10}, measured(a=1.0, b=0.0)) == ()
    assert bands_of({"a": 40, "b": 10}, measured(a=1.0, b=0.0)) != ()
    assert bands_of({}, {}) == ()


def test_classes_without_a_measured_image_do_not_count() -> None:
    of_one = measured(a=1.0) | {"b": {"recall": 0.0, "f1": 0.0, "support": 0}}
    assert [band.name for band in bands_of({"a": 40, "b": 1}, of_one)] == ["frequent"]
