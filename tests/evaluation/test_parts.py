"""Part windows and part locations: numbers worked by hand, what chance reaches, and real parts of real birds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from measuring import measured
from numpy.typing import NDArray

from tlaam.data.open import open_dataset
from tlaam.errors import DataError
from tlaam.evaluation.parts import part_report
from tlaam.inference.engine import load_engine
from tlaam.inference.store import load_model


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float64]:
    return np.array(rows, dtype=float)


def test_hits_and_recall_by_hand() -> None:
    windows = [
        boxes((0, 0, 10, 10), (5, 5, 15, 15), (80, 80, 90, 90)),  # the first two share (6, 6); (20, 20) is in none
        boxes((0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10)),  # x1 is exclusive: (10, 5) is in the second alone
    ]
    report = part_report(windows, [np.array([0.0, 0, 100, 100])] * 2, [((6, 6), (20, 20), (9, 1)), ((10, 5),)])
    assert report is not None and report.images == 2
    assert report.hit == pytest.approx(3 / 6) and report.recall == pytest.approx(3 / 4)
    assert list(report.summary()) == ["images", "hit", "recall", "trivial"]


def test_images_without_a_known_visible_part_do_not_count() -> None:
    window, around = boxes((0, 0, 10, 10)), np.array([0.0, 0, 20, 20])
    report = part_report([window] * 3, [around] * 3, [None, (), ((3, 3),)])
    assert report is not None and (report.images, report.hit, report.recall) == (1, 1.0, 1.0)
    assert part_report([window] * 2, [around] * 2, [None, ()]) is None
    assert part_report([], [], []) is None


def test_what_chance_reaches_by_hand() -> None:
    # In a box of 100 a window of 50 begins between 0 and 50: it covers the middle always, and x = 25 half of the time.
    around, window = np.array([100.0, 0, 200, 100]), boxes((0, 0, 50, 50))
    for point, chance, in_center in (((150, 50), 1, 1), ((125, 50), 0.5, 1), ((125, 25), 0.25, 1), ((120, 50), 0.4, 0)):
        report = part_report([window], [around], [(point,)])
        assert report is not None
        random, center = report.trivial["random"], report.trivial["center"]
        assert random.hit == random.recall == pytest.approx(chance, abs=0.02)
        assert center.hit == center.recall == in_center
    # Two windows, each by itself: a part is seen unless both miss it. Two parts at one place change nothing.
    report = part_report([np.repeat(window, 2, 0)], [around], [((125, 50), (125, 50))])
    assert report is not None
    assert report.trivial["random"].recall == pytest.approx(0.75) and report.trivial["random"].hit == 0.5


def test_chance_equals_windows_really_put_at_random() -> None:
    random = np.random.default_rng(0)
    windows, around = boxes((0, 0, 40, 30), (0, 0, 25, 60), (0, 0, 90, 20)), np.array([10.0, 20, 90, 100])
    points = ((20, 30), (50, 60), (88, 99), (30, 80))
    report = part_report([windows], [around], [points])
    assert report is not None
    low = np.minimum(around[:2], around[2:] - windows[:, 2:])  # the last window is wider than the box
    high = np.maximum(around[:2], around[2:] - windows[:, 2:])
    corners = random.uniform(low, high, (20_000, 3, 2))[:, :, None]
    inside = ((np.array(points) >= corners) & (np.array(points) < corners + windows[:, None, 2:])).all(3)
    assert report.trivial["random"].hit == pytest.approx(inside.any(2).mean(), abs=0.02)
    assert report.trivial["random"].recall == pytest.approx(inside.any(1).mean(), abs=0.02)


def test_what_does_not_fit_is_refused() -> None:
    window, around = boxes((0, 0, 10, 10)), np.array([0.0, 0, 20, 20])
    with pytest.raises(DataError, match="windows of 1 images, 2 object boxes"):
        part_report([window], [around, around], [None])
    for windows in (np.zeros((0, 4)), np.zeros((2, 3))):
        with pytest.raises(DataError, match="at least one window"):
            part_report([windows], [around], [None])


def test_real_parts_of_real_birds(run: Path, shared_data: Path, tmp_path: Path) -> None:
    """Images of cub10 with lines of the real lists, the places brought to the images' smaller size."""
    small, whole = open_dataset(shared_data / "cub10"), open_dataset(shared_data / "formats" / "CUB_200_2011")
    originals = {sample.name: sample for sample in whole.samples}
    chosen = [small.split("test")[index] for index in (0, 1, 60, 100)]
    folder = tmp_path / "CUB_200_2011"
    (folder / "parts").mkdir(parents=True)
    (folder / "images").symlink_to(small.root / "images")
    names = {sample.name.removeprefix("images/") for sample in chosen}
    ids = {}
    for line in (small.root / "images.txt").read_text().splitlines():
        if (entry := line.split())[1] in names:
            ids[entry[0]] = originals[f"images/{entry[1]}"], f"images/{entry[1]}"
    boxes_of = {sample.name: sample.box for sample in chosen}
    for file in ("images", "image_class_labels", "train_test_split", "bounding_boxes"):
        lines = (small.root / f"{file}.txt").read_text().splitlines()
        (folder / f"{file}.txt").write_text("\n".join(line for line in lines if line.split()[0] in ids) + "\n")
    (folder / "classes.txt").write_text((small.root / "classes.txt").read_text())
    rows = []
    for line in (whole.root / "parts" / "part_locs.txt").read_text().splitlines():
        image, part, x, y, visible = line.split()
        if image in ids:
            original, name = ids[image]
            before, after = original.box, boxes_of[name]
            assert before is not None and after is not None
            scale = (after[2] - after[0]) / (before[2] - before[0])
            rows.append(f"{image} {part} {float(x) * scale} {float(y) * scale} {visible}")
    (folder / "parts" / "part_locs.txt").write_text("\n".join(rows) + "\n")

    data = open_dataset(tmp_path, strict=False)
    model = replace(load_model(run), classes=(*data.classes, "unseen", "other")[:3])
    report = measured(model, data).parts
    assert report is not None and report.images == 4
    seen = hits = parts = windows = 0
    for sample, prediction in zip(data.samples, load_engine(model).predict(data.samples), strict=True):
        assert sample.box is not None and sample.keypoints is not None and prediction.part_boxes is not None
        assert all(
            sample.box[0] - 2 <= x <= sample.box[2] + 2 and sample.box[1] - 2 <= y <= sample.box[3] + 2
            for x, y in sample.keypoints
        )
        inside = [
            [x0 <= x < x1 and y0 <= y < y1 for x, y in sample.keypoints] for x0, y0, x1, y1 in prediction.part_boxes
        ]
        hits, windows = hits + sum(map(any, inside)), windows + len(inside)
        seen, parts = seen + sum(map(any, zip(*inside, strict=True))), parts + len(sample.keypoints)
    assert parts > 4 * 5
    assert report.hit == pytest.approx(hits / windows) and report.recall == pytest.approx(seen / parts)
