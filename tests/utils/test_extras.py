"""What needs PyTorch says so, also where only a part of what goes with it is missing."""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import tlaam.utils.extras
from tlaam.cli.main import main
from tlaam.data.public.matlab import read_mat
from tlaam.errors import MissingPackageError
from tlaam.utils.extras import install_hint

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", ["train", "serve"])
def test_the_modules_are_those_of_the_extra(extra: str) -> None:
    (listed,) = re.findall(rf"^{extra} = \[(.*?)\]", PYPROJECT, re.DOTALL | re.M)
    modules = packages_distributions()
    named = {"train": tlaam.utils.extras.TRAIN, "serve": tlaam.utils.extras.SERVE}[extra]
    brought = {canonicalize_name(name) for module in named for name in modules[module]}
    assert {*re.findall(r'"([\w-]+)', listed)} == brought


@pytest.fixture
def partly_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name in ("lightning", "scipy") else find_spec(name)

    monkeypatch.setattr(tlaam.utils.extras, "find_spec", find)


@pytest.mark.usefixtures("partly_installed")
def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], run: Path, photos: Path) -> None:
    assert main(["train", "x"]) == 2
    assert capsys.readouterr().err == f"tlaam: tlaam train needs Lightning, SciPy: {install_hint('train')}\n"
    assert main(["predict", str(run), str(photos)]) == 2
    assert "a run folder needs Lightning, SciPy: pip" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_serving_needs_its_own_packages_and_no_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(tlaam.utils.extras, "find_spec", lambda name: None if name in ("torch", "uvicorn") else True)
    assert main([verb, "model.onnx"]) == 2
    assert capsys.readouterr().err == f"tlaam: tlaam {verb} needs uvicorn: {install_hint('serve')}\n"


def test_a_name_says_what_it_needs_and_a_defect_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tlaam._HOMES, "build_model", "tlaam.nowhere")
    with pytest.raises(ModuleNotFoundError, match=r"tlaam\.nowhere"):
        _ = tlaam.build_model
    monkeypatch.setattr(tlaam.utils.extras, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackageError,
        match=r"^tlaam\.build_model needs PyTorch: pip install ",
    ):
        _ = tlaam.build_model


def test_lists_of_matlab_need_no_scipy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "cars.mat", {"labels": [1, 2]})
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert read_mat(tmp_path / "cars.mat", "Stanford Cars", "labels").tolist() == [1, 2]
