"""What one ONNX file loses and gains on the CPU: agreement with PyTorch, top-1, and seconds an image.

    OMP_NUM_THREADS=1 python benchmarks/export.py RUN --out benchmarks/results/export-cpu.json

Agreement and top-1 are of all test images of the run's data; ranges for int8 are read from 32 of its training images.
An image is timed from its decoded pixels to its answers, the squash to the input image included, in rounds in which
every way has its turn; PyTorch's ways are those of `tlaam predict`, in float32 and, where the processor has it, in
bfloat16. Medians are given of the clock and of the processor's time, which other work disturbs less.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.input_image import to_input
from tlaam.export.graph import Answers
from tlaam.export.onnx import CALIBRATION_IMAGES, finished, to_onnx
from tlaam.export.parity import compare, images_to_compare, photograph
from tlaam.export.precision import Precision, backbone_nodes, to_fp16, to_int8
from tlaam.inference.pytorch import TorchModel, best_precision
from tlaam.inference.store import load_model

ROUNDS, IMAGES = 3, 10
Photo = NDArray[np.uint8]
Way = Callable[[list[Photo]], object]
"""What answers for photographs of one size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    threads = torch.get_num_threads()
    model = load_model(given.run, "cpu")
    images = images_to_compare(given.run, [], 10**6, "test")
    ranges = images_to_compare(given.run, [], CALIBRATION_IMAGES, "train")

    began = time.process_time()
    proto = to_onnx(model)
    seconds = {"fp32": time.process_time() - began}
    inside = backbone_nodes(proto, Answers(model.network))
    contents: dict[Precision, bytes] = {}
    began = time.process_time()
    contents["fp16"] = finished(to_fp16(proto, inside), model, "fp16")
    seconds["fp16"] = time.process_time() - began
    began = time.process_time()
    photos = (np.asarray(photograph(image, model.source_size)) for image in ranges)
    contents["int8"] = finished(to_int8(proto, inside, photos), model, "int8")
    seconds["int8"] = time.process_time() - began

    contents = {"fp32": finished(proto, model, "fp32"), **contents}

    arithmetics = sorted({"32-true", best_precision("cpu")})
    ways = {f"torch, {arithmetic}": predicting(model.ready("cpu", arithmetic)) for arithmetic in arithmetics}
    for precision, content in contents.items():
        ways[f"onnxruntime, {precision}"] = answering(content, threads)
    chosen = images[:: -(-len(images) // IMAGES)]
    decoded = [np.asarray(photograph(image, model.source_size)) for image in chosen]
    timed = {f"batch {size}": timings(ways, decoded, size) for size in (1, 8)}
    results = {
        "command": f"OMP_NUM_THREADS={threads} python benchmarks/export.py RUN --out {given.out.name}",
        "processor": processor(),
        "threads": threads,
        "versions": {name: version(name) for name in ("tlaam", "torch", "timm", "onnx", "onnxruntime", "onnxscript")},
        "model": model.config.model_dump(mode="json"),
        "classes": len(model.classes),
        "bytes": {name: len(content) for name, content in contents.items()},
        "export_cpu_seconds": seconds,
        "milliseconds_an_image": timed,
        "parity": {name: asdict(parity) for name, parity in compare(model, contents, images).items()},
    }
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: results[name] for name in ("bytes", "milliseconds_an_image", "parity")}, indent=1))


def predicting(model: TorchModel) -> Way:
    size = model.source_size
    return lambda batch: model.answer(np.stack([to_input(Image.fromarray(photo), size) for photo in batch]))


def answering(content: bytes, threads: int) -> Way:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"photos": np.stack(batch)})


def timings(ways: dict[str, Way], photos: list[Photo], size: int) -> dict[str, dict[str, float]]:
    """Return medians in milliseconds an image, of batches of `size` copies of a photograph."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor_time: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way([photos[0]] * size)  # to warm up
    for _ in range(ROUNDS):
        for photo in photos:
            for name, way in ways.items():
                began, began_processor = time.perf_counter(), time.process_time()
                way([photo] * size)
                processor_time[name].append((time.process_time() - began_processor) * 1000 / size)
                clock[name].append((time.perf_counter() - began) * 1000 / size)
    return {
        name: {
            "clock": round(statistics.median(clock[name]), 1),
            "processor": round(statistics.median(processor_time[name]), 1),
        }
        for name in ways
    }


def processor() -> dict[str, Any]:
    """Return what Linux says of the processor."""
    facts: dict[str, Any] = {"machine": platform.machine()}
    file = Path("/proc/cpuinfo")
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            facts["name"] = value.strip()
        elif name.strip() == "flags":
            facts["flags"] = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in value.split()]
    return facts


if __name__ == "__main__":
    main()
