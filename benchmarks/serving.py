"""Latency and throughput of `tlaam serve` on this machine, beside bare ONNX Runtime on the same file and images.

    OMP_NUM_THREADS=1 python benchmarks/serving.py MODEL.onnx IMAGES --out benchmarks/results/serving-cpu.json

The service is a process of its own, of as many threads of ONNX Runtime as OMP_NUM_THREADS says; this process asks. Each
client sends a photograph as soon as it has the answer to its last one. Then ten times as many clients ask as the queue
has places, and come again after a second when they are refused. Bare ONNX Runtime is given decoded input images,
and for one image the file as well, so that what decoding costs and what serving costs can be told apart.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tlaam.data.input_image import load_for_input, to_input
from tlaam.inference.inputs import find_images
from tlaam.inference.onnx import OnnxModel
from tlaam.runs.environment import environment

CLIENTS, BATCHES = (1, 2, 8, 32), (1, 8)
MOST_IMAGES, PLACES = 32, 8
PAUSE = 1.0  # seconds, after a refusal: the least that the service asks for
PACKAGES = ("tlaam", "onnxruntime", "pillow", "starlette", "uvicorn", "h11", "python-multipart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", help="a file, folder or pattern")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20, help="that each number of clients asks")
    given = parser.parse_args()
    paths = [Path(path) for path in find_images(given.images)]
    paths = paths[:: -(-len(paths) // MOST_IMAGES)]
    photos = [path.read_bytes() for path in paths]
    results: dict[str, Any] = {
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python benchmarks/serving.py "
        f"{given.model.name} IMAGES --out {given.out.name} --seconds {given.seconds:g}",
        "machine": environment(),
        "packages": {name: version(name) for name in PACKAGES},
        "images": len(photos),
        "mean_image_bytes": round(statistics.mean(map(len, photos))),
        "onnxruntime": bare(given.model, paths, given.seconds),
    }
    with served(given.model) as (address, process):
        asked(address, photos, 2, 3)  # to warm up
        results["served"] = {
            f"{clients} clients": asked(address, photos, clients, given.seconds) for clients in CLIENTS
        }
        results["peak_memory_mb"] = peak_memory(process)
    with served(given.model, "--queue", str(PLACES), "--max-images", "1") as (address, process):
        asked(address, photos, 2, 3)
        results[f"overloaded: {10 * PLACES} clients, {PLACES} places"] = {
            **asked(address, photos, 10 * PLACES, given.seconds),
            "peak_memory_mb": peak_memory(process),
        }
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in results.items() if name != "machine"}, indent=1))


def bare(file: Path, paths: Sequence[Path], seconds: float) -> dict[str, Any]:
    """Time ONNX Runtime in this process: decoded input images in batches, and one image from its file on."""
    model = OnnxModel(file)

    def input_image(path: Path) -> NDArray[np.uint8]:
        return to_input(load_for_input(path, model.source_size)[0], model.source_size)

    inputs = [input_image(path) for path in paths]
    model.answer(np.stack(inputs[:1]))
    found: dict[str, Any] = {}
    for size in BATCHES:
        batches = [np.stack([inputs[(start + step) % len(inputs)] for step in range(size)]) for start in range(8)]
        times: list[float] = []
        until = time.perf_counter() + seconds / 2
        while time.perf_counter() < until:
            began = time.perf_counter()
            model.answer(batches[len(times) % len(batches)])
            times.append(time.perf_counter() - began)
        found[f"batch {size}, decoded"] = summary(times, size * len(times), sum(times))
    times, until = [], time.perf_counter() + seconds / 2
    while time.perf_counter() < until:
        began = time.perf_counter()
        model.answer(np.stack([input_image(paths[len(times) % len(paths)])]))
        times.append(time.perf_counter() - began)
    return {**found, "batch 1, from the file": summary(times, len(times), sum(times))}


@contextmanager
def served(model: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the service; yield its address and its process."""
    command = [sys.executable, "-m", "tlaam", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        yield re.findall(r"http://\S+", process.stdout.readline())[0], process
    finally:
        process.terminate()
        process.communicate()


def asked(address: str, photos: Sequence[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Let so many clients ask for so long."""
    parts = urlsplit(address)
    times: list[float] = []
    statuses: Counter[int] = Counter()
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        turn = number
        while time.perf_counter() < ends:
            began = time.perf_counter()
            connection.request("POST", "/v1/predict", photos[turn % len(photos)], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
            if answer.status == 200:
                times.append(time.perf_counter() - began)
                turn += clients
            else:
                time.sleep(PAUSE)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {**summary(times, len(times), time.perf_counter() - began), "statuses": dict(statuses)}


def summary(times: Sequence[float], images: int, seconds: float) -> dict[str, float]:
    """Return percentiles of the latency in milliseconds, and images a second."""
    p50, p90, p99 = (round(1000 * float(np.percentile(times, share)), 1) for share in (50, 90, 99))
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "images_a_second": round(images / seconds, 1)}


def peak_memory(process: subprocess.Popen[str]) -> int | None:
    """Return the most memory that a process has had, where Linux tells."""
    status = Path(f"/proc/{process.pid}/status")
    found = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii")) if status.exists() else []
    return round(int(found[0]) / 1000) if found else None


if __name__ == "__main__":
    main()
