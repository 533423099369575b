"""Damaged and hostile settings, run folders, checkpoints, masks and ONNX files: what is loaded must not run or lie."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from stress.attempts import Outcome, judged_refusal, plain, random_of, refusal, tlaam
from stress.colours import signed, write_model
from stress.mutate import BYTES, Random, mangled_line
from stress.special_files import make_special

MARK = "executed"
"""Of the file that a hostile object makes in the attempt's folder if it is ever brought to life."""


class Bomb:
    """Unpickled, it makes a file of the name `MARK` in the current folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how it is unpickled: by making the file."""
        return os.mknod, (MARK,)


def _zip(*names: str) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, pickle.dumps(Bomb()))
    return stream.getvalue()


def _bomb_array() -> bytes:
    stream = BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _tensor(*shape: int) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}


def _npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\0v\0" + header.ljust(117) + b"\n"


_NESTED_YAML = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(f'*{chr(97 + n)}' for _ in range(9))}]\n" for n in range(12)
)

EVIL: dict[str, dict[str, Callable[[], bytes]]] = {
    "settings": {
        "python object": lambda: b"epochs: !!python/object/apply:os.mknod [" + MARK.encode() + b"]\n",
        "python name": lambda: b"epochs: !!python/name:os.system\n",
        "unfolding aliases": lambda: (_NESTED_YAML + "epochs: *m\n").encode(),
        "unfolding aliases in a section": lambda: (_NESTED_YAML + "model: {image_size: *m}\n").encode(),
        "alias of itself": lambda: b"epochs: &a [*a]\n",
        "impossible date": lambda: b"epochs: 2001-99-99\n",
        "endless number": lambda: b"epochs: " + b"9" * 5000 + b"\n",
        "large number": lambda: b"epochs: " + b"9" * 4000 + b"\n",
        "no number": lambda: b"epochs: !!int x\n",
        "no time": lambda: b"epochs: !!timestamp x\n",
        "no base 64": lambda: b"epochs: !!binary \xc3\xa4\n",
        "deeply nested": lambda: b"epochs: " + b"[" * 20_000,
        "list for a key": lambda: b"? [a]\n: 1\n",
        "two documents": lambda: b"epochs: 1\n---\nepochs: 2\n",
        "twice the same": lambda: b"epochs: 1\nepochs: 2\n",
        "infinite": lambda: b"lr: .inf\n",
        "bytes": lambda: b"\xff\xfe\0",
        "unknown option": lambda: b"epochz: 1\n",
        "endless": lambda: b"# " + b"x" * (30 << 20),
    },
    "config.json": {
        "deeply nested": lambda: b"[" * 200_000,
        "endless number": lambda: b'{"format": ' + b"9" * 5000 + b"}",
        "a list": lambda: b"[1]",
        "nothing": lambda: b"",
        "absurd size": lambda: b'+{"model": {"image_size": 1000000000}}',
        "absurd part": lambda: b'+{"model": {"part_channels": 1000000000}}',
        "absurd windows": lambda: b'+{"model": {"part_windows": ' + json.dumps([0.5] * 200_000).encode() + b"}}",
        "absurd zoom": lambda: b'+{"model": {"zoom_steps": 1000000000}}',
        "a module": lambda: b'+{"model": {"localizer": "os:system"}}',
        "a giant backbone": lambda: b'+{"model": {"backbone": "eva02_enormous_patch14_clip_224"}}',
        "weights to fetch": lambda: b'+{"model": {"pretrained": "/dev/zero"}}',
        "no classes": lambda: b'+{"classes": []}',
        "one class less": lambda: b'+{"classes": ["crow", "jay"]}',
        "a class twice": lambda: b'+{"classes": ["crow", "jay", "jay"]}',
        "classes of numbers": lambda: b'+{"classes": [1, 2, 3]}',
        "a million classes": lambda: b'+{"classes": ' + json.dumps([str(n) for n in range(1_000_000)]).encode() + b"}",
        "classes of line breaks": lambda: b'+{"classes": ["a\\n", "b\\u001b[2J", "\\ud800"]}',
    },
    "model.safetensors": {
        "pickle": lambda: pickle.dumps(Bomb()),
        "torch archive": lambda: _zip("archive/data.pkl", "archive/version"),
        "absurd header": lambda: (1 << 62).to_bytes(8, "little") + b"{}",
        "absurd shape": lambda: _safetensors(_tensor(1 << 40, 1 << 40), bytes(4)),
        "other tensors": lambda: _safetensors(_tensor(1), bytes(4)),
        "deep header": lambda: _safetensors(b"[" * 200_000),
        "empty": lambda: b"",
    },
    "checkpoint": {
        "pickle": lambda: pickle.dumps(Bomb()),
        "torch archive": lambda: _zip("archive/data.pkl", "archive/version"),
        "signed pickle": lambda: pickle.dumps(Bomb()),
        "signed torch archive": lambda: _zip("archive/data.pkl", "archive/version"),
        "empty": lambda: b"",
    },
    "pseudo_masks.npy": {
        "pickle": lambda: pickle.dumps(Bomb()),
        "array of objects": _bomb_array,
        "archive": lambda: _zip("a.npy"),
        "absurd shape": lambda: _npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 64, 64), }"),
        "code for a header": lambda: _npy(b"__import__('os').mknod('executed')"),
        "nested header": lambda: b"\x93NUMPY\x01\0\xf0\x0f" + b"(" * 4080,
        "empty": lambda: b"",
    },
    "weights.pth": {
        "pickle": lambda: pickle.dumps(Bomb()),
        "torch archive": lambda: _zip("archive/data.pkl", "archive/version"),
        "empty": lambda: b"",
    },
    "model.onnx": {
        "pickle": lambda: pickle.dumps(Bomb()),
        "archive": lambda: _zip("model.onnx"),
        "deep classes": lambda: b'classes=' + b"[" * 100_000,
        "huge class list": lambda: b"classes=" + json.dumps(["x" * 50] * 300_000).encode(),
        "class twice": lambda: b'classes=["red", "red", "blue"]',
        "class less": lambda: b'classes=["red", "blue"]',
        "empty class names": lambda: b'classes=["", "", ""]',
        "absurd size": lambda: b'preprocessing={"source_size": 1000000000}',
        "fields without end": lambda: b"\x08\x01" * 2_000_000,
    },
}  # fmt: skip
"""Contents of files by what they stand for. What begins with ``+`` is laid over the good description, ``name=``
replaces what the ONNX file says of itself."""

