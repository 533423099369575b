"""Nothing that is loaded can execute: the source has no means to, and hostile files in every place are refused."""

from __future__ import annotations

import ast
import io
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small_run

import tlaam
from tlaam.cli.main import main
from tlaam.data.open import open_dataset
from tlaam.data.sample import Sample
from tlaam.errors import TlaamError
from tlaam.inference.store import load_model
from tlaam.models.pretrained import _read
from tlaam.training.checkpoint import load_state
from tlaam.training.masks import read_pseudo_masks
from tlaam.utils.checksums import with_checksum

SOURCE = Path(tlaam.__file__).parent

_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "code", "codeop", "runpy", "pty"}
_CALLS = {"eval", "exec", "compile", "__import__"}
_METHODS = {
    "os": {"system", "popen", "execv", "execve", "execvp", "spawnl", "spawnv", "posix_spawn"},
    "subprocess": {"getoutput", "getstatusoutput"},
    "yaml": {"load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader"},
    "torch": {"jit", "hub", "package"},
    "tarfile": {"extractall"},
}
_ONLY_WITH = {("torch", "load"): ("weights_only", True), ("np", "load"): ("allow_pickle", False)}


def offences(tree: ast.AST) -> Iterator[str]:
    """Yield what a module does that could run what it loads."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if (node.module or "") in _METHODS:
                yield from (a.name for a in node.names if a.name in _METHODS[node.module or ""])
        yield from (name for name in names if name.partition(".")[0] in _IMPORTS)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in _METHODS.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
            if node.attr in ("extract", "extractall") and node.value.id in ("tar", "archive", "packed", "zip"):
                yield f"{node.value.id}.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            yield node.func.id
        if given.get("shell") or given.get("allow_pickle"):
            yield f"{ast.unparse(node.func)}(shell or allow_pickle)"
        if given.get("trust_remote_code"):
            yield "trust_remote_code"
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            name, value = _ONLY_WITH.get((node.func.value.id, node.func.attr), ("", None))
            if name and given.get(name, "absent") is not value:
                yield f"{ast.unparse(node.func)} without {name}={value}"


def test_the_source_has_no_means_to_run_what_it_loads() -> None:
    found = {
        f"{path.relative_to(SOURCE).as_posix()}: {offence}"
        for path in SOURCE.rglob("*.py")
        for offence in offences(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize("code", [
    "import pickle", "from pickle import loads", "eval('1')", "exec('')", "torch.load(f)", "np.load(f)",
    "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)", "yaml.load(f)", "import os\nos.system('ls')",
    "subprocess.run('ls', shell=True)", "tar.extractall()", "from os import system", "torch.hub.load('a')",
])  # fmt: skip
def test_the_search_finds_them(code: str) -> None:
    assert [*offences(ast.parse(code))]


def test_only_the_registrys_own_names_are_imported() -> None:
    """`import_module` stands where names come from this package's code alone."""
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "import_module(" in path.read_text(encoding="utf-8")
    }
    assert users == {"__init__.py", "cli/main.py", "config/registry.py", "training/trackers.py"}


_executed: list[str] = []


def _execute(what: str) -> None:
    _executed.append(what)


class Bomb:
    """Unpickled, it notes that it was."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _execute, ("bomb",)


@pytest.fixture(autouse=True)
def unexecuted() -> Iterator[None]:
    _executed.clear()
    sys.modules.setdefault(_execute.__module__, sys.modules.get(_execute.__module__, sys.modules[__name__]))
    yield
    assert _executed == []


def pickled() -> bytes:
    return pickle.dumps(Bomb())


def torch_archive() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": Bomb()}, stream)
    return stream.getvalue()


def old_torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": Bomb()}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def array_of_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


BOMBS: list[Callable[[], bytes]] = [pickled, torch_archive, old_torch_file, array_of_objects]
bombs = pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)


def test_the_bombs_do_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests below would say nothing."""
    for bomb, load in {
        pickled: pickle.loads,
        torch_archive: lambda content: torch.load(io.BytesIO(content), weights_only=False),
        old_torch_file: lambda content: torch.load(io.BytesIO(content), weights_only=False),
        array_of_objects: lambda content: np.load(io.BytesIO(content), allow_pickle=True),
    }.items():
        load(bomb())
        assert _executed == ["bomb"], bomb
        _executed.clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "small", localizer="scda")


