"""The example of docs/adding.md, as it stands there: it trains, predicts, is loaded, compared by name, installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tlaam
from tlaam.cli.main import main
from tlaam.comparison.systems import GROUPS, unregister_system
from tlaam.config.registry import unregister
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.store import load_model
from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.base import Evidence
from tlaam.training.run import train
from tlaam.utils.checksums import with_checksum

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
EXAMPLE, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PACKAGE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
QUICK: dict[str, Any] = {
    "localizer": "brightest", "backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 96,
    "epochs": 2, "raw_epochs": 1, "workers": 0, "accelerator": "cpu",
}  # fmt: skip


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    """What the example's file defines, after its ``register()``."""
    defined: dict[str, Any] = {"__name__": "tlaam_brightest"}
    exec(compile(EXAMPLE, "docs/adding.md", "exec"), defined)
    defined["register"]()
    yield defined
    unregister("localizer", "brightest")
    unregister_system("brightest")


def test_it_boxes_the_brightest_region(example: dict[str, Any]) -> None:
    features = torch.full((2, 3, 4, 4), 0.1)
    features[0, :, 1:3, 2] = -5
    features[1] = 0
    evidence = Evidence(features, torch.zeros(2, 2), torch.zeros(2, dtype=torch.long), LinearHead(3, 2))
    found = example["Brightest"](threshold=1.0)(evidence, 64)
    assert found.boxes.tolist() == [[32, 16, 48, 48], [0, 0, 64, 64]]
    assert found.heatmaps.shape == (2, 4, 4) and not found.heatmaps.requires_grad


def test_it_trains_predicts_and_is_loaded_again(example: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    run = train(photos, tmp_path / "run", {**QUICK, "threshold": 1.2}, progress=False)
    answers = list(tlaam.load(run).predict(photos / "jay"))
    assert len(answers) == 6
    for answer in answers:
        assert answer.error is None and answer.object_box is not None and answer.heatmap is not None
        x0, y0, x1, y1 = answer.object_box
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 60
    localizer = load_model(run).network.localizer
    assert isinstance(localizer, example["Brightest"]) and localizer.threshold == 1.2
    with pytest.raises(ConfigError, match="threshold_rule goes with localizer=oaam; the localiser is brightest"):
        tlaam.Config.from_flat({"localizer": "brightest", "threshold_rule": "max"})


def test_of_the_groups_it_is_in_all_only(example: dict[str, Any]) -> None:
    assert [group for group, members in GROUPS.items() if "brightest" in members] == ["all"]


def test_without_the_registration_its_model_is_refused(photos: Path, run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.safetensors", tmp_path)
    description = json.loads((run / "config.json").read_text())
    description["model"]["localizer"] = "brightest"
    (tmp_path / "config.json").write_text(json.dumps(with_checksum(description)))
    with pytest.raises(ModelError, match="localizer 'brightest' is not registered here"):
        tlaam.load(tmp_path).predict(photos)


def test_installed_it_is_known_to_every_process(photos: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (version,) = re.findall(r'^version = "(.*)"', PACKAGE, re.MULTILINE)
    information = site / f"tlaam_brightest-{version}.dist-info"
    information.mkdir(parents=True)
    (site / "tlaam_brightest.py").write_text(EXAMPLE)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tlaam-brightest\nVersion: {version}\n")
    group, name, value = re.findall(r'entry-points\."(.*)"\]\n(\w+) = "(.*)"', PACKAGE)[0]
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    # After what leads to the project itself: with -m the current folder is on the path as well.
    environment["PYTHONPATH"] = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(site)])

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())

    listing = call("-c", "from tlaam.cli.main import main; main(['train', '--help']); main(['compare', '--list'])")
    assert "full|brightest|none" in listing and "brightest boxes by the features' norm" in listing
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**QUICK, "epochs": 1}.items()]
    call("-m", "tlaam", "train", str(photos), "--out", "run", *options)
    assert '"tlaam_brightest:Brightest"' in (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(ModelError, match="It stood in tlaam_brightest:Brightest"):  # this process has not installed it
        load_model(tmp_path / "run")


def test_a_comparison_finds_it_by_name_but_needs_the_package(
    example: dict[str, Any], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(photos), "--systems", "brightest"]) == 1
    assert "was registered in this process only" in capsys.readouterr().err


def test_the_files_it_points_at_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (Path(__file__).parents[1] / "docs" / link).exists(), link