_SPECIAL = ("absent", "pipe", "endless device", "folder", "sparse gigabytes", "link loop")


class Models:
    """See the module."""

    name = "models"
    attempts = 1000
    batch = 8
    seconds = 15.0
    megabytes = 2500

    def prepare(self, folder: Path) -> Any:
        """Train nothing: write a small model in every form, and what it answers."""
        import torch

        from tlaam.config.schema import Config
        from tlaam.config.sections import ModelConfig
        from tlaam.inference.store import load_model, save_model
        from tlaam.models.build import build_model
        from tlaam.training.checkpoint import save_state

        config = ModelConfig(
            backbone="test_resnet", pretrained="none", image_size=64, source_size=64, part_size=32, localizer="scda"
        )
        torch.manual_seed(0)
        run = folder / "run"
        save_model(run, build_model(config, 3), config, ["crow", "jay", "wren"])
        (run / "config.yaml").write_text(yaml.safe_dump(Config(model=config).to_nested(), sort_keys=False))
        save_state(folder / "checkpoint", {"step": 3, "model": {"weight": torch.arange(200.0)}})
        torch.save({"weight": torch.arange(200.0)}, folder / "weights.pth")
        np.save(folder / "pseudo_masks.npy", np.full((3, 64, 64), 7, np.uint8))
        write_model(folder / "model.onnx")
        canvases = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
        return folder, canvases, load_model(run).answer(canvases).probabilities["fused"]

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Damage one file for each, load it, and see that nothing has run."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            place = folder / str(number)
            place.mkdir()
            before = Path.cwd()
            os.chdir(place)
            try:
                outcome = _attempt(random, place, folder / "kind", *prepared)
            finally:
                os.chdir(before)
            if (place / MARK).exists():
                outcome = Outcome(outcome.kind, "crash", "something that was loaded has been executed")
            outcomes.append(outcome)
        return outcomes


