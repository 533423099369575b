"""The page of `tlaam export --page` in Chromium beside Python: the same answers, no network, how fast, how large.

    tlaam export RUN --out fp32.onnx; tlaam export RUN --out int8.onnx --precision int8
    OMP_NUM_THREADS=1 python benchmarks/pocket.py fp32.onnx int8.onnx --photos CUB10 FLOWERS17/train \
        --chromium chromium --out benchmarks/results/pocket.json

Photographs are training images, changed to ten of each kind: portrait, landscape, turned by EXIF, with transparency,
panoramas, single pixels, 24 megapixels, grey, WebP, GIF. Boxes agree where all corners are within two pixels of the
photograph, or of the input image where those are coarser. "A quarter" is the time where the page's process may run a
quarter of the time: it is stopped and continued, since the browser's own throttling leaves workers alone.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import random
import re
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.inputs import find_images
from tlaam.pocket.page import write_page
from tlaam.pocket.runtime import VERSION, find_runtime
from tlaam.pocket.texts import page_texts
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

EACH, TIMED, LOADS, AT_ONCE = 10, 9, 3, 10
PIXELS, PROBABILITY = 2.0, 0.01
SHARE, SLICE = 0.25, 0.2  # of the time that a slowed process runs, and seconds of a turn
EMPTY = "() => document.querySelectorAll('#results .remove').forEach((button) => button.click())"
KINDS = (
    "portrait", "landscape", "turned", "alpha", "panorama", "pixel", "24 megapixels", "grey", "webp", "gif",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="ONNX files of one run, of several precisions")
    parser.add_argument("--photos", nargs="+", required=True, help="CUB_200_2011 folders, or folders of images")
    parser.add_argument("--chromium", required=True, help="the browser")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, Any] = {
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python benchmarks/pocket.py "
        f"{' '.join(path.name for path in given.models)} --photos CUB10 FLOWERS17/train --chromium chromium "
        f"--out {given.out.name}",
        "machine": environment(),
        "runtime": f"onnxruntime-web {VERSION}",
    }
    if given.out.exists():  # begun by the same command: what it has is not measured again
        found = json.loads(given.out.read_text(encoding="utf-8")) | found
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        photos = photographs([training_images(Path(folder)) for folder in given.photos], Path(place) / "photos")
        timed = phone_photographs(training_images(Path(given.photos[0])), Path(place) / "timed")
        for path in given.models:
            engine = load_engine(path)
            folder = Path(place) / path.stem
            page = write_page(engine, folder, find_runtime(), page_texts())
            one: dict[str, Any] = found.setdefault(engine.model.precision, {})
            one |= {
                "model_bytes": path.stat().st_size,
                "page_bytes": sum(page.sizes.values()),
                "page_bytes_without_pictures": sum(page.sizes.values()) - page.sizes.get("model/pictures.bin", 0),
            }
            offline_photos = [each for some in photos.values() for each in some[:1]]
            measures: dict[str, Callable[[Browser], Any]] = {
                "native": partial(native, engine=engine, paths=timed),
                "page": partial(timing, folder=folder, paths=timed, slowed=False),
                "page, a quarter": partial(timing, folder=folder, paths=timed, slowed=True),
                "offline": partial(offline, folder=folder, paths=offline_photos),
                "parity": partial(parity, folder=folder, engine=engine, photos=photos),
            }
            for name, measure in measures.items():
                if name in one:
                    continue
                browser = playwright.chromium.launch(
                    executable_path=given.chromium, args=["--no-sandbox", "--no-proxy-server"]
                )
                found["browser"] = browser.version
                one[name] = measure(browser)
                browser.close()
                write_json(given.out, found)
                print(engine.model.precision, name, json.dumps(one[name]), flush=True)


def training_images(folder: Path) -> list[Path]:
    """Return the training images of a CUB_200_2011 folder, or the images of any other, mixed."""
    if (folder / "train_test_split.txt").exists():
        training = {number for number, train in _pairs(folder / "train_test_split.txt") if train == "1"}
        paths = [folder / "images" / name for number, name in _pairs(folder / "images.txt") if number in training]
    else:
        paths = [Path(path) for path in find_images(folder)]
    random.Random(0).shuffle(paths)
    return paths


def _pairs(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()]


def photographs(sources: Sequence[Sequence[Path]], out: Path) -> dict[str, list[Path]]:
    """Write the photographs that answers are compared on, by kind."""
    out.mkdir()
    taken = [iter(paths) for paths in sources]
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for number in range(EACH):
            image = Image.open(next(taken[number % len(taken)])).convert("RGB")
            found[kind].append(_changed(image, kind, number, out / f"{kind.replace(' ', '-')}-{number}"))
    return found


def _changed(image: Image.Image, kind: str, number: int, path: Path) -> Path:
    width, height = image.size
    if kind == "portrait":
        side = min(width, height * 3 // 4)
        image = image.crop(((width - side) // 2, 0, (width + side) // 2, min(height, side * 4 // 3)))
    elif kind == "panorama":
        image = image.resize((2400, 340) if number % 2 else (340, 2400), Image.Resampling.BICUBIC)
    elif kind == "pixel":
        image = image.resize(((1, 1), (1, 300), (300, 1), (2, 1), (1, 2))[number % 5], Image.Resampling.BOX)
    elif kind == "24 megapixels":
        image = image.resize((6000, 4000) if width >= height else (4000, 6000), Image.Resampling.BICUBIC)
    elif kind == "grey":
        image = image.convert("L")
    if kind == "alpha":
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        alpha = np.clip(3 * (1 - np.hypot(x, y)), 0, 1)
        image.putalpha(Image.fromarray((255 * alpha).astype(np.uint8)))
        image.save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    if kind in ("webp", "gif", "pixel"):
        suffix = {"webp": ".webp", "gif": ".gif", "pixel": ".png"}[kind]
        image.save(path.with_suffix(suffix))
        return path.with_suffix(suffix)
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 2 + number % 7
    image.save(path.with_suffix(".jpg"), quality=92, exif=exif)
    return path.with_suffix(".jpg")


def phone_photographs(paths: Sequence[Path], out: Path) -> list[Path]:
    """Write photographs of 12 megapixels, as phones take them."""
    out.mkdir()
    found = []
    for number, path in enumerate(paths[:TIMED]):
        image = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        found.append(out / f"{number}.jpg")
        image.save(found[-1], quality=92)
    return found


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host would; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def opened(page: Page, address: str) -> None:
    page.set_default_timeout(900_000)  # other work may come between
    page.goto(address)
    page.wait_for_selector("body[data-state=ready]")


def answers(page: Page, paths: Sequence[Path]) -> None:
    """Have photographs answered, a few at a time; their records are in the page's list."""
    for start in range(0, len(paths), AT_ONCE):
        some = paths[start : start + AT_ONCE]
        page.set_input_files("#files", [str(path) for path in some])
        page.wait_for_selector(f":nth-match(#results .card:not([data-state=busy]), {len(some)})")
        page.evaluate(EMPTY)