@bombs
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_run_folder(model: Path, tmp_path: Path, bomb: Callable[[], bytes], file: str) -> None:
    run = shutil.copytree(model, tmp_path / "run")
    (run / file).write_bytes(bomb())
    with pytest.raises(TlaamError, match=file.replace(".", r"\.")):
        load_model(run)


@bombs
def test_a_checkpoint_even_with_the_right_checksum(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    import hashlib

    path = tmp_path / "step-000000001.ckpt"
    path.write_bytes(bomb())
    with pytest.raises(TlaamError, match=r"step-000000001\.ckpt"):
        load_state(path)
    path.write_bytes(bomb() + b"tlaam-sha256:" + hashlib.sha256(bomb()).digest())
    with pytest.raises(TlaamError, match=r"step-000000001\.ckpt"):
        load_state(path)


@bombs
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_pretrained_weights(tmp_path: Path, bomb: Callable[[], bytes], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(bomb())
    with pytest.raises(TlaamError, match="weights"):
        _read(path)


@bombs
def test_pseudo_masks(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    path = tmp_path / "pseudo_masks.npy"
    path.write_bytes(bomb())
    with pytest.raises(TlaamError, match=r"pseudo_masks\.npy"):
        read_pseudo_masks(path, [Sample("a", "a", 0, "train")])


@bombs
def test_an_onnx_file_and_an_image(
    tmp_path: Path, bomb: Callable[[], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(bomb())
    (tmp_path / "a.png").write_bytes(bomb())
    assert main(["predict", str(tmp_path / "model.onnx"), str(tmp_path / "a.png")]) == 1
    assert "model.onnx" in capsys.readouterr().err


@bombs
@pytest.mark.parametrize("file", ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat"])
def test_lists_of_matlab(tmp_path: Path, bomb: Callable[[], bytes], file: str) -> None:
    (tmp_path / "devkit").mkdir()
    for name in ("cars_meta.mat", "cars_train_annos.mat"):
        (tmp_path / "devkit" / name).write_bytes(bomb())
    with pytest.raises(TlaamError, match="cars_meta"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", [
    "epochs: !!python/object/apply:os.system [exit]",
    "epochs: !!python/object/new:subprocess.Popen [[exit]]",
    "epochs: !!python/name:os.system",
    "!!python/object/apply:test_nothing_executes._execute [yaml]",
])  # fmt: skip
def test_settings(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    for command in (["train", str(tmp_path)], ["check", str(tmp_path)], ["predict", "m.onnx", "a.png"]):
        assert main([*command, "--config", str(path)]) != 0
        said = capsys.readouterr().err
        assert "settings.yaml is not YAML" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["os:system", "tests.test_nothing_executes:_execute", "builtins:exec"])
@pytest.mark.parametrize("kind", ["localizer", "parts", "attention", "architecture"])
def test_modules_that_a_description_names(model: Path, tmp_path: Path, kind: str, name: str) -> None:
    run = shutil.copytree(model, tmp_path / "run")
    description = json.loads((run / "config.json").read_text())
    description["model"][kind] = name
    description["registered_by"] = {kind: name}
    (run / "config.json").write_text(json.dumps(with_checksum(description)))
    with pytest.raises(TlaamError, match=r"config\.json.* is not registered here"):
        load_model(run)


def test_code_beside_a_model_stays_unread(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(model, tmp_path / "run")
    for name in ("modeling.py", "handler.py", "setup.py", "conftest.py", "sitecustomize.py"):
        (run / name).write_text("raise SystemExit('executed')\n")
    (run / "optimizer.pt").write_bytes(pickled())
    monkeypatch.chdir(run)
    assert load_model(run).classes == ("crow", "jay", "wren")
