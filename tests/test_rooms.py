"""The rooms of the package: what lies at its root, and that no two files import each other."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tlaam

grimp = pytest.importorskip("grimp")  # of import-linter

ROOT = Path(tlaam.__file__).parent
FILES = {"__init__.py", "__main__.py", "_version.py", "errors.py", "py.typed"}
ROOMS = {
    "api", "cleaning", "cli", "comparison", "config", "data", "evaluation", "export", "field", "hub", "inference",
    "models", "pocket", "probe", "publish", "reference", "reports", "runs", "service", "taxonomy", "teaching",
    "training", "utils", "visualization", "workflows",
}  # fmt: skip


def test_the_root_holds_rooms_and_nothing_else() -> None:
    found = {entry.name for entry in ROOT.iterdir() if entry.name != "__pycache__"}
    assert found == FILES | ROOMS
    assert all((ROOT / room / "__init__.py").read_text().startswith('"""') for room in ROOMS)


def test_no_files_import_each_other() -> None:
    """The layers contract, `lint-imports`, holds the rooms; this holds the files within them."""
    graph = grimp.build_graph("tlaam")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) > 200  # a circle raises CycleError


def test_no_network_knows_the_settings() -> None:
    graph = grimp.build_graph("tlaam")
    knowing = {
        m for m in graph.find_modules_that_directly_import("tlaam.config.schema") if m.startswith("tlaam.models")
    }
    knowing |= {
        m for m in graph.find_modules_that_directly_import("tlaam.config.sections") if m.startswith("tlaam.models")
    }
    assert knowing == {"tlaam.models.build"}


def test_the_registry_is_a_leaf() -> None:
    graph = grimp.build_graph("tlaam")
    assert graph.find_modules_directly_imported_by("tlaam.config.registry") == {"tlaam.errors"}


@pytest.mark.parametrize("word", ["canvas", "relit"])
def test_words_that_were_replaced_stay_so(word: str) -> None:
    drawing = {"annotate.py", "panels.py"}  # where a canvas is drawn on
    files = [path for path in ROOT.rglob("*.py") if path.name not in drawing]
    assert [
        path.name
        for path in files
        if word in path.read_text().replace('"canvases"', "").replace("/canvases`", "").replace("canvas_size=", "")
    ] == []


def test_the_docs_name_the_rooms_in_their_order() -> None:
    """As the layers contract has them, from the top."""
    top = Path(__file__).parents[1]
    layers = re.search(r"^layers = \[\n(.*?)^\]", (top / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    table = re.search(r"^\| room .*?\n\n", (top / "docs" / "architecture.md").read_text(), re.DOTALL | re.MULTILINE)
    assert layers is not None and table is not None
    held = [re.findall(r"tlaam\.(\w+)", line) for line in layers[1].splitlines()]
    shown = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table[0].splitlines()[2:] if line]
    assert shown == held
