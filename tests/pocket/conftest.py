"""Fixtures of the page's tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node_scripts import SCRIPTS, Run
from served import colour_file

from tlaam.errors import ExportError
from tlaam.pocket.runtime import PACKAGE, VERSION, Runtime, find_runtime
from tlaam.utils.cache import cache_folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that names colours."""
    return colour_file(tmp_path_factory.mktemp("pocket") / "colours.onnx")


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """ONNX Runtime Web, where this machine has it: in the folder TLAAM_RUNTIME or in the cache. Nothing is fetched."""
    folder = Path(os.environ.get("TLAAM_RUNTIME", cache_folder("runtime") / f"{PACKAGE}-{VERSION}"))
    try:
        return find_runtime(folder)
    except ExportError:
        pytest.skip(f"no {PACKAGE} {VERSION} on this machine: TLAAM_RUNTIME may name its folder")


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A function that runs a program, whose `given` is a value, and returns what it hands to `done`."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine")
    folder = tmp_path_factory.mktemp("scripts")
    for script in SCRIPTS.glob("*.js"):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    begin = (
        "import { readFileSync } from 'node:fs';\nconst given = JSON.parse(readFileSync(0, 'utf8'));\n"
        "const bytes = text => new Uint8Array(Buffer.from(text, 'base64'));\n"
        "const done = value => process.stdout.write(JSON.stringify(value));\n"
    )

    def run(program: str, given: Any) -> Any:
        (folder / "program.js").write_text(begin + program)
        ended = subprocess.run(
            [found, "program.js"], input=json.dumps(given), cwd=folder, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run
