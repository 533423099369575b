"""The embedded data set: repeatable, labelled by parts alone, and written whole or not at all."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.sample import Box
from tlaam.data.synthetic import (
    PARTS,
    SyntheticOptions,
    class_names,
    recipe,
    render,
    synthetic_images,
    write_synthetic,
    writing,
)
from tlaam.data.synthetic.rendering import compose
from tlaam.errors import ConfigError, DataError

SMALL = SyntheticOptions(classes=3, images_per_class=2, test_per_class=1, size=128)


def _pixels(options: SyntheticOptions, index: int, split: str = "train") -> bytes:
    return render(options, split, index).image.tobytes()  # type: ignore[arg-type]


def _contains(outer: Box, inner: Box, slack: float = 1.0) -> bool:
    return (
        outer[0] - slack <= inner[0] < inner[2] <= outer[2] + slack
        and outer[1] - slack <= inner[1] < inner[3] <= outer[3] + slack
    )


def test_same_seed_same_pixels_and_everything_else_differs() -> None:
    options = SyntheticOptions(size=128)
    first = _pixels(options, 3)
    assert first == _pixels(options, 3)
    assert first != _pixels(replace(options, seed=1), 3)
    assert first != _pixels(options, 3, "test")
    assert first != _pixels(options, 11)  # the same class


def test_an_image_does_not_depend_on_how_many_are_made() -> None:
    few, many = SyntheticOptions(size=128, images_per_class=1), SyntheticOptions(size=128, images_per_class=500)
    assert _pixels(few, 5) == _pixels(many, 5)
    assert render(many, "train", 5).label == 5
    # with more classes, an image of the same class at the same index is the same too
    assert _pixels(replace(few, classes=20), 5) == _pixels(few, 5)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_boxes_are_tight_inside_and_within_the_promised_area(difficulty: float) -> None:
    options = SyntheticOptions(classes=64, size=160, difficulty=difficulty, seed=7)
    for index in range(24):
        drawn = render(options, "train", index)
        width, height = drawn.image.size
        assert drawn.mask.shape == (height, width)
        x0, y0, x1, y1 = (int(edge) for edge in drawn.box)
        assert 0 < x0 < x1 < width and 0 < y0 < y1 < height, "the whole creature lies inside the image"
        assert 0.08 <= (x1 - x0) * (y1 - y0) / (width * height) <= 0.40
        inside = drawn.mask[y0:y1, x0:x1]
        assert inside.sum() == drawn.mask.sum()
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        parts = recipe(drawn.label)
        wanted = {"bill", "tail"} | ({"crest"} if parts.crest else set())
        wanted |= {"wing_bar"} if parts.wing_bar != "no-bar" else set()
        assert set(drawn.parts) == wanted <= set(PARTS)
        for box in drawn.parts.values():
            assert _contains(drawn.box, box)
            assert (box[2] - box[0]) * (box[3] - box[1]) >= 6, "a part is never all but hidden"


def test_the_smallest_and_the_largest_class_keep_to_the_promised_area() -> None:
    # only geometry decides; the classes with the least and the most to show are the extremes
    for index, label in itertools.product(range(8), (5, 6, 7, 50)):
        options = SyntheticOptions(classes=64, size=112, difficulty=1.0, seed=index)
        _, painted = compose(options, "train", index, recipe(label))
        seen = painted.alpha >= 0.5
        share = seen.any(0).sum() * seen.any(1).sum() / seen.size
        assert 0.08 <= share <= 0.40


def test_classes_differ_only_where_their_parts_are() -> None:
    options = SyntheticOptions(size=192, seed=2)
    for index, (one, other) in enumerate(((0, 1), (1, 2), (2, 3), (3, 4), (7, 20))):
        image_a, painted_a = compose(options, "train", index, recipe(one))
        image_b, painted_b = compose(options, "train", index, recipe(other))
        changed = np.abs(np.asarray(image_a, dtype=int) - np.asarray(image_b, dtype=int)).max(2) > 0
        explained = np.zeros_like(changed)
        for field in (*painted_a.parts.values(), *painted_b.parts.values()):
            rows, columns = np.nonzero(field > 0)
            # a few pixels round a part belong to its own shadow and outline
            explained[max(0, rows.min() - 4) : rows.max() + 5, max(0, columns.min() - 4) : columns.max() + 5] = True
        assert changed.any(), "neighbouring classes look different"
        assert not (changed & ~explained).any()


def test_neighbouring_classes_differ_in_one_part_and_all_pairs_differ() -> None:
    recipes = [recipe(label) for label in range(64)]
    assert all(a.distance(b) == 1 for a, b in itertools.pairwise(recipes))
    assert len(set(recipes)) == 64
    first = recipes[:8]
    for part in PARTS:
        assert len({getattr(r, part) for r in first}) > 1, f"{part} tells none of the first eight classes apart"


def test_class_names_are_unique_safe_and_say_the_parts() -> None:
    names = class_names(SyntheticOptions(classes=64))
    assert len(set(names)) == 64
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz-_") and len(name) < 80 for name in names)
    assert names[0] == "orange-hooked-bill_red-fan-crest_two-bars_forked-tail"
    assert class_names(SyntheticOptions(classes=5)) == names[:5]


def test_labels_are_balanced_and_scale_does_not_tell_the_class() -> None:
    options = SyntheticOptions(classes=4, size=96)
    assert [render(options, "train", index).label for index in range(8)] == [0, 1, 2, 3] * 2
    # pose, scale and place come from a stream that no recipe touches: the body's own pixels coincide
    _, bare = compose(options, "train", 0, recipe(5))
    _, full = compose(options, "train", 0, recipe(14))
    both = (bare.alpha >= 0.5) & (full.alpha >= 0.5)
    assert both.sum() > 0.7 * max((bare.alpha >= 0.5).sum(), (full.alpha >= 0.5).sum())


def test_size_and_aspect() -> None:
    ratios = []
    for index in range(12):
        image = render(SyntheticOptions(size=100), "train", index).image
        assert image.mode == "RGB" and max(image.size) == 100
        ratios.append(image.width / image.height)
    assert 0.74 <= min(ratios) < 1 < max(ratios) <= 1.35


def test_difficulty_makes_creatures_and_parts_smaller() -> None:
    def mean(difficulty: float) -> tuple[float, float]:
        drawn = [render(SyntheticOptions(size=112, difficulty=difficulty), "train", index) for index in range(20)]
        objects = [d.mask.mean() for d in drawn]
        bills = [(d.parts["bill"][2] - d.parts["bill"][0]) / (d.box[2] - d.box[0]) for d in drawn]
        return float(np.mean(objects)), float(np.mean(bills))

    easy, hard = mean(0.0), mean(1.0)
    assert hard[0] < 0.85 * easy[0]
    assert hard[1] < 0.9 * easy[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synthetic", SyntheticOptions()),
        ("synthetic:classes=6,images_per_class=40,size=320", SyntheticOptions(6, 40, size=320)),
        (" synthetic: difficulty = 0.25 , seed=9", SyntheticOptions(difficulty=0.25, seed=9)),
        ("synthetic:difficulty=0.123456789", SyntheticOptions(difficulty=0.123456789)),
    ],
)
def test_options_go_round(text: str, expected: SyntheticOptions) -> None:
    options = SyntheticOptions.parse(text)
    assert options == expected
    assert SyntheticOptions.parse(str(options)) == options


def test_canonical_text() -> None:
    assert str(SyntheticOptions()) == "synthetic"
    assert str(SyntheticOptions.parse("synthetic:size=320,difficulty=1,classes=6")) == (
        "synthetic:classes=6,size=320,difficulty=1"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("synthetic:clases=6", ("clases", "Did you mean 'classes'?")),
        ("synthetic:classes=1", ("classes is 1", "from 2 to 64")),
        ("synthetic:classes=65", ("classes is 65", "from 2 to 64")),
        ("synthetic:classes=six", ("'six'", "whole number")),
        ("synthetic:classes=3.5", ("'3.5'", "whole number")),
        ("synthetic:size=10", ("size is 10", "from 96")),
        ("synthetic:difficulty=1.5", ("1.5", "from 0 to 1")),
        ("synthetic:difficulty=nan", ("'nan'", "finite")),
        ("synthetic:images_per_class=0", ("images_per_class is 0",)),
        ("synthetic:seed=-1", ("seed is -1",)),
        ("synthetic:seed", ("'seed'", "name=value")),
        ("synthetic:seed=1,seed=2", ("seed", "twice")),
        ("synthetic:", ("'synthetic:'",)),
        ("sinthetic", ("'sinthetic'",)),
    ],
)
def test_bad_options_are_named(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        SyntheticOptions.parse(text)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_wrong_types_splits_and_indices_are_refused() -> None:
    with pytest.raises(ConfigError, match="classes is True"):
        SyntheticOptions(classes=True)
    with pytest.raises(ConfigError, match="size is '64'"):
        SyntheticOptions(size="64")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'trian'.*Did you mean 'train'"):
        render(SMALL, "trian", 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="index is -1"):
        render(SMALL, "train", -1)


def test_written_files_say_what_was_rendered(tmp_path: Path) -> None:
    options = replace(SMALL, val_per_class=1)
    folder = write_synthetic(options, tmp_path / "deep" / "set")
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "label", "split", "x_min", "y_min", "x_max", "y_max"]
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")} == {row["image"] for row in rows}
    drawn = render(options, "train", 4)
    row = rows[4]
    assert row["image"] == f"images/train/{row['label']}/0001.jpg" and row["label"] == class_names(options)[1]
    assert tuple(float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max")) == drawn.box
    with Image.open(folder / row["image"]) as stored:
        difference = np.abs(np.asarray(stored, dtype=float) - np.asarray(drawn.image, dtype=float))
    assert difference.mean() < 3
    with (folder / "parts.csv").open(newline="") as stream:
        parts = {p["part"]: p for p in csv.DictReader(stream) if p["image"] == row["image"]}
    assert set(parts) == set(drawn.parts)
    assert float(parts["bill"]["x_min"]) == drawn.parts["bill"][0]
    assert json.loads((folder / "options.json").read_text())["size"] == 128


def test_writing_twice_gives_the_same_bytes_and_a_whole_folder_is_reused(tmp_path: Path) -> None:
    one, two = write_synthetic(SMALL, tmp_path / "one"), write_synthetic(SMALL, tmp_path / "two")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    before = (one / "options.json").stat().st_mtime_ns
    write_synthetic(SMALL, one)
    assert (one / "options.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(options: SyntheticOptions, split: str, index: int) -> object:
        if index == 2:
            raise OSError(28, "No space left on device")
        return render(options, split, index)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "render", failing)
    with pytest.raises(DataError, match="No space left on device"):
        write_synthetic(SMALL, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_other_and_incomplete_folders_are_never_taken_for_whole_nor_touched(tmp_path: Path) -> None:
    folder = write_synthetic(SMALL, tmp_path / "set")
    with pytest.raises(DataError, match="is not the whole of"):
        write_synthetic(replace(SMALL, seed=1), folder)
    missing = next(folder.rglob("0001.jpg"))
    missing.unlink()
    with pytest.raises(DataError, match="choose another folder"):
        write_synthetic(SMALL, folder)
    assert not missing.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError):
        write_synthetic(SMALL, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    assert (write_synthetic(SMALL, tmp_path / "empty") / "manifest.csv").is_file()


def test_cached_images_have_boxes_and_a_damaged_cache_is_drawn_again(tmp_path: Path) -> None:
    images = synthetic_images(SMALL, tmp_path)
    assert (images.name, images.kind, images.classes) == ("synthetic", "synthetic", class_names(SMALL))
    assert [len(images.split(split)) for split in ("train", "val", "test")] == [6, 0, 3]
    sample = images.split("train")[4]
    assert sample.label == 1 and sample.box == render(SMALL, "train", 4).box and sample.path.is_file()
    sample.path.unlink()
    assert synthetic_images(SMALL, tmp_path) == images
    assert sample.path.is_file()
    assert synthetic_images(replace(SMALL, seed=1), tmp_path).root != images.root


def test_masks_are_the_silhouettes_and_are_drawn_again_where_one_is_missing(tmp_path: Path) -> None:
    sample = synthetic_images(SMALL, tmp_path).split("test")[2]
    assert sample.mask is not None and sample.mask.path.parent.parent.name == "test"
    drawn, levels = render(SMALL, "test", 2), np.array(Image.open(sample.mask.path).convert("L"))
    np.testing.assert_array_equal(np.isin(levels, sample.mask.object), drawn.mask)
    np.testing.assert_array_equal(np.isin(levels, sample.mask.background), ~drawn.mask)
    sample.mask.path.unlink()
    assert synthetic_images(SMALL, tmp_path).split("test")[2] == sample and sample.mask.path.is_file()


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path))
    assert synthetic_images(SMALL).root.parent == tmp_path / "synthetic"


def test_it_imports_without_torch() -> None:
    code = "import sys, tlaam.data.synthetic; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
