from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tlaam.config.defaults import default_epochs, resolve, resolve_machine
from tlaam.config.presets import PRESETS
from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import ConfigError
from tlaam.models.build import build_model
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM


def _images(count: int) -> LabelledImages:
    samples = tuple(Sample(f"{i}.png", f"{i}.png", i % 2, "train") for i in range(count))
    return LabelledImages("some", Path(), "folder", ("a", "b"), samples)


def test_nothing_that_data_or_machine_decide_stays_open() -> None:
    config = resolve(Config.from_flat({"accelerator": "cpu"}), _images(300))
    assert config.model.backbone == "tf_efficientnet_lite0"
    assert (config.model.image_size, config.model.source_size, config.model.part_size) == (224, 448, 112)
    assert config.training.epochs == 10
    assert config.training.classifier_lr == config.training.lr
    assert config.training.precision == "32-true"
    assert config.training.accelerator == "cpu"
    assert config.training.devices == "1"
    open_still = {name for section in config.to_nested().values() for name, value in section.items() if value is None}
    assert open_still == {"heatmap_layer", "threshold", "attention_kernel", "attention_stages", "cache", "workers"}
    assert resolve(config, _images(300)) == config


@pytest.mark.parametrize(
    ("pretrained", "localizer"), [("auto", "foreground"), ("none", "oaam"), ("w.pth", "foreground")]
)
def test_only_pretrained_features_know_what_an_object_is(pretrained: str, localizer: str) -> None:
    values = {"accelerator": "cpu", "pretrained": pretrained}
    assert resolve(Config.from_flat(values), _images(10)).model.localizer == localizer
    assert resolve(Config.from_flat({**values, "localizer": "aolm"}), _images(10)).model.localizer == "aolm"


@pytest.mark.parametrize("localizer", ["oaam", "cam", "gradcam", "gradcam++"])
def test_a_localizer_works_by_the_threshold_that_its_run_is_recorded_with(localizer: str) -> None:
    values = {"accelerator": "cpu", "backbone": "resnet18", "image_size": 64, "localizer": localizer}
    given = Config.from_flat(values).model
    resolved = resolve(Config.from_flat(values), _images(10)).model
    assert resolved.threshold is not None and resolved.heatmap_upsample is not None
    changed = resolved.model_copy(update={"threshold": 0.6})
    for model, threshold in ((given, resolved.threshold), (resolved, resolved.threshold), (changed, 0.6)):
        network = build_model(model, 2, load_pretrained=False)
        assert isinstance(network, TLAAM) and network.localizer is not None
        assert (network.localizer.threshold, network.localizer.upsample) == (threshold, resolved.heatmap_upsample)


def test_a_foreground_heads_threshold_is_found_unless_it_is_given() -> None:
    values = {"accelerator": "cpu", "backbone": "resnet18", "image_size": 64, "localizer": "foreground"}
    for given, chosen in ((None, True), (0.6, False)):
        resolved = resolve(Config.from_flat({**values, "threshold": given}), _images(10)).model
        assert resolved.threshold == given
        network = build_model(resolved, 2, load_pretrained=False)
        assert isinstance(network, TLAAM) and isinstance(network.localizer, Foreground)
        assert network.localizer.chooses_threshold is chosen
        assert float(network.localizer.threshold) == pytest.approx(given or 0.25)


def test_the_raw_image_is_larger_where_the_object_is_to_be_found_in_it() -> None:
    values = {"accelerator": "cpu", "backbone": "resnet18", "image_size": 224}
    for localizer, side in (("foreground", 288), ("oaam", 224)):
        resolved = resolve(Config.from_flat({**values, "localizer": localizer}), _images(10)).model
        network = build_model(resolved, 2, load_pretrained=False)
        assert isinstance(network, TLAAM) and (network.raw_size, network.image_size) == (side, 224)


@pytest.mark.parametrize(
    ("values", "probed"),
    [({}, True), ({"pretrained": "none"}, False), ({"pretrained": "none", "epochs": 0}, True),
     ({"probe_first": False}, False), (PRESETS["paper"], False), (PRESETS["racnn"], False)],
)  # fmt: skip
def test_a_probe_comes_first_where_the_backbone_knows_something(values: dict[str, Any], probed: bool) -> None:
    resolved = resolve(Config.from_flat({"accelerator": "cpu", **values}), _images(10))
    assert (resolved.training.probe_first, resolved.model.fusion) == (probed, "joint" if probed else "mean")


@pytest.mark.parametrize("values", [{"localizer": "aolm"}, {"localizer": "none"}, {"architecture": "tasn"}])
def test_a_localizer_without_threshold_has_none_recorded(values: dict[str, str]) -> None:
    if "architecture" in values:
        values = {**values, "parts": "none", "attention": "none"}
    resolved = resolve(Config.from_flat({**values, "accelerator": "cpu"}), _images(10)).model
    assert (resolved.threshold, resolved.heatmap_upsample) == (None, None)


def test_given_values_win() -> None:
    given = {"accelerator": "cpu", "backbone": "resnet18", "image_size": 64, "epochs": 3, "workers": 5, "part_size": 48}
    config = resolve(Config.from_flat(given), _images(10))
    assert {name: getattr(config.model, name) for name in ("backbone", "image_size", "source_size", "part_size")} == {
        "backbone": "resnet18",
        "image_size": 64,
        "source_size": 128,
        "part_size": 48,
    }
    assert (config.training.epochs, config.training.workers) == (3, 5)


def test_a_given_size_that_the_default_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="source_size 100 is smaller than image_size 224"):
        resolve(Config.from_flat({"accelerator": "cpu", "source_size": 100}), _images(10))