def records(page: Page) -> dict[str, dict[str, Any]]:
    with page.expect_download() as download:
        page.click("#json")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    return {record["path"]: record for record in map(json.loads, lines)}


def parity(browser: Browser, folder: Path, engine: Engine, photos: dict[str, list[Path]]) -> dict[str, Any]:
    """Compare the page's records with Python's, by kind and together."""
    paths = [path for some in photos.values() for path in some]
    with served(folder) as address, browser.new_context(reduced_motion="reduce") as user:
        page = user.new_page()
        opened(page, address)
        answers(page, paths)
        theirs = records(page)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in photos}
    predictions = iter(engine.predict(paths))
    for kind, some in photos.items():
        for path in some:
            mine, other = next(predictions), theirs[path.name]
            found[kind].append(compared(mine.to_dict(len(mine.classes)), other, mine.size, engine.model.source_size))
    together = [each for rows in found.values() for each in rows]
    return {"all": summed(together), **{kind: summed(rows) for kind, rows in found.items()}}


def compared(mine: dict[str, Any], other: dict[str, Any], size: tuple[int, int], side: int) -> dict[str, Any]:
    if mine["error"] or other["error"] or tuple(other["size"]) != size:
        raise SystemExit(f"{mine['path']}: {mine['error']}, {other['error']}, {size}, {other['size']}")
    shares = {row["label"]: row["probability"] for row in mine["predictions"]}
    far = max(abs(shares[row["label"]] - row["probability"]) for row in other["predictions"])
    apart = np.abs(np.array(mine["object_box"]) - np.array(other["object_box"])).reshape(2, 2)
    unit = np.maximum(np.array(size) / side, 1)
    return {
        "name": mine["predictions"][0]["label"] == other["predictions"][0]["label"],
        "verdict": mine["verdict"] == other["verdict"],
        "box": bool((apart <= PIXELS * unit + 0.005).all()),
        "box_of_photograph": bool((apart <= PIXELS + 0.005).all()),
        "far": far,
    }


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def share(name: str) -> float:
        return float(round(statistics.mean(row[name] for row in rows), 4))

    far = sorted(row["far"] for row in rows)
    return {
        "photographs": len(rows),
        "same_name": share("name"),
        "same_verdict": share("verdict"),
        "boxes_within_2_pixels": share("box"),
        "boxes_within_2_pixels_of_the_photograph": share("box_of_photograph"),
        "probabilities_within_0.01": round(statistics.mean(value <= PROBABILITY for value in far), 4),
        "largest_difference": round(far[-1], 4),
    }


