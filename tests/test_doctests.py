"""Examples in docstrings do what they show, and each public function has one."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlaam

ROOT = Path(tlaam.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
WITHOUT = {"quickstart": "it takes minutes (tests/workflows/test_quickstart.py)"}
"""Public functions without an example that runs here."""
SMALL: dict[str, Any] = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96,
    "localizer": "foreground", "parts": "appm",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos`` of three classes, and ``new`` ones of a fourth."""
    folder = tmp_path_factory.mktemp("examples")
    random = np.random.default_rng(0)
    for name, count in {"photos/crow": 6, "photos/jay": 6, "photos/wren": 6, "new": 3}.items():
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = random.integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The folder, with the run ``runs/birds``."""
    tlaam.fit(folder / "photos", folder / "runs" / "birds", SMALL, epochs=0, report=False, progress=False)
    return folder


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the examples of a file run in."""
    text = request.param.read_text(encoding="utf-8")
    if "push_to_hub" in text:
        request.getfixturevalue("logged_in")
    monkeypatch.chdir(request.getfixturevalue("trained" if '"runs/birds"' in text else "folder"))
    yield request.param


@pytest.mark.parametrize("place", FILES, indirect=True, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_run(place: Path) -> None:
    module = import_module(".".join(("tlaam", *place.relative_to(ROOT).with_suffix("").parts)))
    known = {**vars(module), "tlaam": tlaam, "Path": Path}
    found = [each for each in doctest.DocTestFinder().find(module, globs=known) if each.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for each in sorted(found, key=lambda each: each.lineno or 0):  # in the file's order: some use what others wrote
        runner.run(each)
    assert found and runner.failures == 0


def test_each_public_function_has_an_example() -> None:
    lacking = []
    for name in tlaam.__all__:
        public = getattr(tlaam, name)
        own = [(name, public)] if inspect.isfunction(public) else []
        if inspect.isclass(public) and public.__module__.startswith("tlaam.") and name not in ("TLAAM", "TlaamError"):
            own = [
                (f"{name}.{method}", getattr(public, method))
                for method, found in vars(public).items()
                if not method.startswith("_") and isinstance(found, (classmethod, staticmethod, type(lambda: None)))
            ]
        lacking += [each for each, function in own if ">>> " not in (function.__doc__ or "")]
    assert sorted(lacking) == sorted(WITHOUT)
