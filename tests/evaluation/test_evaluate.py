"""Evaluation: the same path as prediction, labels by name, splits, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from measuring import measured

from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.split import with_test, with_validation
from tlaam.errors import DataError
from tlaam.inference.engine import load_engine
from tlaam.inference.pytorch import best_precision
from tlaam.inference.store import load_model
from tlaam.models.build import default_device


def test_accuracy_is_what_prediction_says(run: Path, photos: Path) -> None:
    report = measured(run, photos)
    samples = open_dataset(photos).samples
    answers = list(load_engine(run).predict(samples))
    for branch in ("raw", "object", "parts", "fused"):
        right = [
            answer.top(1, branch)[0][0] == ("crow", "jay", "wren")[sample.label]
            for answer, sample in zip(answers, samples, strict=True)
        ]
        assert report.classification[branch].top1 == pytest.approx(sum(right) / len(right))
    assert report.localization is None and report.images == 18
    assert report.precision == best_precision(default_device()) == report.to_dict()["precision"]


def test_it_says_in_which_arithmetic_it_measured(run: Path, photos: Path) -> None:
    assert measured(run, photos, precision="32-true").precision == "32-true"
    assert measured(run, photos, precision="bf16-mixed").precision == "bf16-mixed"


def test_labels_are_matched_by_name(run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "jay", tmp_path / "some" / "jay")
    shutil.copytree(photos / "wren", tmp_path / "some" / "wren")
    whole, some = measured(run, photos), measured(run, tmp_path / "some")
    assert some.images == 12
    for name in ("jay", "wren"):
        assert (
            some.classification["raw"].per_class[name]["recall"]
            == whole.classification["raw"].per_class[name]["recall"]
        )


def test_an_unknown_class_is_named_with_the_closest(run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "p")
    (tmp_path / "p" / "crow").rename(tmp_path / "p" / "crows")
    with pytest.raises(DataError, match=r"class 'crows'.*Did you mean 'crow'"):
        measured(run, tmp_path / "p")


def test_an_unreadable_image_is_refused_or_left_out_on_request(run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "p")
    (tmp_path / "p" / "jay" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 18 images cannot be read.*0\.png"):
        measured(run, tmp_path / "p")
    assert measured(run, tmp_path / "p", skip_unreadable=True).images == 17


def test_boxes_are_measured_where_there_are_some(run: Path, photos: Path, tmp_path: Path) -> None:
    rows = ["image,label,split,x_min,y_min,x_max,y_max"]
    rows += [f"{photos}/{name}/{i}.png,{name},test,0,0,80,60" for name in ("crow", "jay") for i in range(3)]
    rows += [f"{photos}/wren/{i}.png,wren,train,,,," for i in range(3)]
    rows += [f"{photos}/{name}/{i}.png,{name},train,,,," for name in ("crow", "jay") for i in range(3, 6)]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    report = measured(run, tmp_path / "m.csv")
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    keys = {"mean_iou", "gt_known_0.3", "gt_known_0.5", "gt_known_0.7", "top1_loc_0.5"}
    assert keys | {"max_box_acc_v2", "pointing_game"} <= set(record["localization"])
    assert record["localization"]["trivial"]["full"]["mean_iou"] == pytest.approx(1.0)
    assert record["localization"]["trivial"]["center_0.7"]["mean_iou"] == pytest.approx(0.49, abs=0.01)
    for trivial in ("full", "center_0.7"):
        assert keys <= set(record["localization"]["trivial"][trivial])
    for branch in ("raw", "object", "parts", "fused"):
        assert set(record["classification"][branch]) == {
            "top1", "top5", "macro_f1", "ece", "debiased_calibration_error",
        }  # fmt: skip


def split_photos(photos: Path, *, box_in: Split, val: int = 2) -> LabelledImages:
    """The photos with their first images as validation images, the others as test images; boxes in one split."""
    opened = open_dataset(photos)
    splits: list[Split] = ["val" if int(Path(s.name).stem) < val else "test" for s in opened.samples]
    return opened.with_samples(
        [
            replace(sample, split=split, box=(0, 0, 80, 60) if split == box_in or box_in == "train" else None)
            for sample, split in zip(opened.samples, splits, strict=True)
        ]
    )


def test_a_threshold_chosen_on_validation_images_stands_beside_the_oracle(run: Path, photos: Path) -> None:
    data = split_photos(photos, box_in="train")
    told: list[tuple[int, int]] = []
    report = measured(run, data, progress=lambda done, total: told.append((done, total)))
    on_validation = measured(run, data, split="val")
    assert report.heatmaps is not None and on_validation.heatmaps is not None
    largest, best = report.heatmaps.accuracy.at_threshold_of(on_validation.heatmaps.accuracy)
    measures = report.to_dict()["localization"]
    assert (measures["box_acc_val_threshold"], measures["box_acc_v2_val_threshold"]) == (largest, best)
    assert largest <= measures["max_box_acc"] and best <= measures["max_box_acc_v2"]
    assert f"BoxAcc {100 * largest:.1f} %, BoxAccV2 {100 * best:.1f} % (at the best" in report.table()
    assert told == [(done, 18) for done in range(1, 19)]
    assert report.images == 12 and len(report.per_image) == 12


@pytest.mark.parametrize("box_in", ["test", "val"])
def test_without_boxes_in_both_splits_no_threshold_is_chosen(run: Path, photos: Path, box_in: Split) -> None:
    told: list[int] = []
    report = measured(run, split_photos(photos, box_in=box_in), progress=lambda _, total: told.append(total))
    assert "box_acc_val_threshold" not in report.to_dict().get("localization", {})
    assert "validation" not in report.table() and set(told) == {12}
    on_validation = measured(run, split_photos(photos, box_in="val"), split="val")
    assert "box_acc_val_threshold" not in on_validation.to_dict()["localization"]


def test_a_fixed_box_draws_no_map_to_choose_a_threshold_for(run: Path, photos: Path) -> None:
    from tlaam.models.build import build_model

    model = load_model(run)
    config = model.config.model_copy(update={"localizer": "center"})
    fixed = replace(model, network=build_model(config, 3, load_pretrained=False).eval(), config=config)
    told: list[int] = []
    report = measured(fixed, split_photos(photos, box_in="train"), progress=lambda _, total: told.append(total))
    assert report.localization is not None and report.heatmaps is None and set(told) == {12}


def test_an_unreadable_validation_image_is_refused_or_left_out_on_request(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "p")
    (tmp_path / "p" / "jay" / "0.png").write_bytes(b"")
    data = split_photos(tmp_path / "p", box_in="train")
    with pytest.raises(DataError, match=r"1 of 6 validation images cannot be read.*0\.png"):
        measured(run, data)
    left = data.with_samples([sample for sample in data.samples if sample.name != "jay/0.png"])
    skipped, without = measured(run, data, skip_unreadable=True), measured(run, left)
    assert skipped.to_dict() == without.to_dict() and skipped.heatmaps is not None and skipped.heatmaps.validation
    for file in ("crow/0", "crow/1", "jay/1", "wren/0", "wren/1"):
        (tmp_path / "p" / f"{file}.png").write_bytes(b"")
    assert "box_acc_val_threshold" not in measured(run, data, skip_unreadable=True).to_dict()["localization"]


def test_a_box_is_measured_without_what_of_it_lies_in_the_banner(run: Path, photos: Path) -> None:
    opened = open_dataset(photos)
    samples = [replace(sample, split="test", box=(0, 0, 80, 55), banner=20) for sample in opened.samples]
    report = measured(run, opened.with_samples(samples))
    assert report.localization is not None
    assert report.localization.trivial["full"].measures()["mean_iou"] == pytest.approx(1.0)


def test_a_split_without_images_is_refused(run: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="no images in split 'test'; it has train"):
        measured(run, photos, split="test")


def test_the_runs_own_data_is_measured_on_what_it_held_out(run: Path, photos: Path, tmp_path: Path) -> None:
    data, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, data)
    shutil.copytree(run, folder)
    opened = open_dataset(data)
    record = {
        "root": str(opened.root), "source_fingerprint": opened.fingerprint(),
        "test_fraction": 0.25, "val_fraction": 0.25, "seed": 3,
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(record))
    cut = with_validation(with_test(opened, 0.25, 3), 0.25, 3)
    assert measured(folder, data).split == "test"
    assert measured(folder, data, split="val").images == len(cut.split("val")) < 18
    shutil.copy(data / "jay" / "0.png", data / "jay" / "new.png")
    with pytest.raises(DataError, match="has changed since"):
        measured(folder, data)


def test_rare_classes_are_told_apart_where_training_had_unequally_many_images(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    data, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(run, folder)
    for split, kept in (("train", {"crow": 4, "jay": 1, "wren": 2}), ("test", {"crow": 2, "jay": 2, "wren": 2})):
        for name, count in kept.items():
            (data / split / name).mkdir(parents=True)
            for file in (
                sorted((photos / name).iterdir())[:count]
                if split == "train"
                else sorted((photos / name).iterdir())[4:6]
            ):
                shutil.copy(file, data / split / name)
    opened = open_dataset(data)
    record = {
        "root": str(opened.root), "source_fingerprint": opened.fingerprint(),
        "test_fraction": 0.0, "val_fraction": 0.0, "seed": 0,
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(record))
    found = measured(folder, data)
    bands = {band.name: (band.classes, band.fewest, band.most, band.images) for band in found.rarity}
    assert bands == {"rare": (1, 1, 1, 2), "less frequent": (1, 2, 2, 2), "frequent": (1, 4, 4, 2)}
    recalls = {name: row["recall"] for name, row in found.classification["fused"].per_class.items()}
    assert {band.name: band.recall for band in found.rarity} == {
        "rare": recalls["jay"], "less frequent": recalls["wren"], "frequent": recalls["crow"],
    }  # fmt: skip
    assert [row["name"] for row in found.to_dict()["rarity"]] == ["rare", "less frequent", "frequent"]
    assert "1 class of 4 training images" in found.table()
    assert not measured(run, data).rarity, "how many images a stranger's model had is not known"