def offline(browser: Browser, folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Open the page once, take the server and the network away, reload, and have photographs answered."""
    hosts: set[str] = set()
    with browser.new_context(reduced_motion="reduce") as user:
        page = user.new_page()
        page.on("request", lambda sent: hosts.add(sent.url.split("/")[2] if sent.url.startswith("http") else ""))
        with served(folder) as address:
            opened(page, address)
            page.wait_for_selector("#offline:not(:empty)")
        user.set_offline(True)
        page.reload()
        page.wait_for_selector("body[data-state=ready]")
        answers(page, paths)
        there = [record for record in records(page).values() if record["error"] is None]
    return {"photographs": len(paths), "answered": len(there), "other_hosts": len(hosts - {"", address.split("/")[2]})}


def timing(browser: Browser, folder: Path, paths: Sequence[Path], *, slowed: bool) -> dict[str, Any]:
    """Time the first load and answers; memory is the most that the page's process has had."""
    loads, times, shown, at_load, most = [], [], [], [], []
    load_work, work = [], 0.0
    with served(folder) as address:
        for turn in range(LOADS):
            with browser.new_context(reduced_motion="reduce") as user:
                page = user.new_page()
                page.goto(f"{address}icons/icon.svg")  # so that the page's process is there
                process = renderer(browser)
                with running_a_share(process if slowed else None):
                    began = time.perf_counter()
                    opened(page, address)
                    loads.append(time.perf_counter() - began)
                    load_work.append(processor_time(process))
                    at_load.append(most_memory(process))
                    for path in paths[turn::LOADS]:
                        began = time.perf_counter()
                        page.set_input_files("#files", str(path))
                        page.wait_for_selector("#results .card[data-state=answered]")
                        times.append(time.perf_counter() - began)
                        shown.append(json.loads(page.locator("#results").get_attribute("data-milliseconds") or ""))
                        page.evaluate(EMPTY)
                    work += processor_time(process) - load_work[-1]
                    most.append(most_memory(process))
    return {
        "first_load_seconds": round(statistics.median(loads), 2),
        "first_load_processor_seconds": round(statistics.median(load_work), 2),
        "memory_mb_loaded": statistics.median(at_load),
        "memory_mb_most": max(most),
        "answer_seconds": round(statistics.median(times), 2),
        "answer_processor_seconds": round(work / len(times), 2),
        "of_it_reading": round(statistics.median(each["reading"] for each in shown) / 1000, 2),
        "of_it_answering": round(statistics.median(each["answering"] for each in shown) / 1000, 2),
    }


def renderer(browser: Browser) -> int:
    """Return the process that the newest page runs in."""
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return int(max((each for each in found if each["type"] == "renderer"), key=lambda each: each["cpuTime"])["id"])


@contextmanager
def running_a_share(process: int | None) -> Iterator[None]:
    """Let a process run a share of the time, in turns; no process is not held up."""
    if process is None:
        yield
        return
    ended = threading.Event()

    def turns() -> None:
        while not ended.is_set():
            os.kill(process, signal.SIGSTOP)
            time.sleep(SLICE * (1 - SHARE))
            os.kill(process, signal.SIGCONT)
            time.sleep(SLICE * SHARE)

    thread = threading.Thread(target=turns, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def processor_time(process: int) -> float:
    """Return the seconds that a process has computed, in all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def most_memory(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return round(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000)


def native(_browser: Browser, engine: Engine, paths: Sequence[Path]) -> dict[str, Any]:
    """Time ONNX Runtime in this process on the same photographs, one at a time."""
    engine.answer([engine.read(paths[0])])
    reading, answering, start = [], [], time.process_time()
    for path in paths:
        began = time.perf_counter()
        image = engine.read(path)
        reading.append(time.perf_counter() - began)
        engine.answer([image])
        answering.append(time.perf_counter() - began - reading[-1])
    return {
        "answer_processor_seconds": round((time.process_time() - start) / len(paths), 3),
        "answer_seconds": round(statistics.median(map(sum, zip(reading, answering, strict=True))), 3),
        "of_it_reading": round(statistics.median(reading), 3),
        "of_it_answering": round(statistics.median(answering), 3),
    }


if __name__ == "__main__":
    main()
