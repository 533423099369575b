"""Training from a tar archive or Parquet is training from the folder, bit for bit, also when killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packed_images import packed, table_of
from stub_network import SETTINGS

from tlaam.data.open import open_dataset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def runs(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train from a folder with splits, and from the same images packed: whole, and killed with loaders and resumed."""
    folder = tmp_path_factory.mktemp("runs")
    birds = folder / "birds"
    for split, keep in (("train", lambda n: n % 3), ("val", lambda n: not n % 3)):
        for file in sorted(photographs.rglob("*.png")):
            if keep(int(file.stem)):
                place = birds / split / file.parent.name / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read_bytes())
    tar = packed(folder / "birds.tar", birds)
    for split in ("train", "val"):
        files = sorted((birds / split).rglob("*.png"))
        columns = {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]}
        table_of(folder / "table" / f"{split}.parquet", columns, row_group_size=5)
    sources = {"folder": birds, "tar": tar, "parquet": folder / "table"}

    def attempt(verb: str, out: str, source: Path, kill: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {**SETTINGS, "epochs": 2, **changes}
        return {"verb": verb, "out": str(folder / out), "source": str(source), "settings": settings, "kill": kill}

    jobs = {name: [attempt("train", name, source)] for name, source in sources.items()}
    for name in ("tar", "parquet"):
        out = f"{name}, killed"
        kill = ["forward", 7, int(signal.SIGKILL)]
        jobs[out] = [attempt("train", out, sources[name], kill, workers=2), attempt("resume", out, sources[name])]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stub_runs.py")), str(folder / "jobs.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TLAAM_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout.splitlines()[-1])
    assert statuses == {
        "folder": [0], "tar": [0], "parquet": [0], "tar, killed": [-signal.SIGKILL, 0],
        "parquet, killed": [-signal.SIGKILL, 0],
    }, done.stderr  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["tar", "parquet", "tar, killed", "parquet, killed"])
def test_weights_are_those_of_the_folder(runs: Path, name: str) -> None:
    assert (runs / name / "model.safetensors").read_bytes() == (runs / "folder" / "model.safetensors").read_bytes()


def test_the_run_says_what_it_was_trained_on(runs: Path) -> None:
    facts = {name: json.loads((runs / name / "data.json").read_text()) for name in ("folder", "tar", "parquet")}
    assert {name: fact["kind"] for name, fact in facts.items()} == {name: name for name in facts}
    assert facts["tar"]["fingerprint"] == facts["folder"]["fingerprint"] == open_dataset(runs / "birds").fingerprint()
