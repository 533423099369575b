from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tlaam.config.options import SECTIONS, option_names, section_of
from tlaam.config.presets import PRESETS, preset
from tlaam.config.schema import Config
from tlaam.config.sections import MACHINE_OPTIONS
from tlaam.errors import ConfigError
from tlaam.utils.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "there is no option 'epoch'. Did you mean 'epochs'?"),
        ({"zzz": 3}, "there is no option 'zzz'. `tlaam train --help` lists all there are."),
        ({"optimizer": "adm"}, "optimizer = 'adm': Input should be 'sgd' or 'adamw'. Did you mean 'adamw'?"),
        ({"optimizer": 3}, "optimizer = 3: Input should be 'sgd' or 'adamw'."),
    ],
)
def test_the_closest_name_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_flat(given)
    assert str(caught.value) == message


def test_every_fault_is_a_sentence_of_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_flat({"epochs": "many", "optimizer": "adm", "lr": -1})
    said = str(caught.value)
    assert "\n" not in said and "; " not in said
    for name in ("epochs = 'many': ", "Did you mean 'adamw'?", "lr = -1: "):
        assert name in said
    assert said.endswith((".", "?")) and ".." not in said


@pytest.mark.parametrize("option", ["lr", "threshold", "drop_rate", "checkpoint_every", "box_margin", "jitter"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan"])
def test_numbers_are_finite(option: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=option):
        Config.from_flat({option: value})


@pytest.mark.parametrize(("given", "devices"), [(2, "2"), ("2", "2"), ("0,1", "0,1"), ("auto", "auto")])
def test_devices_may_be_a_number(given: int | str, devices: str) -> None:
    assert Config.from_flat({"devices": given}).training.devices == devices


@pytest.mark.parametrize("given", [True, 1.5, [0, 1], None])
def test_devices_are_nothing_else(given: Any) -> None:
    with pytest.raises(ConfigError, match="devices"):
        Config.from_flat({"devices": given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source_size": 100, "image_size": 200}, "source_size 100 is smaller than image_size 200"),
        ({"part_windows": []}, "part_windows .* at least one share above 0"),
        ({"part_windows": [0.0, 0.5]}, "part_windows .* at least one share above 0"),
        ({"ema_decay": 1}, "ema_decay = 1: "),
        ({"crop_scale": 0}, "crop_scale = 0: "),
    ],
)
def test_impossible_values_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_flat(given)


def test_only_a_network_without_crops_may_enlarge_its_source() -> None:
    sizes = {"source_size": 100, "image_size": 200, "attention": "none"}
    assert Config.from_flat({**sizes, "localizer": "none", "parts": "none"}).model.source_size == 100
    for modules in ({"localizer": "none"}, {"parts": "none"}, {**PRESETS["racnn"]}):
        with pytest.raises(ConfigError, match="crops are cut from the source"):
            Config.from_flat({**sizes, **modules})


def test_options_stand_in_their_section_or_in_none() -> None:
    config = Config.from_nested({"model": {"parts": "none"}, "training": {"lr": 0.5}, "epochs": 3, "threshold": 2})
    assert (config.model.parts, config.model.threshold) == ("none", 2.0)
    assert (config.training.lr, config.training.epochs) == (0.5, 3)
    with pytest.raises(ConfigError, match="'lr' stands in section 'model' but belongs to 'training'"):
        Config.from_nested({"model": {"lr": 1}})
    with pytest.raises(ConfigError, match="section 'model' holds 3"):
        Config.from_nested({"model": 3})


def test_names_may_be_spelt_with_hyphens(tmp_path: Path) -> None:
    wanted = Config.from_flat({"image_size": 64, "batch_size": 2})
    assert Config.from_flat({"image-size": 64, "batch-size": 2}) == wanted
    assert Config.from_nested({"model": {"image-size": 64}, "batch-size": 2}) == wanted
    (tmp_path / "config.yaml").write_text("model: {image-size: 64}\nbatch-size: 2\n")
    assert Config.from_yaml(tmp_path / "config.yaml") == wanted
    assert read_yaml(tmp_path / "config.yaml") == {"model": {"image_size": 64}, "batch_size": 2}
    with pytest.raises(ConfigError, match="'image_size' is given twice"):
        Config.from_flat({"image-size": 64, "image_size": 32})


def test_every_option_has_one_section() -> None:
    names = option_names()
    assert len(names) == len(set(names))
    assert {section_of(name) for name in names} == set(SECTIONS)
    assert {section_of(name) for name in MACHINE_OPTIONS} == {"training"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_come_as_copies(name: str) -> None:
    values = preset(name)
    nested = Config.from_flat(values).to_nested()
    for option, value in values.items():
        assert nested[section_of(option)][option] == (list(value) if isinstance(value, tuple) else value)
    values["lr"] = "spoilt"
    assert preset(name) == PRESETS[name]


def test_a_misspelt_preset_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'papr'.*Did you mean 'paper'"):
        preset("papr")


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip_through_yaml(tmp_path: Path, name: str) -> None:
    config = Config.from_flat({**preset(name), "attention_stages": [-1, -2], "devices": 2, "lr": 1e-5})
    assert Config.from_nested(config.to_nested()) == config
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_nested()))
    assert Config.from_yaml(tmp_path / "config.yaml") == config


def test_with_options_replaces_and_checks() -> None:
    config = Config.from_flat({"lr": 0.5, "parts": "none"})
    changed = config.with_options(lr=0.25, image_size=64)
    assert (changed.training.lr, changed.model.image_size, changed.model.parts) == (0.25, 64, "none")
    assert config.training.lr == 0.5
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        config.with_options(epoch=1)
    with pytest.raises(ConfigError, match="smaller than image_size"):
        config.with_options(image_size=64, source_size=32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1", "holds a list"),
        (b"epochs", "holds a str"),
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"epoch: 3", "Did you mean 'epochs'"),
        (b"model: {lr: 3}", "belongs to 'training'"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        Config.from_yaml(path)
    assert "\n" not in str(caught.value)


def test_absent_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        Config.from_yaml(tmp_path / "absent.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert Config.from_yaml(tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"localizer": "foreground", "heatmap_layer": "layer3"}, "heatmap_layer goes with localizer=oaam or gradcam"),
        ({"localizer": "aolm", "threshold_rule": "max", "threshold": 0.5}, "threshold goes with localizer=foreground"),
        ({"localizer": "scda", "heatmap_upsample": 2}, "heatmap_upsample goes with localizer="),
        ({"localizer": "gradcam", "threshold": 2}, "threshold 2 must be below 1 with localizer=gradcam"),
        ({"localizer": "aolm", "threshold": 0.5}, "threshold goes with localizer=foreground or oaam or"),
        ({"localizer": "foreground", "threshold": 1.3}, "threshold 1.3 must be below 1 with localizer=foreground"),
    ],
)
def test_an_option_of_another_localiser_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_flat(options)
    assert Config.from_flat({**options, "localizer": "oaam"}).model.localizer == "oaam"


@pytest.mark.parametrize("threshold", [None, 1.0, 3.0])
def test_a_fraction_of_the_maximum_is_below_1(threshold: float | None) -> None:
    options = {"localizer": "oaam", "threshold_rule": "max"}
    with pytest.raises(ConfigError, match="threshold_rule=max needs a threshold below 1"):
        Config.from_flat({**options, "threshold": threshold})
    assert Config.from_flat({**options, "threshold": 0.2}).model.threshold == 0.2
