"""Fixtures that several test files share."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests in every folder share the modules beside this one

from archive_server import ArchiveServer, serving
from hub_server import TOKEN, HubServer, serving_hub
from packing import tiny_cub
from small_runs import small_run

SLOW = {
    "api/test_classifier.py": "the classifier on an exported file",
    "api/test_tour.py": "the tour of the Python interface",
    "cleaning/test_clean.py": "cleaning whole data sets",
    "cli/test_main.py": "whole commands",
    "comparison/test_folds.py": "comparisons out of fold",
    "comparison/test_models.py": "trained models compared",
    "comparison/test_run.py": "comparisons",
    "comparison/test_share.py": "comparisons by several processes",
    "comparison/test_systems.py": "every system built",
    "compatibility/test_v0_1_0.py": "what version 0.1.0 wrote",
    "data/test_synthetic.py": "drawn data sets",
    "evaluation/test_evaluate.py": "measuring runs",
    "export/test_export.py": "exports",
    "export/test_pieces.py": "pieces of exported graphs",
    "hub/test_download.py": "the hub",
    "inference/test_pytorch.py": "compiled answers",
    "models/test_graph.py": "networks as graphs",
    "models/test_network.py": "networks over backbones",
    "pocket/test_browser.py": "the page without a server in a browser",
    "publish/test_folder.py": "folders for the hub",
    "publish/test_upload.py": "uploads",
    "reports/test_run_report.py": "reports of runs",
    "service/test_server.py": "the server under load",
    "stress/test_stress.py": "attacks",
    "test_adding.py": "systems of other packages",
    "test_light.py": "an installation without PyTorch",
    "test_notebooks.py": "the notebooks",
    "test_doctests.py": "an example of each public function",
    "test_commands.py": "every command of README and docs",
    "training/test_architectures.py": "training the networks compared",
    "training/test_devices.py": "several devices",
    "training/test_probe_first.py": "probes of whole runs",
    "training/test_pseudo_masks.py": "pseudo masks",
    "training/test_resume.py": "killed and resumed runs",
    "training/test_start.py": "runs that start from a trained model",
    "workflows/test_quickstart.py": "the quick start",
}
"""Files whose tests take most of the time, and what they are of: `make test-quick` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `SLOW`."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what a quick run left out."""
    if config.option.markexpr == "not slow":
        terminalreporter.write_line(f"Left out ({len(SLOW)} files; make test has all): {', '.join(SLOW.values())}.")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real development data; tests that need it skip, loudly, where it is absent."""
    folder = Path(os.environ.get("TLAAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set TLAAM_DATA to its folder to run this test")
    return folder


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the extra that reads HEIC photographs be missing, whether it is installed or not."""
    from PIL import Image

    monkeypatch.setitem(sys.modules, "pi_heif", None)
    for name in ("tlaam.data.images.reads_heif", "tlaam.data.left_out.reads_heif"):
        monkeypatch.setattr(name, lambda: False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders with a few drawn images: crow/, jay/ and wren/, each of its own colour."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for name, colour in {"crow": (30, 30, 40), "jay": (60, 110, 200), "wren": (150, 100, 60)}.items():
        (root / name).mkdir(parents=True)
        for index in range(6):
            pixels = random.integers(120, 256, (60, 80, 3), dtype=np.uint8)
            x, y = random.integers(5, 40), random.integers(5, 25)
            pixels[y : y + 30, x : x + 30] = colour
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a small untrained model of the classes crow, jay and wren: its answers are as good as any."""
    return small_run(tmp_path_factory.mktemp("runs") / "small", backbone="resnet18")


@pytest.fixture(scope="session")
def exported_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the model that `exported_file` holds, and a gallery of `photos`."""
    from tlaam.workflows.reference_index import write_reference_index

    folder = small_run(tmp_path_factory.mktemp("runs") / "exported", localizer="oaam")
    write_reference_index(folder, photos, precision="32-true")
    return folder


@pytest.fixture(scope="session")
def exporting() -> None:
    """For tests that export: they skip, loudly, with PyTorch 2.6, whose exporter cannot express these networks."""
    import torch

    if torch.__version__ < "2.7":
        pytest.skip(f"PyTorch {torch.__version__} cannot export these networks (docs/export.md)")


@pytest.fixture(scope="session")
def exported_file(exporting: None, exported_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of `exported_run`, with figures and gallery beside it. It takes a minute: one for all tests."""
    from tlaam.cli.main import main

    path = tmp_path_factory.mktemp("out") / "model.onnx"
    assert main(["export", str(exported_run), "--out", str(path), "--images", str(photos)]) == 0
    return path


@pytest.fixture
def archive_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    """A file server on this machine, which no proxy stands in the way of."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def published_cub(archive_server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The archive of a tiny CUB-200-2011, which stands on this machine in place of the real one."""
    from tlaam.data.download.archives import DATA_SETS, Archive

    content = tiny_cub()
    archive_server.files["/CUB_200_2011.tgz"] = content
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    archive = Archive("CUB_200_2011.tgz", len(content), digest, archive_server.url("/CUB_200_2011.tgz"))
    monkeypatch.setitem(DATA_SETS, "cub", replace(DATA_SETS["cub"], archives=(archive,)))
    return content


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hugging Face hub on this machine: empty, as is the client's cache; nobody is logged in, no proxy in the way."""
    hub = pytest.importorskip("huggingface_hub.constants")
    home = tmp_path_factory.mktemp("hub")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving_hub() as server:
        monkeypatch.setattr(hub, "ENDPOINT", server.url())
        monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", server.url("/{repo_id}/resolve/{revision}/{filename}"))
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "HF_HUB_CACHE", str(home / "cache"))
        monkeypatch.setattr(hub, "HF_TOKEN_PATH", str(home / "token"))
        yield server


@pytest.fixture
def logged_in(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub of `hub_server`, with a token that may write to it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub_server
