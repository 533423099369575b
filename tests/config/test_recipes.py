"""Every recipe is valid, can be built, is found in the package, and stands in the documentation as it is."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml

from tlaam.cli.main import main
from tlaam.config.defaults import resolve
from tlaam.config.presets import PRESETS, preset, shared_settings
from tlaam.config.recipes import recipe_names, recipe_text, recipe_title
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.errors import ConfigError
from tlaam.models.build import build_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SMALL = {"image_size": 64, "source_size": 64, "part_size": 32, "pretrained": "none", "accelerator": "cpu"}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_can_be_built_and_run(name: str, photos: Path) -> None:
    config = resolve(Config.from_nested({"preset": name}), open_dataset(photos))
    assert config.model.image_size == 448 and config.training.keep == "best" and config.training.select_on == "val"
    # Everything but sizes and weights stays as the recipe has it, the backbone too.
    # The localiser of a run with pretrained weights is built as well, which would be another one without.
    options = {"preset": name, **SMALL, "localizer": config.model.localizer}
    small = resolve(Config.from_nested(options), open_dataset(photos)).model
    torch.manual_seed(0)
    model = build_model(small, 3).eval()
    with torch.no_grad():
        output = model(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert output.probabilities.shape == (1, 3) and output.probabilities.isfinite().all()
    assert output.object_boxes is not None and output.part_boxes is not None
    assert (
        output.part_boxes.shape[1] == {"mpalm": 2 * len(small.part_windows), "appm": 7, "appm_vehicles": 6}[small.parts]
    )


def test_there_are_two_backbones_and_the_baseline_for_each_data_set() -> None:
    systems = ("resnet50", "resnet50-mmal", "convnext-tiny")
    assert set(recipe_names()) == {f"{data}-{system}" for data in ("cub", "aircraft", "cars") for system in systems}


def test_windows_are_the_data_sets() -> None:
    parts = {name: preset(name).get("parts") for name in recipe_names() if name.endswith("mmal")}
    assert parts == {
        "cub-resnet50-mmal": "appm", "aircraft-resnet50-mmal": "appm_vehicles", "cars-resnet50-mmal": "appm_vehicles",
    }  # fmt: skip
    assert preset("cars-resnet50") == PRESETS["paper"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_it_is_and_repeats_nothing(name: str) -> None:
    text = recipe_text(name)
    assert text.startswith("# ") and len(recipe_title(name)) > 20
    values = yaml.safe_load(text)
    base = PRESETS[values.pop("preset")]
    assert not [option for option, value in values.items() if base.get(option) == value]


@pytest.mark.parametrize("name", recipe_names())
def test_the_documentation_has_its_row(name: str) -> None:
    (row,) = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith(f"| `{name}` ")]
    model = Config.from_nested({"preset": name}).model
    assert row[1].strip() in recipe_title(name)
    assert row[3].strip() == f"`{model.backbone}`" and int(row[4]) == model.image_size


def test_the_documentation_has_no_other_rows_and_its_presets_exist() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` ", PAGE.split("\n## ")[0], re.MULTILINE)) == set(recipe_names())
    for name in re.findall(r"--preset ([\w-]+)", PAGE):
        assert name in recipe_names()
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_what_is_not_code_goes_into_the_package() -> None:
    (patterns,) = re.findall(r"^tlaam = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    carried = [pattern.strip(' "') for pattern in patterns.split(",")]
    source = ROOT / "src" / "tlaam"
    found = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    others = [path for path in found if not path.endswith(".py") and "__pycache__" not in path]
    assert {entry.name for entry in files("tlaam.config.recipes").iterdir()} >= {
        f"{name}.yaml" for name in recipe_names()
    }
    assert len(others) > len(recipe_names())
    assert [path for path in others if not any(fnmatch(path, pattern) for pattern in carried)] == []


def test_what_is_given_wins_over_the_recipe(tmp_path: Path) -> None:
    nested = {"preset": "cars-resnet50-mmal", "model": {"image_size": 224}, "epochs": 3}
    config = Config.from_nested(nested)
    assert (config.model.image_size, config.training.epochs) == (224, 3)
    assert (config.model.parts, config.model.localizer, config.training.batch_size) == ("appm_vehicles", "aolm", 6)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(nested))
    assert Config.from_yaml(tmp_path / "mine.yaml") == config


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no preset 'cub-resnet'\. Did you mean 'cub-resnet50'\? Presets .* recipes are"
    ):
        preset("cub-resnet")
    for path in ("../config", "/etc/passwd", "cub-resnet50.yaml"):
        with pytest.raises(ConfigError, match=f"no preset '{path}'"):
            Config.from_nested({"preset": path})
    with pytest.raises(ConfigError, match="preset is 3"):
        Config.from_nested({"preset": 3})
    with pytest.raises(ConfigError, match="no option 'preset'"):
        Config.from_flat({"preset": "paper"})


def test_the_command_line_takes_and_lists_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tlaam.workflows import fit

    taken: list[Config] = []

    def train(data: str, out: Path | None, config: Config, **_: object) -> Path:
        taken.append(config)
        return tmp_path

    monkeypatch.setattr(fit, "train", train)
    assert main(["train", "--help"]) == 0
    help_text = capsys.readouterr().out
    for name in recipe_names():
        assert re.search(rf"^ +{name} +{re.escape(recipe_title(name))}$", help_text, re.MULTILINE)
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 5\nbatch_size: 4\n")
    command = ["train", "x", "--config", str(file), "--batch-size", "2", "--no-index", "--no-report"]
    assert main([*command, "--preset", "aircraft-resnet50-mmal"]) == 0
    file.write_text("preset: aircraft-resnet50-mmal\nepochs: 5\nbatch_size: 4\n")
    assert main(command) == 0
    assert taken[0] == taken[1]
    assert (taken[0].model.parts, taken[0].training.epochs, taken[0].training.batch_size) == ("appm_vehicles", 5, 2)
    capsys.readouterr()
    assert main([*command, "--preset", "paper"]) == 1
    assert "both name a preset" in capsys.readouterr().err and len(taken) == 2


def test_a_comparison_takes_no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    from tlaam.comparison import run

    shared = shared_settings("cars-resnet50-mmal")
    assert (shared["backbone"], shared["image_size"], shared["epochs"]) == ("resnet50", 448, 120)
    assert not {"localizer", "parts", "attention", "box_margin", "norm_statistics"} & set(shared)
    given: list[object] = []

    def compare(*_: object, settings: dict[str, object], **__: object) -> None:
        given.append(settings)
        raise ConfigError("enough")

    monkeypatch.setattr(run, "compare", compare)
    assert main(["compare", "x", "--preset", "cars-resnet50-mmal", "--set", "epochs=2"]) == 1
    assert given == [{**shared, "epochs": "2"}]
