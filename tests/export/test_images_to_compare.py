"""Which photographs an export is compared on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tlaam.data.open import open_dataset
from tlaam.data.sample import Sample
from tlaam.data.split import cut_splits
from tlaam.data.split_rule import SplitRule
from tlaam.export.parity import images_to_compare


def test_images_that_the_run_held_out_come_first(photos: Path, tmp_path: Path) -> None:
    images = open_dataset(photos)
    facts = {
        "source": str(photos), "root": str(photos.resolve()), "name": images.name, "kind": "folder",
        "fingerprint": "", "source_fingerprint": images.fingerprint(), "seed": 3, "test_fraction": 0.0,
        "val_fraction": 0.34, "val": [],
    }  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(facts))
    (tmp_path / "run.json").write_text("{}")
    held_out = cut_splits(replace(images, rule=SplitRule(copies=())), 0.0, 0.34, 3).split("val")
    chosen = [image for image in images_to_compare(tmp_path, [], 100) if isinstance(image, Sample)]
    assert 0 < len(chosen) < len(images.samples)
    assert {image.name for image in chosen} == {sample.name for sample in held_out}
    seen = [image for image in images_to_compare(tmp_path, [], 100, "train") if isinstance(image, Sample)]
    assert {image.name for image in seen} == {sample.name for sample in images.samples} - {s.name for s in held_out}
