"""Every system can be built, and the honest rival costs what it should."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tlaam.comparison.budget import larger_input, passes
from tlaam.comparison.conditions import command
from tlaam.comparison.systems import GROUPS, PROBES, RIVAL, SYSTEMS, chosen, variant
from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.errors import ConfigError
from tlaam.models.build import build_model

SMALL = {"backbone": "resnet18", "image_size": 64, "source_size": 128, "part_size": 32, "pretrained": "none"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_can_be_built(name: str) -> None:
    config = Config.from_flat({**SMALL, **SYSTEMS[name].options}).model
    assert sum(p.numel() for p in build_model(config, 3).parameters()) > 1e6


def test_groups_name_systems_and_the_rival_is_always_there() -> None:
    for name, members in GROUPS.items():
        assert set(members) <= set(SYSTEMS), name
        found = {system.name for system in chosen([name])}
        assert set(PROBES) <= found and (RIVAL in found) == (name != "probes")
    assert [system.name for system in chosen(["probe-object"])] == ["probe-object", "probe", "probe-larger"]
    assert not chosen([variant("frozen", "tlaam", {"epochs": 0})])[0].is_trained
    assert [system.name for system in chosen(["oaam", "ablation", "oaam"])][:3] == ["oaam", "plain", "plain+lcam"]
    with pytest.raises(ConfigError, match="Did you mean 'gradcam'"):
        chosen(["grad-cam"])


@pytest.mark.parametrize(("options", "expected"), [
    ({"localizer": "oaam", "parts": "mpalm"}, 1 + 1 + 4 / 4),
    ({"localizer": "oaam", "parts": "none"}, 2),
    ({"localizer": "none", "parts": "none"}, 1),
    ({"localizer": "none", "parts": "appm"}, 1 + 7 / 4),
])  # fmt: skip
def test_passes_are_counted_in_pixels(options: dict[str, str], expected: float) -> None:
    assert passes(ModelConfig.model_validate({**SMALL, **options})) == expected


def test_the_rivals_input_costs_as_much_and_comes_from_the_same_source_pixels() -> None:
    config = ModelConfig.model_validate(
        {**SMALL, "image_size": 224, "source_size": 448, "part_size": 112, "localizer": "oaam"}
    )
    assert larger_input(config) == {"image_size": 416, "source_size": 448}  # 3 passes: 224 · √3 = 388
    tight = config.model_copy(update={"source_size": 224})
    assert larger_input(tight) == {"image_size": 416, "source_size": 224}


@pytest.mark.parametrize("size", [64, 96, 192, 224, 320, 448])
@pytest.mark.parametrize("zoom_steps", [1, 3])
def test_the_rival_never_costs_less(size: int, zoom_steps: int) -> None:
    config = ModelConfig.model_validate(
        {**SMALL, "image_size": size, "source_size": 2 * size, "part_size": size // 2, "localizer": "oaam",
         "zoom_steps": zoom_steps}
    )  # fmt: skip
    cost = (larger_input(config)["image_size"] / size) ** 2
    assert passes(config) == 2 + zoom_steps
    assert 1 <= cost / passes(config) < 1.4


def test_variants_have_titles_of_their_own_and_the_command_spells_them() -> None:
    gentle = variant("gentle", "plain", {"lr": 0.001, "part_windows": [0.2, 0.5], "classifier_lr": None})
    grid = [SYSTEMS["tlaam"], gentle, variant("again", "plain-larger", {})]
    assert len({system.title for system in [*grid, SYSTEMS["plain-larger"]]}) == 4
    settings = {"flip": False, "pretrained": "my weights.pth"}
    words = shlex.split(command("d", Path("o"), grid, seeds=2, settings=settings, protocol="last", first="tlaam"))
    assert words == [
        "tlaam", "compare", "d", "--out", "o",
        "--variant", "gentle=plain lr=0.001 part_windows=0.2,0.5 classifier_lr=auto", "--variant", "again=plain-larger",
        "--systems", "tlaam", "--seeds", "2", "--protocol", "last", "--first", "tlaam",
        "--set", "flip=no", "--set", "pretrained=my weights.pth",
    ]  # fmt: skip


@pytest.mark.parametrize("epochs", [0, "0"])
def test_a_variant_without_epochs_is_not_trained(epochs: int | str) -> None:
    alone = variant("tlaam-probe", "tlaam", {"epochs": epochs})
    assert not alone.is_trained and {system.name for system in chosen(["probe", alone])} == {"tlaam-probe", *PROBES}
