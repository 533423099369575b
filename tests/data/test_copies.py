"""Copies: found by what they show, whatever their files; by their bytes alone where there are many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data import copies
from tlaam.data.copies import contradictions, find_copies, with_copies
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split import cut_splits
from tlaam.data.split_rule import name_checksum


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (size[1] // 5, size[0] // 5, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR)


@pytest.fixture
def images(tmp_path: Path) -> LabelledImages:
    """Two classes of pictures in several formats; what is called "same…" shows picture 0, "jpeg…" picture 1."""
    for folder in ("jay", "crow"):
        (tmp_path / folder).mkdir()
    picture(0).save(tmp_path / "jay/same.png")
    picture(0).save(tmp_path / "crow/same.bmp")
    picture(0).save(tmp_path / "jay/same2.png", compress_level=0)
    picture(1, (400, 300)).save(tmp_path / "jay/jpeg.jpg", quality=90)
    jpeg, comment = (tmp_path / "jay/jpeg.jpg").read_bytes(), b"another file of the same picture"
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    (tmp_path / "crow/jpeg.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    picture(1, (400, 300)).save(tmp_path / "crow/other.jpg", quality=60)
    for seed in range(2, 6):
        picture(seed).save(tmp_path / "crow" / f"{seed}.png")
        picture(seed + 10).save(tmp_path / "jay" / f"{seed}.png")
    (tmp_path / "jay/broken.png").write_bytes((tmp_path / "jay/same.png").read_bytes()[:200])
    (tmp_path / "crow/broken.png").write_bytes((tmp_path / "jay/same.png").read_bytes()[:200])
    return open_dataset(tmp_path)


def named(found: list[list[Sample]]) -> set[frozenset[str]]:
    return {frozenset(sample.name for sample in equal) for equal in found}


def test_equal_pixels_are_found_under_other_encodings(images: LabelledImages) -> None:
    assert (images.root / "jay/jpeg.jpg").read_bytes() != (images.root / "crow/jpeg.jpg").read_bytes()
    assert named(find_copies(images.samples)) == {
        frozenset({"jay/same.png", "crow/same.bmp", "jay/same2.png"}), frozenset({"jay/jpeg.jpg", "crow/jpeg.jpg"}),
    }  # fmt: skip


def test_a_jpeg_beside_a_png_of_its_size_is_compared_in_full(images: LabelledImages) -> None:
    with Image.open(images.root / "jay/jpeg.jpg") as image:
        image.save(images.root / "jay/decoded.png")
    assert frozenset({"jay/jpeg.jpg", "crow/jpeg.jpg", "jay/decoded.png"}) in named(
        find_copies(open_dataset(images.root).samples)
    )


def test_of_many_images_only_equal_files_are_found(images: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    (images.root / "crow/again.png").write_bytes((images.root / "jay/same.png").read_bytes())
    monkeypatch.setattr(copies, "DECODED", 3)
    found = named(find_copies(open_dataset(images.root).samples))
    assert frozenset({"jay/same.png", "crow/again.png"}) in found
    assert not any("crow/same.bmp" in equal or "crow/jpeg.jpg" in equal for equal in found)


@pytest.mark.parametrize("most", [0, 1000])
def test_windows_of_one_file_are_copies_where_they_show_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(copies, "DECODED", most)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
    wanted = [("a.jpg", (0, 0, 32, 32)), ("a.jpg", (8, 8, 40, 40)), ("b.jpg", (8, 8, 40, 40)), ("b.jpg", None)]
    samples = [Sample(str(tmp_path / file), f"{file}{window}", 0, "train", window=window) for file, window in wanted]
    assert named(find_copies(samples)) == {frozenset({"a.jpg(8, 8, 40, 40)", "b.jpg(8, 8, 40, 40)"})}


def test_copies_are_looked_for_once_and_stay_on_one_side(images: LabelledImages) -> None:
    ruled = with_copies(images)
    assert ruled.rule.copies is not None and len(ruled.rule.copies) == 2 and with_copies(ruled) is ruled
    together = 0
    for seed in range(10):
        split = {sample.name: sample.split for sample in cut_splits(ruled, 0.2, 0.3, seed).samples}
        assert split["jay/same.png"] == split["crow/same.bmp"] == split["jay/same2.png"]
        together += split["jay/jpeg.jpg"] == split["crow/jpeg.jpg"]
    assert together == 10
    torn = [
        {s.name: s.split for s in cut_splits(images, 0.2, 0.3, seed).samples} for seed in range(10)
    ]  # nobody has looked
    assert any(split["jay/same.png"] != split["crow/same.bmp"] for split in torn)


def test_test_images_are_not_opened(images: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(copies, "_of_header", lambda sample: opened.append(sample.name))
    marked = images.with_samples([replace(s, split="test" if s.name < "jay" else "train") for s in images.samples])
    with_copies(marked)
    assert opened and all(name.startswith("jay/") for name in opened)


def test_pictures_under_two_classes_are_counted_and_named(images: LabelledImages) -> None:
    assert contradictions(images) == ""  # nobody has looked for copies
    said = contradictions(with_copies(images))
    assert said.startswith("2 pictures lie under several classes, such as 'crow/") and "' and 'jay/" in said
    jays = with_copies(images.with_samples([sample for sample in images.samples if sample.name.startswith("jay/")]))
    assert jays.rule.copies and contradictions(jays) == ""


def test_near_copies_stay_on_one_side_and_contradict_nothing(images: LabelledImages) -> None:
    """The JPEG file of lower quality is another file, with other pixels, of the same picture."""
    ruled = with_copies(images)
    of_name = {name_checksum(sample.name): sample.name for sample in images.samples}
    near = {frozenset(of_name[name] for name in alike) for alike in ruled.rule.near}
    assert near == {frozenset({"jay/jpeg.jpg", "crow/jpeg.jpg", "crow/other.jpg"})}
    for seed in range(10):
        split = {sample.name: sample.split for sample in cut_splits(ruled, 0.2, 0.3, seed).samples}
        assert split["crow/other.jpg"] == split["jay/jpeg.jpg"]
    alone = [{s.name: s.split for s in cut_splits(images, 0.2, 0.3, seed).samples} for seed in range(10)]
    assert any(split["crow/other.jpg"] != split["jay/jpeg.jpg"] for split in alone)
    assert contradictions(ruled).startswith("2 pictures")  # of equal pixels


def test_near_copies_are_not_looked_for_among_many(images: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "DECODED", 3)
    monkeypatch.setattr(copies, "find_near_copies", lambda *_: pytest.fail("they were looked for"))
    assert with_copies(images).rule.near == ()
