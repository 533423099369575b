"""PxAP by mask files: what their levels mean, how they are brought to size, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from measuring import measured
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Mask, Sample
from tlaam.errors import DataError
from tlaam.evaluation.masks import UNKNOWN, mask_report, measured_mask
from tlaam.evaluation.wsol import SIDE, pixel_average_precision
from tlaam.inference.engine import load_engine
from tlaam.inference.store import load_model


def written(path: Path, levels: NDArray[np.uint8], **options: object) -> Mask:
    Image.fromarray(levels).save(path, **options)
    return Mask(path, object=range(1, 2), background=range(2, 3))


def masked(mask: Mask, banner: int = 0) -> Sample:
    return Sample("a.png", "a.png", 0, "test", banner=banner, mask=mask)


def halves(height: int, width: int) -> NDArray[np.uint8]:
    """Return 1 on the left, 2 on the right, and a lowest row of 3."""
    levels = np.where(np.arange(width) < width // 2, 1, 2) * np.ones((height, 1))
    levels[-1] = 3
    return levels.astype(np.uint8)


def test_levels_are_told_apart_and_brought_to_size(tmp_path: Path) -> None:
    found = measured_mask(masked(written(tmp_path / "m.png", halves(10, 20))), (20, 10))
    assert found.shape == (SIDE, SIDE)
    last = next(row for row in range(SIDE) if row * 10 // SIDE == 9)
    assert (found[:last, : SIDE // 2] == 1).all() and (found[:last, SIDE // 2 :] == 0).all()
    assert (found[last:] == UNKNOWN).all()


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB"])
def test_a_mask_is_read_whatever_its_mode(tmp_path: Path, mode: str) -> None:
    plain = Image.fromarray(halves(10, 20))
    picture = plain.convert(mode)
    if mode == "P":  # indices count, not the colours that they stand for
        picture = Image.frombytes("P", plain.size, plain.tobytes())
        picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 9, 9, 9])
    picture.save(tmp_path / "m.png")
    expected = measured_mask(masked(written(tmp_path / "plain.png", halves(10, 20))), (20, 10))
    found = measured_mask(masked(Mask(tmp_path / "m.png", range(1, 2), range(2, 3))), (20, 10))
    np.testing.assert_array_equal(found, expected)


def test_it_is_turned_upright_and_loses_its_banner_as_images_do(tmp_path: Path) -> None:
    upright = halves(10, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned = written(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(upright)), exif=exif)
    plain = written(tmp_path / "plain.png", upright)
    np.testing.assert_array_equal(measured_mask(masked(turned), (20, 10)), measured_mask(masked(plain), (20, 10)))
    cut = measured_mask(masked(plain, banner=1), (20, 9))
    assert (cut != UNKNOWN).all()


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    mask = written(tmp_path / "m.png", halves(10, 20))
    with pytest.raises(DataError, match=r"m\.png' has 20 × 10 pixels, but its image has 10 × 20") as caught:
        measured_mask(masked(mask), (10, 20))
    assert "\n" not in str(caught.value)
    mask.path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"m\.png'.*not an image"):
        measured_mask(masked(mask), (20, 10))
    Image.fromarray(np.ones((10, 20), dtype=np.uint16)).save(mask.path)
    with pytest.raises(DataError, match=r"m\.png'.*mode I;16.*256 levels"):
        measured_mask(masked(mask), (20, 10))


def test_a_map_that_is_the_mask_reaches_one_and_beats_the_middle(tmp_path: Path) -> None:
    mask = written(tmp_path / "m.png", halves(SIDE, SIDE))
    left = (np.arange(SIDE) < SIDE // 2) * np.ones((SIDE, 1))
    report = mask_report([left] * 2, [(masked(mask), (SIDE, SIDE))] * 2)
    assert report is not None and report.images == 2
    assert report.pxap == pytest.approx(1.0)
    assert report.center_pxap == pytest.approx(0.5, abs=0.02)  # half of what is as far from the middle is object
    assert mask_report([], []) is None


def with_masks(photos: Path, folder: Path) -> LabelledImages:
    """The photos, half of them with masks of their left half, and none with a box."""
    opened = open_dataset(photos)
    samples = []
    for number, sample in enumerate(opened.samples):
        mask = written(folder / f"{number}.png", halves(60, 80)) if number % 2 else None
        samples.append(replace(sample, mask=mask))
    return opened.with_samples(samples)


def test_evaluate_measures_masks_without_boxes(run: Path, photos: Path, tmp_path: Path) -> None:
    data = with_masks(photos, tmp_path)
    assert data.fingerprint() == open_dataset(photos).fingerprint()
    report = measured(run, data)
    with_mask = [sample for sample in data.samples if sample.mask is not None]
    maps = [prediction.heatmap for prediction in load_engine(run).predict(with_mask)]
    truth = measured_mask(masked(written(tmp_path / "again.png", halves(60, 80))), (80, 60))
    expected = pixel_average_precision([heat for heat in maps if heat is not None], [truth] * len(with_mask))
    values = report.to_dict()
    assert values["masks"]["images"] == 9 and values["masks"]["pxap"] == pytest.approx(expected)
    assert "localization" not in values and values["images_with_boxes"] == 0
    assert f"heat maps by masks (9 known): PxAP {100 * expected:.1f} %" in report.table()

    assert with_mask[0].mask is not None
    written(with_mask[0].mask.path, halves(61, 80))
    with pytest.raises(DataError, match="80 × 61 pixels, but its image has 80 × 60"):
        measured(run, data, skip_unreadable=True)


def test_real_trimaps(run: Path, shared_data: Path, tmp_path: Path) -> None:
    """The lists' three images whose trimaps are there; drawn images of their size stand for the photographs."""
    data = open_dataset(shared_data / "formats" / "oxford-iiit-pet")
    with_mask = [sample for sample in data.samples if sample.mask is not None]
    assert {sample.path.stem for sample in with_mask} == {"Abyssinian_100", "american_bulldog_100", "Bengal_189"}
    samples = []
    for sample in with_mask:
        assert sample.mask is not None
        levels = np.array(Image.open(sample.mask.path))
        assert set(np.unique(levels)) == {1, 2, 3}
        found = measured_mask(sample, levels.shape[::-1])
        assert (found == 1).mean() == pytest.approx((levels == 1).mean(), abs=0.01)
        assert (found == 0).mean() == pytest.approx((levels == 2).mean(), abs=0.01)
        path = tmp_path / sample.path.name
        Image.fromarray(np.repeat((levels == 1)[..., None] * np.uint8(200), 3, axis=2)).save(path, "PNG")
        samples.append(replace(sample, file=str(path), split="test"))
    model = replace(load_model(run), classes=data.classes)
    report = measured(model, data.with_samples(samples)).masks
    assert report is not None and report.images == 3 and 0 < report.pxap < 1 and 0 < report.center_pxap < 1
