"""Groups: from a manifest, a pattern and equal pixels; none of them ever stands on two sides of a cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tlaam.data.groups import grouped, groups_of, with_rule
from tlaam.data.manifest import read_manifest
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split import cut_splits, folds_of, with_validation
from tlaam.data.split_rule import SplitRule, name_checksum, parsed_fold, read_copies, write_copies
from tlaam.errors import ConfigError, DataError


def data_set(*classes: Iterable[str | None]) -> LabelledImages:
    """Training images, a class for each list of groups."""
    samples = [
        Sample(f"{label}/{number}.jpg", f"{label}/{number}.jpg", label, "train", group=group)
        for label, groups in enumerate(classes)
        for number, group in enumerate(groups)
    ]
    return LabelledImages("x", Path("x"), "folder", tuple(map(str, range(len(classes)))), tuple(samples))


def require_whole_groups(images: LabelledImages) -> None:
    sides: defaultdict[str | None, set[str]] = defaultdict(set)
    for sample in images.samples:
        sides[sample.group].add(sample.split)
    sides.pop(None, None)
    assert all(len(splits) == 1 for splits in sides.values()), sides


def names(images: LabelledImages, split: str) -> set[str]:
    return {sample.name for sample in images.split(split)}  # type: ignore[arg-type]


def test_whole_groups_are_taken_and_about_as_many_images_as_without() -> None:
    images = data_set(*([f"{label}-{number // 4}" for number in range(40)] for label in range(3)))
    cut = with_validation(images, 0.2, seed=0)
    require_whole_groups(cut)
    assert [sum(s.label == label for s in cut.split("val")) for label in range(3)] == [8, 8, 8]
    shuffled = images.with_samples(images.samples[::-1])
    assert names(with_validation(shuffled, 0.2, seed=0), "val") == names(cut, "val")
    assert names(with_validation(images, 0.2, seed=1), "val") != names(cut, "val")


def test_a_class_gets_the_smallest_group_rather_than_none_and_keeps_one_for_training() -> None:
    cut = with_validation(data_set(["a"] * 7 + ["b"] * 3, ["c"] * 10), 0.1, seed=0)
    assert {sample.group for sample in cut.split("val")} == {"b"}, "class 1 is one group, which is learnt from"


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_groups_of_one_are_cut_as_they_always_were(fraction: float) -> None:
    images = data_set(*([None] * size for size in (1, 2, 3, 10, 45)))
    alone = images.with_samples([replace(s, group=f"only {s.name}") for s in images.samples])
    for seed in range(3):
        assert names(with_validation(alone, fraction, seed), "val") == names(
            with_validation(images, fraction, seed), "val"
        )


def test_a_pattern_names_groups_and_joins_those_that_the_data_names() -> None:
    images = data_set(["a", None, None, None], [None, None])
    found = grouped(with_rule(images, group=r"/([12])\."))
    assert [sample.group for sample in found.samples] == [None, "0/1.jpg", None, None, None, "0/1.jpg"]
    images = data_set(["a", "a", None, None], [None, None])
    joined = grouped(with_rule(images, group="[12](?=.jpg)"))
    assert [sample.group for sample in joined.samples] == ["0/0.jpg"] * 2 + [None] * 3 + ["0/0.jpg"]


@pytest.mark.parametrize(("pattern", "fault"), [
    ("(", "is no regular expression"),
    ("bird(\\d+)", "finds nothing in the names of the training images, for example '0/0.jpg'"),
    ("x*", "finds nothing"),
    ("jpg", "finds the same 'jpg' in the names of all"),
])  # fmt: skip
def test_a_pattern_that_tells_nothing_apart_is_refused(pattern: str, fault: str) -> None:
    with pytest.raises(ConfigError, match="group ") as error:
        with_rule(data_set([None] * 4, [None] * 4), group=pattern)
    assert fault in str(error.value)


def test_copies_stand_together_and_a_rule_survives_json() -> None:
    images = data_set([None] * 10, [None] * 10)
    copies = (tuple(sorted(map(name_checksum, ("0/1.jpg", "1/4.jpg", "gone.jpg")))),)
    rule = SplitRule("(.)/", (2, 5), copies, (("a", "b"),))
    assert SplitRule.from_dict(rule.to_dict()) == rule and SplitRule.from_dict({}) == SplitRule(copies=())
    for seed in range(20):
        cut = cut_splits(replace(images, rule=SplitRule(copies=copies)), 0.2, 0.2, seed)
        split = {sample.name: sample.split for sample in cut.samples}
        assert split["0/1.jpg"] == split["1/4.jpg"]
        assert cut_splits(cut, 0.5, 0.5, seed) is cut
    for wrong in ([], "x", {"fold": [0, 5]}, {"fold": [1, 1]}, {"fold": 3}, {"copies": [[1]]}, {"group": 5}):
        with pytest.raises(ValueError, match="no rule"):
            SplitRule.from_dict(wrong)


def test_the_list_of_copies_is_read_as_it_was_written_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "copies.json"
    rule = SplitRule(copies=(("a", "b"), ("c", "d")), near=(("a", "e"),))
    write_copies(file, replace(rule, group="x"))
    assert read_copies(file) == rule
    file.write_text(file.read_text().replace('"b"', '"e"'))
    with pytest.raises(DataError, match="no list of equal images"):
        read_copies(file)


def test_a_fold_is_the_test_split_in_place_of_the_one_there_is() -> None:
    images = data_set([None] * 10, [None] * 10)
    tested = replace(images.samples[0], split="test", name="other.jpg")
    images = images.with_samples([*images.samples, tested])
    held_out: list[str] = []
    for number in (1, 2, 3):
        cut = cut_splits(with_rule(images, fold=(number, 3), copies=()), 0.3, 0.2, seed=number)
        assert "other.jpg" not in {sample.name for sample in cut.samples}
        assert len(cut.split("val")) in (2, 3) and not names(cut, "val") & names(cut, "test")
        held_out += names(cut, "test")
    assert sorted(held_out) == sorted(names(images, "train")), "each training image once"
    with pytest.raises(DataError, match="21 folds need as many"):
        with_rule(images, fold=(1, 21))
    for wrong in ("0/5", "6/5", "1/1", "2", "a/b", "-1/5"):
        with pytest.raises(ConfigError, match="fold"):
            parsed_fold(wrong)


def test_a_manifests_groups_are_read_and_part_of_what_the_data_is(tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text("image,label,group\na.jpg,x,nest 1\nb.jpg,x,\nc.jpg,y,nest 1\nd.jpg,y, \n")
    images = read_manifest(file)
    assert [sample.group for sample in images.samples] == ["nest 1", None, "nest 1", None]
    file.write_text("image,label\na.jpg,x\nb.jpg,x\nc.jpg,y\nd.jpg,y\n")
    plain = read_manifest(file)
    assert images.fingerprint() != plain.fingerprint() == images.without_groups().fingerprint()
    file.write_text("image,label,group\na.jpg,x,1\na.jpg,x,2\nb.jpg,y,\n")
    with pytest.raises(DataError, match=r"line 3.*group '2' here, but '1'"):
        read_manifest(file)
    file.write_text("image,label,groups\na.jpg,x,1\n")
    with pytest.raises(DataError, match="Did you mean 'group'"):
        read_manifest(file)


def test_no_group_is_torn_whatever_the_groups_are() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    some = pytest.importorskip("hypothesis.strategies")

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(
        classes=some.lists(
            some.lists(some.sampled_from([None, *"abcdefghij"]), min_size=1, max_size=12), min_size=2, max_size=4
        ),
        equal=some.lists(some.lists(some.integers(0, 47), max_size=3), max_size=4),
        fraction=some.floats(0, 0.9),
        seed=some.integers(0, 5),
        folds=some.integers(2, 4),
    )
    def check(classes: list[list[str | None]], equal: list[list[int]], fraction: float, seed: int, folds: int) -> None:
        images = data_set(*classes)
        pixels = {place: number for number, places in enumerate(equal) for place in places}
        keys = [pixels.get(place) for place in range(len(images.samples))]
        groups = groups_of(images.samples, keys)
        for values in ([sample.group for sample in images.samples], keys):
            by_value: dict[object, object] = {}
            for value, group in zip(values, groups, strict=True):
                assert value is None or by_value.setdefault(value, group) == group
        copies = tuple(
            tuple(name_checksum(s.name) for s, key in zip(images.samples, keys, strict=True) if key == number)
            for number in range(len(equal))
        )
        ruled = replace(images, rule=SplitRule(copies=copies))
        cut = cut_splits(ruled, fraction, fraction, seed)
        split_of = {sample.name: sample.split for sample in cut.samples}
        sides: defaultdict[object, set[str]] = defaultdict(set)
        for sample, group in zip(images.samples, groups, strict=True):
            sides[group].add(split_of[sample.name])
        assert all(len(splits) == 1 for splits in sides.values())
        assert {s.label for s in cut.split("train")} == set(range(len(classes))), "every class is learnt"
        if len(set(groups)) >= folds:
            fold_of = folds_of(grouped(ruled), folds)
            assert set(fold_of.tolist()) == set(range(folds)), "no fold is empty"
            for group in set(groups):
                assert len(set(fold_of[np.array(groups) == group].tolist())) == 1

    check()