@pytest.mark.parametrize(
    ("images", "gpu", "probed", "epochs"),
    [(10, False, False, 60), (300, False, False, 20), (9999, False, False, 8), (9999, True, False, 30),
     (10, False, True, 60), (64, False, True, 25), (160, True, True, 10), (9999, True, True, 10)],
)  # fmt: skip
def test_default_epochs(images: int, gpu: bool, probed: bool, epochs: int) -> None:
    assert default_epochs(images, gpu=gpu, probed=probed) == epochs


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("adamw", 3e-4, 0.05, 0.75, 1.0, 0, 0.1, 0.25, 4, "pretrained")),
        ({"backbone": "convnext_tiny"}, ("adamw", 1e-4, 0.05, 0.75, 1.0, 0, 0.1, 0.25, 4, "pretrained")),
        ({"optimizer": "sgd"}, ("sgd", 3e-3, 1e-4, 1.0, 1.0, 0, 0.1, 0.25, 4, "pretrained")),
        ({"pretrained": "none"}, ("sgd", 1e-2, 1e-4, 1.0, 0.0, 2, 0.0, 0.0, 0, "own")),
        ({"probe_first": False}, ("sgd", 1e-2, 1e-4, 1.0, 0.0, 2, 0.0, 0.0, 0, "own")),
        (PRESETS["paper"], ("sgd", 1e-3, 1e-4, 1.0, 0.0, 2, 0.0, 0.0, 0, "shared")),
        ({"strategy": "fsdp"}, ("adamw", 3e-4, 0.05, 0.75, 1.0, 0, 0.1, 0.0, 4, "pretrained")),
        ({"epochs": 0}, ("adamw", 3e-4, 0.05, 0.75, 1.0, 0, 0.1, 0.25, 4, "shared")),
        ({"lr": 0.5, "start_share": 0.0, "raw_epochs": 1, "norm_statistics": "own"},
         ("adamw", 0.5, 0.05, 0.75, 1.0, 1, 0.1, 0.0, 4, "own")),
    ],
)  # fmt: skip
def test_from_a_probe_it_learns_gently(values: dict[str, Any], expected: tuple[Any, ...]) -> None:
    config = resolve(Config.from_flat({"accelerator": "cpu", **values}), _images(300))
    training = config.training
    found = (
        training.optimizer, training.lr, training.weight_decay, training.layer_decay, training.gradient_clip,
        training.raw_epochs, training.label_smoothing, training.start_share, training.patience,
        config.model.norm_statistics,
    )  # fmt: skip
    assert found == expected
    assert training.classifier_lr == training.lr


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 0.5),
        ({"paste": 0.0}, 0.0),
        ({"paste": 0.25}, 0.25),
        ({"probe_first": False}, 0.0),
        ({"localizer": "oaam"}, 0.0),
        ({"epochs": 0}, 0.0),
        (PRESETS["plain"], 0.0),
        (PRESETS["paper"], 0.0),
    ],
)
def test_objects_are_pasted_after_a_probe_where_there_are_pseudo_masks(values: dict[str, Any], expected: float) -> None:
    assert resolve(Config.from_flat({"accelerator": "cpu", **values}), _images(300)).training.paste == expected


@pytest.mark.parametrize(("cuda", "accelerator"), [(True, "cuda"), (False, "cpu")])
def test_the_accelerator_is_never_left_to_lightning(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, accelerator: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    training = resolve(Config(), _images(300)).training
    assert training.accelerator == accelerator
    assert training.devices == ("2" if cuda else "1")
    assert resolve(Config.from_flat({"accelerator": "mps"}), _images(300)).training.accelerator == "mps"


@pytest.mark.parametrize(("macos", "precision"), [(14, "bf16-mixed"), (13, "32-true")])
def test_on_apples_gpu(monkeypatch: pytest.MonkeyPatch, macos: int, precision: str) -> None:
    """It is taken where there is no other, and named among devices as well as among accelerators."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda major, minor: macos >= major)
    for cuda, accelerator in ((False, "mps"), (True, "cuda")):
        monkeypatch.setattr("torch.cuda.is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
        assert resolve_machine(Config()).training.accelerator == accelerator
        for named in ({"devices": "mps"}, {"accelerator": "mps"}):
            training = resolve_machine(Config.from_flat(named)).training
            assert (training.accelerator, training.devices, training.precision) == ("mps", "1", precision)
    assert resolve_machine(Config.from_flat({"devices": "cpu"})).training.accelerator == "cpu"


@pytest.mark.parametrize(("raw_epochs", "epochs", "expected"), [(2, 8, 2), (2, 3, 2), (2, 2, 1), (9, 8, 4), (2, 1, 0)])
def test_some_epochs_are_left_for_the_object_level(raw_epochs: int, epochs: int, expected: int) -> None:
    given = {"accelerator": "cpu", "raw_epochs": raw_epochs, "epochs": epochs}
    assert resolve(Config.from_flat(given), _images(300)).training.raw_epochs == expected


def test_tiny_sets_need_no_loader_processes() -> None:
    assert resolve(Config.from_flat({"accelerator": "cpu"}), _images(20)).training.workers == 0


def test_torchrun_has_said_how_many_devices_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "6")):
        monkeypatch.setenv(name, value)
    training = resolve_machine(Config.from_flat({"accelerator": "cpu"})).training
    assert (training.devices, training.nodes) == ("2", 3)
    training = resolve_machine(Config.from_flat({"accelerator": "cpu", "devices": 4})).training
    assert training.devices == "4"
