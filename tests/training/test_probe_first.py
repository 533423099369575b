"""``--epochs 0``: a whole model on a frozen backbone, the same each time, from any point at which it was killed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from numpy.testing import assert_array_equal
from PIL import Image
from safetensors.torch import load_file

import tlaam
from tlaam.config.schema import Config
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.pytorch import infer
from tlaam.inference.store import load_model
from tlaam.models.joint import JointHead
from tlaam.models.localizers.fixed_box import FixedBox
from tlaam.models.network import TLAAM
from tlaam.training import epoch_choice, loop
from tlaam.training import run as training_run
from tlaam.training.dataset import EvaluationImages, Item
from tlaam.training.probe_first import fit_probe_model
from tlaam.training.pseudo_masks import taught_masks
from tlaam.training.run import resume, train
from tlaam.training.validation import TEMPERATURES, validate

PROBE: dict[str, Any] = {
    "epochs": 0, "backbone": "resnet18", "localizer": "foreground", "image_size": 64, "source_size": 96,
    "pretrained": "none", "workers": 0, "pseudo_mask_size": 96, "val_fraction": 0.0, "accelerator": "cpu",
    "precision": "32-true",
}  # fmt: skip


def trained(photographs: Path, out: Path, **changes: Any) -> Path:
    return train(photographs, out, Config.from_flat({**PROBE, **changes}), progress=False)


def network_of(run: Path) -> TLAAM:
    network = load_model(run).network
    assert isinstance(network, TLAAM)
    return network


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
    samples = tlaam.open_dataset(photographs).split("train")
    config = Config.from_yaml(probe / "config.yaml")
    classifier = tlaam.load(probe, precision="32-true", device="cpu")
    masks = taught_masks(
        Fabric(accelerator="cpu", devices=1), network_of(probe), samples, config, context=nullcontext, progress=False
    )
    shares, found = [], []
    for number, sample in enumerate(samples):
        heatmap = classifier.predict(str(sample.path)).heatmap
        assert heatmap is not None
        mask = torch.from_numpy(masks[number] > 127)[None, None].float()
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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"probe_first": True, "architecture": "tasn", "localizer": "none", "parts": "none", "attention": "none"},
         "probe_first goes with architecture=tlaam"),
        ({"probe_first": False, "epochs": 0}, "probe_first is false"),
    ],
)  # fmt: skip
def test_a_probe_that_cannot_come_first_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.from_flat(values)


def test_a_localiser_that_learns_otherwise_is_not_left_as_it_was_drawn(probe: Path, photographs: Path) -> None:
    network = network_of(probe)
    network.localizer = FixedBox(0.7)
    network.localizer.learns = True
    samples = tlaam.open_dataset(photographs).split("train")
    with pytest.raises(ModelError, match="not FixedBox, which learns in epochs"):
        fit_probe_model(Fabric(accelerator="cpu", devices=1), network, samples, Config.from_yaml(probe / "config.yaml"))


FINE: dict[str, Any] = {"epochs": 2, "probe_first": True, "val_fraction": 0.3, "batch_size": 4, "raw_epochs": 0}


@pytest.mark.parametrize("fusion", ["joint", "mean"])
def test_training_that_forgets_keeps_the_probe(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fusion: str
) -> None:
    """With a rate at which nothing can be learnt, the weights are the probe's, to the last bit."""
    if fusion == "mean":  # of probabilities that were never calibrated, which any training makes larger
        monkeypatch.setattr(epoch_choice, "better", lambda new, old, *_: len(new) != len(old))
    harsh = {"lr": 3.0, "gradient_clip": 1.0, "norm_statistics": "shared", "fusion": fusion}
    options = Config.from_flat({**PROBE, **FINE, **harsh})
    run = train(photographs, tmp_path / "run", options)
    said = capsys.readouterr().err
    assert "held-out images right; fine-tuning goes on" in said and "kept the probe" in said
    assert json.loads((run / "run.json").read_text())["kept"] == "probe"
    alone = trained(photographs, tmp_path / "alone", val_fraction=0.3, fusion=fusion)
    once, kept = load_file(alone / "model.safetensors"), load_file(run / "model.safetensors")
    for name, value in once.items():
        assert_array_equal(kept[name].numpy(), value.numpy(), err_msg=name)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_an_epoch_that_is_better_is_kept_at_its_temperature(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr(epoch_choice, "better", lambda new, old, *_: len(new) == len(old) == 9)
    monkeypatch.setattr(loop, "_ENOUGH", 5)
    cooled: list[float] = []
    monkeypatch.setattr(JointHead, "cool", lambda _head, temperature: cooled.append(temperature))
    run = trained(photographs, tmp_path / "run", **FINE, keep=keep, lr=1e-4)
    assert json.loads((run / "run.json").read_text())["kept"] in ("epoch 1", "epoch 2", "last")
    assert len(cooled) == 1 and cooled[0] in TEMPERATURES


def test_a_stopped_training_goes_on_from_the_probe(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within its first epoch, it neither probes again nor forgets what the probe was worth."""
    options = {**FINE, "lr": 3.0, "gradient_clip": 1.0}
    once = load_file(trained(photographs, tmp_path / "once", **options) / "model.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "validate", validate_once())
        with pytest.raises(KeyboardInterrupt):
            trained(photographs, tmp_path / "again", **options)
    monkeypatch.setattr(training_run, "fit_probe_model", None)
    run = resume(tmp_path / "again", progress=False)
    assert json.loads((run / "run.json").read_text())["kept"] == "probe"
    for name, value in load_file(run / "model.safetensors").items():
        assert_array_equal(once[name].numpy(), value.numpy(), err_msg=name)


def validate_once() -> Any:
    """Return a validation that is killed the second time."""
    times: list[int] = []

    def validated(*arguments: Any) -> Any:
        times.append(1)
        if len(times) > 1:
            raise KeyboardInterrupt
        return validate(*arguments)

    return validated


def test_losses_at_a_temperature_are_those_of_scores_divided_by_it(probe: Path, photographs: Path) -> None:
    network, fabric = network_of(probe), Fabric(accelerator="cpu", devices=1)
    samples = tlaam.open_dataset(photographs).split("train")
    items = [EvaluationImages(samples, 96)[place] for place in range(6)]
    batch = Item(*(torch.stack(values) for values in zip(*items, strict=True)))
    found = validate(fabric, network, [batch], 6)
    logits = infer(network, batch.input_image).joint_logits
    assert logits is not None and found.losses is not None and found.losses.shape == (6, len(TEMPERATURES))
    for place, temperature in enumerate(TEMPERATURES):
        wanted = torch.nn.functional.cross_entropy(logits / temperature, batch.label, reduction="none")
        torch.testing.assert_close(found.losses[:, place], wanted)
    losses, temperature = found.calibrated()
    assert (
        losses.mean() == found.losses.mean(0).min() and TEMPERATURES.index(temperature) == found.losses.mean(0).argmin()
    )


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
