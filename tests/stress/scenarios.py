"""What is killed, damaged and starved: pieces of real work, how each is begun and continued, and its end state."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stress.colours import write_model
from stress.forks import Command, Ended, changes, imported, imported_for_export

Arguments = list[str | Path] | Callable[[], int]

TRAINING = [
    "--backbone", "test_resnet", "--pretrained", "none", "--image-size", "64", "--source-size", "64", "--part-size",
    "32", "--epochs", "2", "--raw-epochs", "1", "--batch-size", "4", "--checkpoint-every", "0", "--accelerator",
    "cpu", "--workers", "0", "--no-report", "--lr", "0.01", "--val-fraction", "0.25",
]  # fmt: skip
"""Options of every training: a network of 64 pixels, four steps, a checkpoint after each."""

_COMPARED = [
    "backbone=test_resnet", "pretrained=none", "image_size=64", "source_size=64", "part_size=32", "epochs=1",
    "raw_epochs=0", "batch_size=4", "accelerator=cpu", "workers=0", "lr=0.01", "checkpoint_every=0",
]  # fmt: skip


def photographs(folder: Path, splits: Sequence[str] = ("",), each: int = 4) -> Path:
    """Write small photographs of three classes, reddish, greenish and bluish."""
    random = np.random.default_rng(0)
    for split in splits:
        for label in range(3):
            for number in range(each):
                path = folder / split / f"class{label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 160, (60, 70, 3), dtype=np.uint8)
                pixels[..., label] += 80
                Image.fromarray(pixels).save(path)
    return folder


def training(data: Path, *options: str) -> Callable[[Path], Arguments]:
    """Return what begins a run in ``run`` or continues the one there."""

    def command(folder: Path) -> Arguments:
        run = folder / "run"
        if (run / "config.yaml").exists():
            return ["train", "--resume", run, "--no-report"]
        extra = [option.replace("FOLDER", str(folder)) for option in options]
        return ["train", data, "--out", run, *TRAINING, *extra]

    return command


def run_state(run: Path) -> dict[str, Any]:
    """Return what a finished run comes to: all but times, and what is needed only while it runs."""
    status = json.loads((run / "run.json").read_text())
    with (run / "history.csv").open() as stream:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]
    facts = json.loads((run / "data.json").read_text())
    masks = run / "pseudo_masks.npy"
    return {
        "state": status["state"],
        "history": rows,
        "data": facts,
        "settings": (run / "config.yaml").read_text().replace(str(run.parent), "FOLDER"),
        "weights": digest(run / "model.safetensors"),
        "description": (run / "config.json").read_text(),
        "masks": digest(masks) if masks.exists() else None,
        "files": sorted(path.name for path in run.iterdir()),
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
    }


def digest(path: Path) -> str:
    """Return a hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Return all files below a folder but locks, and what is in them."""
    return {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of ``predict --into``, in the order of its files."""
    return [json.loads(line) for part in sorted(folder.glob("part-*")) for line in part.read_text().splitlines()]


def predicting(model: Path, images: Path) -> Callable[[Path], Arguments]:
    """Return what predicts into ``out``, three images a file."""

    def command(folder: Path) -> Arguments:
        return ["predict", model, images, "--into", folder / "out", "--shard-size", "3", "--batch-size", "2"]

    return command


def sorting(model: Path, images: Path) -> Callable[[Path], Arguments]:
    """Return what moves a card's photographs into folders by a model's answers, and writes a table."""

    def command(folder: Path) -> Arguments:
        _card(folder, images)
        options = ["--csv", folder / "table.csv", "--shard-size", "5", "--batch-size", "2"]
        return ["predict", model, folder / "card", *options, "--sort-into", folder / "out", "--move"]

    return command


def undoing(images: Path) -> Callable[[Path], Arguments]:
    """Return what moves a card's photographs back that were sorted by their folders."""

    def command(folder: Path) -> Arguments:
        from tlaam.field.answer import Answer, FoundObject
        from tlaam.field.sorting import sort_into

        card = folder / "card"
        if not card.exists():
            _card(folder, images)
            photos = sorted(card.rglob("*.png"))
            sort_into(
                folder / "out",
                [Answer(str(photo), (FoundObject(((photo.parent.name, 1.0),)),)) for photo in photos],
                "these", "move",
            )  # fmt: skip
        return ["undo", folder / "out" / "sorted-001.jsonl"]

    return command


def sorted_state(folder: Path) -> dict[str, Any]:
    """Return where the photographs are, and the table without the folder's name."""
    kept = {name: content for name, content in tree(folder / "out").items() if not name.startswith("sorted-")}
    table = folder / "table.csv"
    rows = table.read_text().replace(str(folder), "FOLDER") if table.exists() else ""
    return {"card": tree(folder / "card"), "classes": kept, "table": rows}


def _card(folder: Path, images: Path) -> None:
    if not (folder / "card").exists():
        shutil.copytree(images, folder / "card")


