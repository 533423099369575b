"""A ranger's memory card: one command without PyTorch, killed twice and resumed, and what came of it checked.

    python benchmarks/card.py MODEL.onnx [IMAGES ...] [--count 4000] [--folder FOLDER] [--out RESULTS.json]

The card is made of the images given (files and folders, also HEIC), in turns, or of drawn ones, with time and camera
of their own where they are JPEG; among them are broken and empty files, files of text and photographs without metadata.
What is measured of each process is the peak of its resident memory, as the system counts it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None\nfrom tlaam.cli.main import main\nsys.exit(main(sys.argv[1:]))"
)
_MOST = 1200  # megabytes that a process may take
_SIZE = (1600, 1200)


def make_card(folder: Path, sources: list[Path], count: int) -> dict[str, int]:
    """Write `count` files, and a text file; return how many of each kind."""
    random = np.random.default_rng(0)
    kinds: dict[str, int] = {}
    given = cycle(sources)
    for number in range(count):
        path = folder / "DCIM" / f"{100 + number // 1000}MEDIA" / f"IMG_{number % 1000:04d}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = next(given) if sources else None
        kind = _kind(number, source)
        if kind == "heic" and source is not None:
            path = path.with_suffix(source.suffix)
            shutil.copyfile(source, path)
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "text":
            path.write_text("This is no photograph.\n")
        else:
            _photograph(path, source, number, random, metadata=kind != "without metadata")
            if kind == "cut off":
                content = path.read_bytes()
                path.write_bytes(content[: len(content) // 3])
        kinds[kind] = kinds.get(kind, 0) + 1
    (folder / "notes.txt").write_text("Batteries changed.\n")
    return kinds


def _kind(number: int, source: Path | None) -> str:
    if source is not None and source.suffix.lower() in (".heic", ".heif"):
        return "heic"
    return {13: "cut off", 29: "empty", 31: "text", 7: "without metadata"}.get(number % 40, "photograph")


def _photograph(path: Path, source: Path | None, number: int, random: Any, *, metadata: bool) -> None:
    if source is None:
        small = random.integers(0, 160, (30, 40, 3), dtype=np.uint8)
        small[..., number % 3] += 90
        image = Image.fromarray(small).resize(_SIZE)
    else:
        with Image.open(source) as opened:
            image = opened.convert("RGB")
    exif = Image.Exif()
    if metadata:
        moment = datetime(2026, 5, 1, 4, 0, 0) + timedelta(minutes=7 * number)
        exif[0x010F], exif[0x0110] = "Acme", f"Trail {number % 3}"
        exif[0x8769] = {0x9003: f"{moment:%Y:%m:%d %H:%M:%S}", 0x9011: "+02:00"}
        exif[0x8825] = {1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (11.0, 15.0, 36.0)}
    image.save(path, "JPEG", quality=88, exif=exif.tobytes())


def run(command: list[str], table: Path, until_rows: int | None) -> dict[str, Any]:
    """Run a process, killed once the table has so many rows; return what it took."""
    began = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if until_rows is not None and table.exists() and table.read_bytes().count(b"\n") > until_rows:
            process.send_signal(signal.SIGKILL)
            until_rows = None
        time.sleep(0.05)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "ended": process.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": round(usage.ru_maxrss / 1024),
    }


def check(out: Path, card: Path, images: list[Path]) -> dict[str, Any]:
    """Read all that was made with other programs; return what is amiss and how much there is."""
    with (out / "card.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files = [row["file"] for row in rows if row["object"] in ("", "1")]
    readable = sum(not row["error"] for row in rows)
    found = json.loads((out / "card.json").read_text())
    page = (out / "card.html").read_text(encoding="utf-8")
    start = page.index(">", page.index('id="answers"')) + 1
    shown = json.loads(page[start : page.index("</script>", start)])
    counts = {
        "groups of rows": len(files),
        "Timelapse": len(found["images"]),
        "page": len(shown["answers"]),
        "sorted": sum(1 for path in (out / "sorted").glob("*/*") if path.suffix != ".xmp"),
        "sidecars": sum(1 for _ in (out / "xmp").rglob("*.xmp")),
    }
    wanted = dict.fromkeys(counts, len(images)) | {"sorted": readable, "sidecars": readable}
    try:
        import openpyxl
    except ImportError:
        pass
    else:
        book = openpyxl.load_workbook(out / "card.xlsx", read_only=True)
        counts["workbook"] = sum(1 for _ in book["answers"].iter_rows()) - 1
        wanted["workbook"] = len(rows)
    amiss = [f"{name}: {counts[name]} instead of {number}" for name, number in wanted.items() if counts[name] != number]
    if files != [str(path) for path in images]:
        amiss.append("the table's files are not those of the card, each once and in order")
    if sum(path.is_file() for path in card.rglob("*")) != len(images) + 1:
        amiss.append("a file of the card is gone")
    return {"counts": counts, "unreadable": len(files) - readable, "amiss": amiss}


def main() -> int:
    """Make the card, answer for it, check; print what was found, and return 1 if anything is amiss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/card"), help="new, for the card and what is made of it"
    )
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    sources = [
        path for given in asked.images for path in (sorted(given.rglob("*")) if given.is_dir() else [given])
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".heic", ".heif")
    ]  # fmt: skip
    card, out = asked.folder / "card", asked.folder / "out"
    card.mkdir(parents=True)
    kinds = make_card(card, sources, asked.count)
    images = sorted(path for path in (card / "DCIM").rglob("*") if path.is_file())
    command = [
        sys.executable, "-c", _WITHOUT_TORCH, "predict", str(asked.model), str(card), "--csv", str(out / "card.csv"),
        "--xlsx", str(out / "card.xlsx"), "--page", str(out / "card.html"), "--timelapse", str(out / "card.json"),
        "--sidecars", str(out / "xmp"), "--sort-into", str(out / "sorted"),
    ]  # fmt: skip
    runs = [run(command, out / "card.csv", asked.count * part // 4) for part in (1, 3)]
    runs.append(run(command, out / "card.csv", None))
    log = out / "sorted" / "sorted-001.jsonl"
    results = {"files": asked.count, "kinds": kinds, "runs": runs, **check(out, card, images)}
    undone = run([sys.executable, "-c", _WITHOUT_TORCH, "undo", str(log)], log, None)
    left = sum(1 for path in (out / "sorted").glob("*/*"))
    peak = max(each["peak_megabytes"] for each in runs)
    amiss = results["amiss"]
    amiss += [f"a process took {peak} MB"] if peak > _MOST else []
    amiss += (
        ["it was not killed twice"] if [each["ended"] for each in runs] != [-signal.SIGKILL, -signal.SIGKILL, 0] else []
    )
    amiss += [f"undo left {left} files"] if left or undone["ended"] else []
    results |= {"undo": undone, "peak_megabytes": peak}
    print(json.dumps(results, indent=2))
    if asked.out is not None:
        asked.out.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if amiss else 0


if __name__ == "__main__":
    sys.exit(main())