def _attempt(random: Random, place: Path, note: Path, good: Path, canvases: NDArray[np.uint8], answer: Any) -> Outcome:
    file = str(random.choice(list(EVIL), p=(0.22, 0.18, 0.18, 0.12, 0.06, 0.06, 0.18)))
    home = place / "home"
    if file in ("config.json", "model.safetensors"):
        shutil.copytree(good / "run", home)
        path = home / file
    else:
        home.mkdir()
        path = home / ("settings.yaml" if file == "settings" else file)
        source = good / ("run/config.yaml" if file == "settings" else file)
        path.write_bytes(source.read_bytes())
    kind, content = _damaged(random, file, path)
    note.write_text(kind)
    return _LOADS[file](kind, path, content, canvases, answer)


def _damaged(random: Random, file: str, path: Path) -> tuple[str, bytes]:
    """Damage a good file in place; return what was done and the good content."""
    good, way = path.read_bytes(), random.random()
    if way < 0.06:
        kind = str(random.choice(_SPECIAL))
        path.unlink()
        make_special(path, kind)
        return f"{file}, {kind}", good
    if way < 0.4:
        evil = str(random.choice(list(EVIL[file])))
        content = EVIL[file][evil]()
        if content.startswith(b"+{"):
            content = json.dumps(_laid_over(json.loads(good), json.loads(content[1:]))).encode()
        elif file == "model.onnx" and (name := content.partition(b"=")[0].decode("latin-1")) in (
            "classes",
            "preprocessing",
        ):
            content = _with_fact(good, name, content.partition(b"=")[2].decode())
        elif evil.startswith("signed"):
            content = _signed(content)
        path.write_bytes(content)
        return f"{file}, {evil}", good
    if way < 0.65 and file in ("settings", "config.json"):
        path.write_bytes(mangled_line(good.decode(), random).encode("utf-8", "surrogateescape"))
        return f"{file}, mangled lines", good
    how = str(random.choice(list(BYTES)))
    path.write_bytes(BYTES[how](good, random))
    return f"{file}, {how}", good


def _laid_over(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: value for name, value in good.items() if name != "sha256"},  # its checksum, which would stop all
        **{name: {**good[name], **value} if isinstance(value, dict) else value for name, value in changes.items()},
    }


def _with_fact(content: bytes, name: str, text: str) -> bytes:
    import onnx

    model = onnx.load_model_from_string(content)
    for entry in model.metadata_props:
        if entry.key == name:
            entry.value = text
    return signed(model.SerializeToString())


def _signed(payload: bytes) -> bytes:
    import hashlib

    return payload + b"tlaam-sha256:" + hashlib.sha256(payload).digest()


def _settings(kind: str, path: Path, good: bytes, *_: Any) -> Outcome:
    from tlaam.config.schema import Config

    config, outcome = refusal(lambda: Config.from_yaml(path), kind, path)
    for arguments in (["train", "nowhere", "--config", path], ["check", "nowhere", "--config", path]):
        if outcome is not None and outcome.ending != "refused":
            return outcome
        said, crash = refusal(lambda arguments=arguments: tlaam(*arguments), kind)
        if crash is not None:
            return crash
        if said.code == 0 or len(said.err.splitlines()) != 1:
            return Outcome(kind, "unnamed", f"{arguments[0]}: {said.code} {said.err[:300]}")
        if outcome is not None and plain(str(path)) not in plain(said.err):
            return Outcome(kind, "unnamed", f"{arguments[0]}: {said.err[:300]}")
    if outcome is not None:
        return outcome
    loaded = yaml.safe_load(path.read_text("utf-8")) or {}
    stated = {
        name: value for section in loaded.values() if isinstance(section, dict) for name, value in section.items()
    }
    stated |= {name: value for name, value in loaded.items() if not isinstance(value, dict)}
    read = {name: value for section in config.to_nested().values() for name, value in section.items()}
    for name, value in stated.items():
        if value is not None and json.dumps(read[name.replace("-", "_")], default=str) != json.dumps(
            value, default=str
        ):
            same = str(read[name.replace("-", "_")]) == str(value) or float(read[name.replace("-", "_")]) == float(
                value
            )
            if not same:
                return Outcome(kind, "wrong", f"{name}: {read[name.replace('-', '_')]!r} read, {value!r} written")
    return Outcome(kind, "right")


