"""Which run is meant where none is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tlaam.runs.newest import newest_run


def finished(folder: Path, moment: int, state: object = "finished") -> Path:
    folder.mkdir(parents=True)
    status = folder / "run.json"
    status.write_text(json.dumps({"state": state}))
    os.utime(status, (moment, moment))
    return folder


def test_it_is_the_run_that_finished_last(tmp_path: Path) -> None:
    assert newest_run(tmp_path) is None
    finished(tmp_path / "birds", 100)
    last = finished(tmp_path / "quickstart" / "tlaam", 300)
    finished(tmp_path / "older", 200)
    finished(tmp_path / "running", 400, "running")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "run.json").write_text("[]")
    assert newest_run(tmp_path) == last