def cleaning(data: Path) -> Callable[[Path], Arguments]:
    """Return what lists the suspects of a data set in ``out``."""
    settings = (
        "backbone=test_resnet",
        "pretrained=none",
        "image_size=64",
        "source_size=64",
        "part_size=32",
        "workers=0",
    )

    def command(folder: Path) -> Arguments:
        return ["clean", data, "--out", folder / "out", *(word for one in settings for word in ("--set", one))]

    return command


def applying(data: Path) -> Callable[[Path], Arguments]:
    """Return what applies decisions, made beforehand, to a data set of many images."""

    def command(folder: Path) -> Arguments:
        from tlaam.cleaning.decisions import COLUMNS
        from tlaam.data.open import open_dataset

        decisions = folder / "decisions.csv"
        if not decisions.exists():
            images = open_dataset(data)
            with decisions.open("w", newline="") as stream:
                rows = csv.writer(stream)
                rows.writerow(COLUMNS)
                for sample in images.samples[::3]:
                    rows.writerow((sample.name, images.classes[sample.label], "remove", "", images.fingerprint()))
        return ["clean", data, "--apply", decisions, "--manifest", folder / "out" / "cleaned.csv"]

    return command


def written(folder: Path) -> dict[str, Any]:
    """Return all files in ``out``."""
    return {"files": tree(folder / "out")}


def comparing(data: Path) -> Callable[[Path], Arguments]:
    """Return what compares two systems by one seed in ``out``."""

    def command(folder: Path) -> Arguments:
        options = [word for setting in _COMPARED for word in ("--set", setting)]
        return ["compare", data, "--out", folder / "out", "--systems", "plain", "--seeds", "1",
                "--protocol", "last", *options]  # fmt: skip

    return command


def compared_state(folder: Path) -> dict[str, Any]:
    """Return what a comparison comes to, without times and memory."""
    out = folder / "out"
    results = json.loads((out / "results.json").read_text())
    for run in results["runs"]:
        for name in ("minutes", "memory"):
            run["measures"].pop(name, None)
    for measures in results["summary"].values():
        for name in ("minutes", "memory"):
            measures.pop(name, None)
    results["differences"] = [row for row in results["differences"] if row.get("measure") not in ("minutes", "memory")]
    results.pop("command")
    weights = {path.parent.name: digest(path) for path in sorted(out.glob("runs/*/model.safetensors"))}
    files = sorted(path.name for path in out.iterdir())
    inner = sorted(path.relative_to(out).as_posix() for path in (out / "runs").glob("*/*"))
    return {"results": results, "weights": weights, "files": files, "runs": inner}


def caching(data: Path) -> Callable[[Path], Arguments]:
    """Return what fills a cache below ``cache``."""

    def command(folder: Path) -> Arguments:
        def fill() -> int:
            from tlaam.cli.main import ended
            from tlaam.data.open import open_dataset
            from tlaam.training.input_cache import InputCache

            def filled() -> None:
                InputCache(folder / "cache", 64).fill(open_dataset(data).samples, workers=2)

            return ended(filled)

        return fill

    return command


def cache_state(data: Path) -> Callable[[Path], dict[str, Any]]:
    """Return what tells the cache's files and, of each image, what it gives for it."""

    def state(folder: Path) -> dict[str, Any]:
        from tlaam.data.open import open_dataset
        from tlaam.training.input_cache import InputCache

        cache = InputCache(folder / "cache", 64)
        given = {}
        for sample in open_dataset(data).samples:
            found = cache.get(sample)
            given[sample.name] = None if found is None else (hashlib.sha256(found[0]).hexdigest(), found[1])
        return {"given": given, "files": tree(folder / "cache")}

    return state


def exporting(run: Path, images: Path) -> Callable[[Path], Arguments]:
    """Return what exports a run to ``model.onnx``."""

    def command(folder: Path) -> Arguments:
        return ["export", run, "--out", folder / "model.onnx", "--images", images, "--count", "3"]

    return command


def exported_state(folder: Path) -> dict[str, Any]:
    """Return the file's content, what was measured, and which files there are."""
    figures = json.loads((folder / "model.parity.json").read_text())
    return {"model": digest(folder / "model.onnx"), "figures": figures, "files": sorted(tree(folder))}


@dataclass(frozen=True)
class Publisher:
    """A server on this machine that has one small data set, in the place of Caltech's.

    Attributes:
        install: called in the fork that downloads: puts the data set in the place of the public one.
    """

    install: Callable[[], None]

    @staticmethod
    def command(folder: Path) -> Arguments:
        """Return what downloads the data set into ``data``."""
        return ["download", "cub", folder / "data"]

    @staticmethod
    def state(folder: Path) -> dict[str, Any]:
        """Return all files that came of it."""
        return {"files": tree(folder / "data")}


