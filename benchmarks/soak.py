"""Whether memory stays flat: of `tlaam predict` and of `tlaam serve`, over very many answers.

    python benchmarks/soak.py MODEL.onnx [--count 100000] [--out benchmarks/results/soak.json]

200 photographs of noise, up to 320 pixels, are asked about in turns: named by a CSV file whose answers are written by
``--into``, and posted by four clients that keep their connections. Every half a second the process's resident memory is
read. Flat is: the mean of the last tenth of the readings is within 2 % of that of the second tenth.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

PHOTOGRAPHS, CLIENTS = 200, 4
TLAAM = [sys.executable, "-c", "import sys; from tlaam.cli.main import main; sys.exit(main())"]


def photographs() -> list[bytes]:
    """Return JPEG files of noise, of several sizes."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(PHOTOGRAPHS):
        height, width = random.integers(100, 321, 2)
        stream = BytesIO()
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(stream, "JPEG")
        files.append(stream.getvalue())
    return files


def watched(process: subprocess.Popen[Any], done: Callable[[], bool]) -> list[int]:
    """Return a process's resident memory in KiB, twice a second, until something is done."""
    readings = []
    while not done():
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        if found:
            readings.append(int(found[1]))
        time.sleep(0.5)
    return readings


def summary(readings: list[int], count: int, seconds: float) -> dict[str, Any]:
    """Return the tenths of the readings, and how the last differs from the second."""
    tenths = [float(np.mean(part)) for part in np.array_split(readings, 10)]
    early, late = tenths[1], tenths[-1]
    return {
        "answers": count,
        "seconds": round(seconds, 1),
        "readings": len(readings),
        "tenths_mib": [round(tenth / 1024, 1) for tenth in tenths],
        "most_mib": round(max(readings) / 1024, 1),
        "change": round(late / early - 1, 4),
        "flat": abs(late / early - 1) <= 0.02,
    }


def predict(model: Path, count: int) -> dict[str, Any]:
    """Let one process answer for a list."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, content in enumerate(photographs()):
            (folder / f"{number}.jpg").write_bytes(content)
        rows = "\n".join(f"{number % PHOTOGRAPHS}.jpg" for number in range(count))
        (folder / "list.csv").write_text(f"image\n{rows}\n")
        began = time.monotonic()
        with (folder / "said.txt").open("w") as said:
            arguments = ["predict", str(model), str(folder / "list.csv"), "--into", str(folder / "answers")]
            process = subprocess.Popen([*TLAAM, *arguments], stdout=said, stderr=said)
            readings = watched(process, lambda: process.poll() is not None)
        if process.returncode:
            raise SystemExit((folder / "said.txt").read_text())
        lines = sum(len(file.read_bytes().splitlines()) for file in (folder / "answers").glob("*.jsonl"))
        if lines != count:
            raise SystemExit(f"{lines} answers for {count} rows")
        return summary(readings, lines, time.monotonic() - began)


def serve(model: Path, count: int) -> dict[str, Any]:
    """Let clients ask a server."""
    arguments = ["serve", str(model), "--port", "0"]
    process = subprocess.Popen([*TLAAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.findall(r"http://([\d.]+):(\d+)", process.stdout.readline())[0]
    files, answered = photographs(), [0] * CLIENTS

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection(address[0], int(address[1]))
        for number in range(count // CLIENTS):
            body = files[(number * CLIENTS + client) % PHOTOGRAPHS]
            connection.request("POST", "/v1/predict", body, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise SystemExit(f"{answer.status} {content[:200]!r}")
            answered[client] += 1

    began = time.monotonic()
    clients = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    readings = watched(process, lambda: not any(client.is_alive() for client in clients))
    seconds = time.monotonic() - began
    process.terminate()
    process.wait(30)
    if sum(answered) != count // CLIENTS * CLIENTS:
        raise SystemExit(f"{sum(answered)} answers for {count} requests")
    return summary(readings, sum(answered), seconds)


def main() -> None:
    """Measure both, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/soak.json"))
    given = parser.parse_args()
    found: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "environment": environment()}
    for name, measure in (("predict", predict), ("serve", serve)):
        found[name] = measure(given.model.resolve(), given.count)
        print(name, found[name], flush=True)
        write_json(given.out, found)


if __name__ == "__main__":
    main()
