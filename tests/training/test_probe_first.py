"""``--epochs 0``: a whole model on a frozen backbone, the same each time, from any point at which it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.torch import load_file

import tlaam
from tlaam.config.schema import Config
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.pytorch import TorchModel
from tlaam.models.localizers.fixed_box import FixedBox
from tlaam.models.network import TLAAM
from tlaam.training import run as training_run
from tlaam.training.finder import fit_localizer
from tlaam.training.masks import PseudoMasks
from tlaam.training.run import resume, train

PROBE: dict[str, Any] = {
    "epochs": 0, "backbone": "resnet18", "localizer": "foreground", "image_size": 64, "source_size": 96,
    "pretrained": "none", "workers": 0, "pseudo_mask_size": 96, "val_fraction": 0.0, "accelerator": "cpu",
    "precision": "32-true",
}  # fmt: skip


def trained(photographs: Path, out: Path, **changes: Any) -> Path:
    return train(photographs, out, Config.from_flat({**PROBE, **changes}), progress=False)


@pytest.fixture(scope="module")
def probe(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(photographs, tmp_path_factory.mktemp("probe") / "run")


def test_it_is_a_whole_model(probe: Path, photographs: Path) -> None:
    status = json.loads((probe / "run.json").read_text())
    facts = status["probe"]
    assert status["state"] == "finished" and facts["images"] == 27 and facts["views"] == 3
    assert facts["out_of_fold_top1"] > 0.8 and facts["l2_joint"] is not None  # the colours tell the classes
    assert Config.from_yaml(probe / "config.yaml").model.fusion == "joint"
    classifier = tlaam.load(probe, precision="32-true", device="cpu")
    report = classifier.evaluate(photographs)
    assert report.classification["fused"].top1 == 1.0 and report.classification["raw"].top1 == 1.0
    assert classifier.report().stat().st_size > 10_000  # with no epoch to draw


def test_the_backbone_stays_as_it_was_and_the_rest_does_not(probe: Path, photographs: Path, tmp_path: Path) -> None:
    learnt = load_file(probe / "model.safetensors")
    torch.manual_seed(training_run.derive(0, "weights"))
    config = Config.from_yaml(probe / "config.yaml")
    begun = training_run.build_model(config.model, 3).state_dict()
    changed = {name.split(".")[0] for name, value in learnt.items() if not torch.equal(value, begun[name])}
    assert changed == {"classifier", "joint", "localizer"}


def test_it_is_the_same_each_time_and_wherever_it_was_killed(
    probe: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = load_file(probe / "model.safetensors")
    for number, name in enumerate(("fit_probe_model", "fit", "save_model")):  # each is killed as it begins
        with monkeypatch.context() as patched:

            def killed(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            patched.setattr(training_run, name, killed)
            with pytest.raises(KeyboardInterrupt):
                trained(photographs, tmp_path / str(number))
        again = load_file(resume(tmp_path / str(number), progress=False) / "model.safetensors")
        for key, value in once.items():
            assert_array_equal(again[key].numpy(), value.numpy(), err_msg=f"{name} {key}")


def test_the_localiser_finds_what_its_masks_show(probe: Path, photographs: Path) -> None:
    """It is fitted, not left at random: its cells agree with its masks better than chance would."""
    from tlaam.training.masks import read_pseudo_masks

    samples = tlaam.open_dataset(photographs).split("train")
    masks = read_pseudo_masks(probe / "pseudo_masks.npy", samples)
    classifier = tlaam.load(probe, precision="32-true", device="cpu")
    shares, found = [], []
    for number, sample in enumerate(samples):
        heatmap = classifier.predict(str(sample.path)).heatmap
        assert heatmap is not None
        mask = torch.from_numpy(masks[number])[None, None].float() / 255
        shares.append(torch.nn.functional.adaptive_avg_pool2d(mask, heatmap.shape)[0, 0].numpy().ravel())
        found.append(heatmap.ravel())
    assert np.corrcoef(np.concatenate(shares), np.concatenate(found))[0, 1] > 0.5


@pytest.mark.parametrize("changes", [{"fusion": "mean"}, {"localizer": "oaam"}, {"localizer": "none", "parts": "none"}])
def test_other_systems_can_be_probed(photographs: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = trained(photographs, tmp_path / "run", **changes)
    facts = json.loads((path / "run.json").read_text())["probe"]
    assert facts["out_of_fold_top1"] > 0.8
    assert (facts["l2_joint"] is None) is (changes.get("fusion") == "mean")
    assert tlaam.load(path, device="cpu").evaluate(photographs).classification["fused"].top1 > 0.9


def test_what_cannot_be_probed_is_said() -> None:
    with pytest.raises(ConfigError, match="epochs is 0"):
        Config.from_flat(
            {"epochs": 0, "architecture": "tasn", "localizer": "none", "parts": "none", "attention": "none"}
        )


def test_a_localiser_that_learns_otherwise_is_not_left_as_it_was_drawn(probe: Path) -> None:
    network = cast("TorchModel", tlaam.load(probe, device="cpu").engine.model).network
    assert isinstance(network, TLAAM)
    network.localizer = FixedBox(0.7)
    with pytest.raises(ModelError, match="not FixedBox, which learns in epochs"):
        fit_localizer(network, iter([]), 0, cast("PseudoMasks", None), 0)


def test_the_same_picture_twice_does_not_flatter(tmp_path: Path) -> None:
    """Noise of which each picture lies there twice: out of fold, nobody knows it."""
    random = np.random.default_rng(0)
    for number in range(20):
        picture = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        for copy in ("png", "bmp"):
            path = tmp_path / "data" / f"class{number % 2}" / f"{number}.{copy}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    run = trained(tmp_path / "data", tmp_path / "run", localizer="none", parts="none")
    assert json.loads((run / "run.json").read_text())["probe"]["out_of_fold_top1"] < 0.8


def test_two_images_make_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
        Image.new("RGB", (64, 64), (255 * number, 0, 0)).save(tmp_path / "data" / str(number) / "a.png")
    config = Config.from_flat({**PROBE, "localizer": "none", "parts": "none"})
    run = train(tmp_path / "data", tmp_path / "run", config)
    assert "too few images" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["probe"]["out_of_fold_top1"] is None