def _run_folder(kind: str, path: Path, good: bytes, canvases: NDArray[np.uint8], answer: Any) -> Outcome:
    from tlaam.inference.store import load_model

    def loaded() -> Any:
        model = load_model(path.parent)
        return model, model.answer(np.ascontiguousarray(canvases[:, :, : model.source_size, : model.source_size]))

    found, outcome = refusal(loaded, kind, path, path.parent)
    if outcome is not None:
        return outcome
    model, answers = found
    said = json.loads((path.parent / "config.json").read_text())
    if list(model.classes) != said["classes"]:
        return Outcome(kind, "wrong", f"classes {model.classes} instead of {said['classes']}")
    if path.name == "config.json" and said["model"] != json.loads(good)["model"]:
        return Outcome(kind, "right", "other settings, as they are written there")
    if np.abs(answers.probabilities["fused"] - answer).max() > 1e-4:
        return Outcome(kind, "wrong", f"{answers.probabilities['fused']} instead of {answer}")
    return Outcome(kind, "right")


def _checkpoint(kind: str, path: Path, good: bytes, *_: Any) -> Outcome:
    from tlaam.training.checkpoint import load_state

    state, outcome = refusal(lambda: load_state(path), kind, path)
    if outcome is not None:
        return outcome
    same = state["step"] == 3 and state["model"]["weight"].tolist() == list(range(200))
    return Outcome(kind, "right" if same else "wrong", "" if same else "another state")


def _masks(kind: str, path: Path, good: bytes, *_: Any) -> Outcome:
    from tlaam.data.sample import Sample
    from tlaam.training.masks import read_pseudo_masks

    samples = [Sample(name, name, 0, "train") for name in "abc"]
    masks, outcome = refusal(lambda: read_pseudo_masks(path, samples), kind, path)
    if outcome is not None:
        return outcome
    changed = int((np.asarray(masks.array) != 7).sum())
    return Outcome(kind, "right", f"{changed} cells differ: what teaches carries no checksum" if changed else "")


def _weights(kind: str, path: Path, good: bytes, *_: Any) -> Outcome:
    from tlaam.models.pretrained import _read

    state, outcome = refusal(lambda: _read(path), kind, path)
    if outcome is not None:
        return outcome
    same = [value.tolist() for value in state.values()] == [list(range(200))]
    return Outcome(kind, "right", "" if same else "other tensors: a file of others carries no checksum of ours")


def _onnx(kind: str, path: Path, good: bytes, *_: Any) -> Outcome:
    from stress.colours import expected
    from stress.images import picture

    image = picture(np.random.default_rng(7))
    photo = path.parent / "photo.png"
    image.save(photo)
    said, crash = refusal(lambda: tlaam("predict", path, photo, "--json", "-"), kind)
    if crash is not None:
        return crash
    if said.code != 0:
        outcome = judged_refusal(kind, said.err, path)
        return outcome if len(said.err.splitlines()) == 1 else Outcome(kind, "unnamed", said.err[:300])
    row = json.loads(said.out, parse_constant=lambda text: None)
    if row["error"] is not None:
        return judged_refusal(kind, row["error"], path)
    given = {entry["label"]: entry["probability"] for entry in row["predictions"]}
    names = json.loads(_facts(path)["classes"])
    wanted = dict(zip(names, expected(image), strict=True))
    if given.keys() != wanted.keys() or max(abs((given[name] or 9) - wanted[name]) for name in wanted) > 1e-3:
        return Outcome(kind, "wrong", f"{given} instead of {wanted}")
    if names != ["red", "green", "blue"] and "class" not in kind:
        return Outcome(kind, "wrong", f"{names} instead of red, green and blue")
    return Outcome(kind, "right")


def _facts(path: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


_LOADS: dict[str, Callable[..., Outcome]] = {
    "settings": _settings,
    "config.json": _run_folder,
    "model.safetensors": _run_folder,
    "checkpoint": _checkpoint,
    "pseudo_masks.npy": _masks,
    "weights.pth": _weights,
    "model.onnx": _onnx,
}
