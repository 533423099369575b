"""A saved model: same answers after loading, nothing unpickled, damage noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.inference.store import load_model, save_model
from tlaam.models.build import build_model
from tlaam.utils.checksums import with_checksum

CONFIG = ModelConfig(backbone="test_vit", image_size=64, source_size=64, part_size=32, pretrained="none")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path, build_model(CONFIG, 3), CONFIG, ["é", "b", "<script>"])
    return tmp_path


def test_it_answers_the_same_after_a_round_trip(saved: Path) -> None:
    torch.manual_seed(0)
    model = build_model(CONFIG, 3).eval()
    loaded = load_model(saved)
    assert loaded.classes == ("é", "b", "<script>") and loaded.source_size == 64 and not loaded.network.training
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for before, after in zip(model(images), loaded.network(images), strict=True):
            assert (before is None and after is None) or torch.equal(before, after)


def test_only_the_two_files_are_left(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no trained model"):
        load_model(tmp_path)


def test_truncated_weights_are_noticed(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        load_model(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "model": {"backbone": 3}, "classes": []}']
)
def test_a_broken_description_is_named(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(saved)


def test_the_description_holds_what_a_reader_needs(saved: Path) -> None:
    description = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert description["preprocessing"]["image_size"] == 64
    assert len(description["preprocessing"]["mean"]) == 3
    assert {"torch", "timm", "tlaam"} <= set(description["versions"])


def test_weights_that_are_not_those_of_the_description_are_refused(saved: Path, tmp_path: Path) -> None:
    """A turned bit, or another model's weights of the same shapes, would answer too, and wrongly."""
    weights = saved / "model.safetensors"
    good = weights.read_bytes()
    changed = bytearray(good)
    changed[-5] ^= 8
    weights.write_bytes(changed)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or of another model: its checksum"):
        load_model(saved)
    description = json.loads((saved / "config.json").read_text())
    del description["weights_sha256"], description["sha256"]  # as older versions wrote it
    (saved / "config.json").write_text(json.dumps(description))
    load_model(saved)
    weights.write_bytes(good)
    load_model(saved)


@pytest.mark.parametrize(("option", "value"), [
    ("image_size", 10**9), ("zoom_steps", 10**9), ("part_channels", 10**9), ("part_windows", [0.5] * 100_000),
    ("heatmap_upsample", 10**9), ("backbone", "no_such_model"), ("image_size", None),
])  # fmt: skip
def test_a_description_beyond_measure_is_refused_by_name(saved: Path, option: str, value: object) -> None:
    description = json.loads((saved / "config.json").read_text())
    description["model"][option] = value
    (saved / "config.json").write_text(json.dumps(with_checksum(description)))
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        load_model(saved)
    assert len(str(caught.value)) < 2000


def test_a_description_that_was_altered_is_refused(saved: Path) -> None:
    """Another class name or colour mean would give a wrong answer under a right name."""
    text = (saved / "config.json").read_text(encoding="utf-8")
    (saved / "config.json").write_text(text.replace('"b"', '"c"'))
    with pytest.raises(
        ModelError, match=r"config\.json was altered after it was written.*set its entry 'sha256' to null"
    ):
        load_model(saved)
    description = json.loads(text)
    del description["sha256"]
    description["classes"][1] = "c"
    (saved / "config.json").write_text(json.dumps(description))
    assert load_model(saved).classes[1] == "c"


def test_a_giant_that_the_weights_cannot_be_of_takes_no_memory(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = json.loads((saved / "config.json").read_text())
    description["model"]["backbone"] = "eva02_enormous_patch14_clip_224"
    (saved / "config.json").write_text(json.dumps(with_checksum(description)))
    monkeypatch.setattr("tlaam.inference.store.build_model", lambda *_args, **_options: pytest.fail("it was built"))
    with pytest.raises(ModelError, match=r"of another model: it holds .* 'eva02_enormous_patch14_clip_224' .* has 4,"):
        load_model(saved)
