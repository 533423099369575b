"""What is found of copies, leaks, poor pictures and images unlike all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_scenes import scene
from PIL import Image, ImageFilter

from tlaam.cleaning.copies import copy_findings, exact_pairs
from tlaam.cleaning.exif import NOTHING, Taken, taken
from tlaam.cleaning.leaks import leak_findings
from tlaam.cleaning.neighbours import directions, nearest
from tlaam.cleaning.suspects import Finding, ranked
from tlaam.cleaning.unlike import unlike_findings
from tlaam.data.near_copies import Match
from tlaam.data.sample import LabelledImages, Sample, Split


def data_set(*rows: tuple[str, int, Split, str | None]) -> LabelledImages:
    samples = tuple(Sample(name, name, label, split, group=group) for name, label, split, group in rows)
    return LabelledImages("birds", Path("birds"), "folder", ("crow", "jay"), samples)


def told(findings: list[Finding]) -> list[tuple[int, str]]:
    return [(finding.place, finding.kind) for finding in findings]


def test_one_picture_under_two_labels_is_doubted_twice() -> None:
    images = data_set(("a", 0, "train", None), ("b", 1, "train", None), ("c", 0, "train", None))
    findings = copy_findings(images, [(0, 1)], [])
    assert told(findings) == [(0, "copy-other-label"), (1, "copy-other-label")]
    assert findings[0].reason == "the same pixels as 'b', which is labelled 'jay'" and findings[0].suggested is None
    of_three = copy_findings(images, [(0, 1)], [Match(0, 2, 0.99, False)])
    assert [(one.place, one.suggested) for one in of_three] == [(0, None), (1, 0), (2, None)]  # two against one


def test_of_copies_across_splits_the_training_image_is_doubted() -> None:
    images = data_set(("a", 0, "train", None), ("b", 0, "test", None))
    assert told(copy_findings(images, [], [Match(0, 1, 0.97, True)])) == [(0, "copy-across-splits")]
    assert copy_findings(images, [], [Match(0, 1, 0.97, True)])[0].score < copy_findings(images, [(0, 1)], [])[0].score


def test_of_copies_in_one_split_all_but_the_first_are_doubted() -> None:
    images = data_set(("b", 0, "train", None), ("a", 0, "train", None), ("c", 0, "train", None))
    findings = copy_findings(images, exact_pairs(images.samples, [images.samples[:2]]), [Match(1, 2, 0.96, False)])
    assert told(findings) == [(0, "copy"), (2, "near-copy")]


def test_a_group_a_burst_and_a_folder_across_splits_are_leaks() -> None:
    images = data_set(
        ("train/crow/bird1/a", 0, "train", "nest"), ("test/crow/bird2/b", 0, "test", "nest"),
        ("test/crow/bird1/c", 0, "test", None), ("test/jay/d", 1, "test", None), ("train/jay/e", 1, "train", None),
    )  # fmt: skip
    takens = [NOTHING, NOTHING, NOTHING, Taken("A", 100.0), Taken("A", 104.0)]
    findings = leak_findings(images, takens)
    assert told(findings) == [(1, "leak"), (3, "leak"), (2, "leak")]
    assert [finding.reason.split(" with ")[0] for finding in findings] == [
        "one group", "one burst of one camera", "one folder within a class",
    ]  # fmt: skip
    assert findings[0].beside == ((0, "same group"),)
    assert leak_findings(data_set(("a", 0, "train", "x"), ("b", 1, "train", "x")), [NOTHING] * 2) == []


def test_when_and_by_what_a_picture_was_taken(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "M1"
    exif.get_ifd(0x8769)[0x9003] = "1970:01:02 00:00:01"
    scene(0).save(tmp_path / "a.jpg", exif=exif)
    scene(0).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    found = [taken(Sample(str(tmp_path / name), name, 0, "train")) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert found == [Taken("Maker M1", 86401.0), NOTHING, NOTHING, NOTHING]


def test_poor_pictures_are_told(tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    from tlaam.cleaning.quality import measured, quality_faults

    pictures = [scene(seed) for seed in range(10)]
    pictures += [
        Image.new("RGB", (160, 120), (9, 9, 9)),
        Image.new("RGB", (160, 120), (250, 250, 250)),
        scene(11).filter(ImageFilter.GaussianBlur(9)),
        scene(12).resize((28, 21)),
    ]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    (tmp_path / "14.png").write_bytes(b"\x89PNG\r\n")
    samples = [Sample(str(tmp_path / f"{number}.png"), f"{number}.png", 0, "train") for number in range(15)]
    found = measured(samples)
    assert [bool(fault) for fault in found.faults] == [False] * 14 + [True]
    faults = quality_faults(found)
    assert [(fault.place, fault.kind) for fault in faults] == [
        (10, "black"),
        (11, "white"),
        (12, "blurred"),
        (13, "tiny"),
    ]
    assert all(0 <= fault.score <= 1 for fault in faults)


def test_an_image_far_from_all_others_is_unlike_them() -> None:
    random = np.random.default_rng(0)
    rows = np.concatenate(
        [random.normal(0, 0.2, (40, 8)) + np.eye(8)[0], random.normal(0, 0.2, (40, 8)) - np.eye(8)[0]]
    )
    rows = np.concatenate([rows, 4 * np.eye(8)[3:4]])
    assert [finding.place for finding in unlike_findings(nearest(directions(rows), 10))] == [80]


def test_a_picture_that_shows_nothing_or_little_is_no_wrong_label() -> None:
    images = data_set(("a", 0, "train", None), ("b", 1, "train", None))
    wrong = [Finding(place, "label", 0.9, "wrong", ((1 - place, "its label"),), 1 - place) for place in (0, 1)]
    soft, black = ranked(images, [*wrong, Finding(0, "black", 0.8, "dark"), Finding(1, "blurred", 0.2, "soft")])
    assert (soft.kinds, soft.suggested) == (("blurred", "label"), images.classes[0])
    assert (black.kinds, black.suggested, black.reason, black.companions) == (("black",), "", "dark", ())


def test_suspects_are_ranked_and_say_all_that_was_found() -> None:
    images = data_set(("a", 0, "train", None), ("b", 1, "train", None))
    findings = [
        Finding(0, "blurred", 0.2, "soft"), Finding(1, "label", 0.5, "wrong", ((0, "its label"),), 0),
        Finding(0, "copy", 0.9, "twice", ((1, "copy"),)),
    ]  # fmt: skip
    first, second = ranked(images, findings)
    assert (first.name, first.kinds, first.reason, first.score) == ("a", ("copy", "blurred"), "twice; soft", 0.9)
    assert (second.suggested, second.companions[0].name, second.companions[0].role) == ("crow", "a", "its label")