def publisher(images: Path) -> Publisher:
    """Serve a data set as CUB-200-2011 is published, in pieces, so that there is time to be killed."""
    content = _cub(images)

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"one"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            for at in range(start, len(content), 16_384):
                try:
                    self.wfile.write(content[at : at + 16_384])
                except OSError:
                    return
                threading.Event().wait(0.002)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]

    def install() -> None:
        from tlaam.data.download import archives

        known = archives.DATA_SETS["cub"]
        archive = archives.Archive(
            known.archives[0].file,
            len(content),
            f"sha256:{hashlib.sha256(content).hexdigest()}",
            f"http://127.0.0.1:{port}/cub.tgz",
        )
        archives.DATA_SETS["cub"] = replace(known, archives=(archive,))

    return Publisher(install)


def _cub(images: Path) -> bytes:
    names = [path.relative_to(images).as_posix() for path in sorted(images.rglob("*.png"))]
    classes = sorted({name.partition("/")[0] for name in names})
    numbered = list(enumerate(names, start=1))
    lists = {
        "images.txt": [f"{n} {name}" for n, name in numbered],
        "image_class_labels.txt": [f"{n} {classes.index(name.partition('/')[0]) + 1}" for n, name in numbered],
        "train_test_split.txt": [f"{n} {n % 2}" for n, _ in numbered],
        "classes.txt": [f"{n} {name}" for n, name in enumerate(classes, start=1)],
        "bounding_boxes.txt": [f"{n} 1 1 5 5" for n, _ in numbered],
    }
    files = {f"CUB_200_2011/{name}": "\n".join(lines).encode() + b"\n" for name, lines in lists.items()}
    files |= {f"CUB_200_2011/images/{name}": (images / name).read_bytes() for name in names}
    files["CUB_200_2011/README"] = np.random.default_rng(0).bytes(400_000)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), 1, mtime=0)


@dataclass(frozen=True)
class Victim:
    """A piece of work.

    Attributes:
        command: what begins it or goes on with it.
        state: what it has come to.
        setup: called in each fork.
        seconds, changes: how long it takes undisturbed, and how often it changes the disk.
        good: its end state undisturbed.
        ranks: processes that share the work.
    """

    command: Callable[[Path], Arguments]
    state: Callable[[Path], dict[str, Any]]
    setup: Callable[[], None] = lambda: None
    ranks: int = 1
    seconds: float = 0.0
    changes: int = 0
    good: Any = None


class _Measured(dict[str, Victim]):
    """Pieces of work with what they take and come to undisturbed, each of which is done when it is first asked for."""

    def __init__(self, folder: Path, victims: dict[str, Victim]) -> None:
        super().__init__()
        self._folder, self._victims = folder, victims

    def __missing__(self, name: str) -> Victim:
        victim = self._victims[name]
        place = self._folder / name.replace(", ", "-").replace(" ", "-")
        place.mkdir(parents=True)
        log = place.with_name(f"{place.name}.log")
        ended = Command(victim.command(place), log, setup=victim.setup, below=place).wait()
        finished(ended)
        self[name] = replace(victim, seconds=ended.seconds, changes=changes(log), good=victim.state(place))
        return self[name]


def undisturbed(folder: Path) -> dict[str, Victim]:
    """Return all pieces of work; each is done once, in a fork of this process, when it is first asked for."""
    imported()
    data = photographs(folder / "data")
    halves = photographs(folder / "halves", ("train", "test"))
    many = photographs(folder / "many", each=12)
    server = publisher(data)
    model = write_model(folder / "colours.onnx")
    train = training(data)
    predict = predicting(model, many)

    def exports(place: Path) -> Arguments:
        trained = folder / "trained"
        if not trained.exists():
            imported_for_export()
            trained.mkdir()
            finished(Command(train(trained), folder / "log").wait())
        return exporting(trained / "run", data)(place)

    def trained_state(place: Path) -> dict[str, Any]:
        return run_state(place / "run")

    def shards(place: Path) -> dict[str, Any]:
        # Of processes that settle the plan at once, one may have been killed as it wrote what another wrote, too.
        files = {name: content for name, content in tree(place / "out").items() if not name.startswith(".plan.json.")}
        return {"rows": rows_of(place / "out"), "files": files}

    victims = {
        "train": Victim(train, trained_state),
        "train, a localiser that learns": Victim(
            training(data, "--localizer", "foreground", "--pseudo-mask-size", "96"), trained_state
        ),
        "train, with a cache": Victim(training(data, "--cache", "FOLDER/cache", "--crop-scale", "1"), trained_state),
        "train, two loaders": Victim(training(data, "--workers", "2"), trained_state),
        "compare": Victim(comparing(halves), compared_state),
        "download": Victim(server.command, server.state, server.install),
        "cache": Victim(caching(many), cache_state(many)),
        "export": Victim(exports, exported_state),
        "predict": Victim(predict, shards),
        "predict, two processes": Victim(predict, shards, ranks=2),
        "clean": Victim(cleaning(many), written),
        "clean --apply": Victim(applying(many), written),
        "sort": Victim(sorting(model, many), sorted_state),
        "undo": Victim(undoing(many), sorted_state),
    }
    return _Measured(folder / "good", victims)


def finished(ended: Ended) -> None:
    """Raise an error where what was not disturbed failed."""
    if ended.code:
        raise RuntimeError(f"undisturbed it ended with {ended.code}: {ended.err[-600:]}")
