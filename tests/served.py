"""A service with a tiny model on this machine, and pictures of one colour to ask it about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_files import written
from PIL import Image

from tlaam.inference.engine import Engine, ReadImage, load_engine

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


def colour_file(path: Path, classes: Sequence[str] = tuple(COLOURS)) -> Path:
    """Write an ONNX file that names the strongest colour, with a heat map, an object box and two part boxes."""
    weights = {
        "nothing": np.zeros((3, 4), np.float32),
        "box": np.array([[4, 8, 24, 28]], np.float32),
        "nothing twice": np.zeros((3, 8), np.float32),
        "boxes": np.array([[4, 8, 14, 18, 10, 12, 24, 28]], np.float32),
        "shape": np.array([-1, 2, 4], np.int64),
        "sides": np.array([1, 2], np.int64),
        "last": np.array([3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "sides"], ["means"], keepdims=0),
        helper.make_node("Softmax", ["means"], ["probabilities"], axis=-1),
        helper.make_node("Identity", ["probabilities"], ["raw_probabilities"]),
        helper.make_node("Identity", ["probabilities"], ["object_probabilities"]),
        helper.make_node("ReduceMean", ["float", "last"], ["heatmaps"], keepdims=0),
        helper.make_node("MatMul", ["means", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "box"], ["object_boxes"]),
        helper.make_node("MatMul", ["means", "nothing twice"], ["more zeros"]),
        helper.make_node("Add", ["more zeros", "boxes"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["part_boxes"]),
    ]
    outputs: dict[str, list[Any]] = {
        **{name: ["batch", 3] for name in ("probabilities", "raw_probabilities", "object_probabilities")},
        "heatmaps": ["batch", "height", "width"],
        "object_boxes": ["batch", 4],
        "part_boxes": ["batch", 2, 4],
    }
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    facts = {"tlaam_version": "0", "classes": json.dumps(classes), "preprocessing": '{"source_size": 32}'}
    helper.set_model_props(model, facts)
    return written(path, model)


def picture(colour: str, size: tuple[int, int] = (64, 48), kind: str = "PNG") -> bytes:
    """Return an image file whose upper left corner is grey and whose rest is of this colour."""
    image = Image.new("RGB", size, COLOURS[colour])
    image.paste((60, 60, 60), (0, 0, size[0] // 4, size[1] // 4))
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def form(files: dict[str, bytes], boundary: str = "middle") -> tuple[bytes, str]:
    """Return a form of files by their names, and its type."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class SlowEngine(Engine):
    """A model that takes its time over each image, and counts the passes' sizes."""

    seconds = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        vars(self).update(vars(load_engine(*args, **options)))
        self.passes: list[int] = []

    def answer(self, batch: Sequence[ReadImage]) -> Any:
        self.passes.append(len(batch))
        time.sleep(self.seconds * len(batch))
        return super().answer(batch)


@contextmanager
def running(app: Any, limits: Any) -> Iterator[str]:
    """Run an application on a free port of this machine while the block lasts; yield its address."""
    from tlaam.service.server import address_of, bound, server

    with bound("127.0.0.1", 0) as listening:
        started = threading.Event()
        there = server(app, limits, started.set)
        thread = threading.Thread(target=there.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            assert started.wait(10)
            yield address_of(listening)
        finally:
            there.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def command(*arguments: object, without: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``tlaam`` on a free port, as if some packages were not there; yield the process and its address."""
    program = "import sys; sys.modules.update(dict.fromkeys({!r})); from tlaam.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program.format(tuple(without)), *map(str, arguments), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, re.findall(r"http://\S+", line)[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
