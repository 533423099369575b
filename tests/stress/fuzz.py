"""A coverage-guided fuzzer on the readers: ``python -m stress.fuzz READER --minutes N``.

It needs the extra ``stress``. Inputs are kept that reach new code; a reader may refuse them with an error of its own
and do nothing else. It ends with what was executed and reached, and with 77 at the first input that breaks a reader,
which it leaves beside the others.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

READERS = ("images", "manifests", "coco", "label-studio", "cvat", "matlab", "onnx", "yaml", "npy")
_MODULES = {
    "images": "tlaam.data.images",
    "manifests": "tlaam.data.manifest",
    "coco": "tlaam.data.annotations.coco",
    "label-studio": "tlaam.data.annotations.label_studio",
    "cvat": "tlaam.data.annotations.cvat",
    "matlab": "tlaam.data.public.matlab",
    "onnx": "tlaam.inference.onnx_file",
    "yaml": "tlaam.utils.yaml_file",
    "npy": "tlaam.training.masks",
}
"""The module that each reader is in."""
_PARTS = {"images": ["PIL"], "yaml": ["yaml"]}
"""What else of Python is watched for new code."""
_SUFFIXES = {
    **{"manifests": ".csv", "npy": ".npy", "yaml": ".yaml", "matlab": ".mat", "onnx": ".onnx"},
    **{"coco": ".json", "label-studio": ".json", "cvat": ".xml"},
}


def main(arguments: list[str] | None = None) -> None:
    """Fuzz one reader."""
    parser = argparse.ArgumentParser(prog="python -m stress.fuzz", description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder that inputs are kept in [runs/stress/corpus-READER]")
    options = parser.parse_args(arguments)
    corpus = options.corpus or Path("runs/stress") / f"corpus-{options.reader}"
    corpus.mkdir(parents=True, exist_ok=True)
    import atheris

    # Before anything else imports them: only what is imported here is watched.
    with atheris.instrument_imports(include=["tlaam", *_PARTS.get(options.reader, [])], enable_loader_override=False):
        importlib.import_module(_MODULES[options.reader])
    for number, seed in enumerate(seeds(options.reader, options.seed)):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    target = _target(options.reader)
    limits = [f"-max_total_time={round(60 * options.minutes)}", f"-seed={options.seed}", "-max_len=20000"]
    limits += ["-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1", f"-artifact_prefix={corpus}/broken-"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], target)
    atheris.Fuzz()


def _target(reader: str) -> Callable[[bytes], None]:
    """Return what is called with each input: it may raise nothing but the product's own errors."""
    from tlaam.errors import TlaamError

    read = _READS[reader]()
    suffix = _SUFFIXES.get(reader, ".jpg")
    path = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)) / f"x{suffix}"  # noqa: PTH112

    def one(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except TlaamError as error:
            if str(path) not in str(error):
                raise AssertionError(f"a refusal that does not name the file: {error}") from error

    return one


def _images() -> Callable[[Path], Any]:
    import logging
    import warnings

    from tlaam.data.images import image_size, load_image

    warnings.simplefilter("ignore")
    logging.disable()

    def read(path: Path) -> None:
        size = image_size(path)
        if size[0] * size[1] < 1 << 22:  # the larger ones take the time of all others
            assert load_image(path).size == size
            load_image(path, max_side=16)

    return read


def _manifests() -> Callable[[Path], Any]:
    from tlaam.data.manifest import image_paths, read_manifest

    def read(path: Path) -> None:
        read_manifest(path, strict=False)
        list(image_paths(path))
        read_manifest(path)

    return read


def _annotations(name: str) -> Callable[[Path], Any]:
    from tlaam.errors import DataError

    read_file = getattr(importlib.import_module(_MODULES[name]), f"read_{name.replace('-', '_')}")

    def read(path: Path) -> None:
        refused: DataError | None = None
        for strict, crops in product((True, False), repeat=2):
            try:
                read_file(path, strict=strict, crops=crops)
            except DataError as error:
                refused = error
        if refused is not None:
            raise refused

    return read


def _matlab() -> Callable[[Path], Any]:
    from tlaam.data.public.matlab import read_mat

    return lambda path: read_mat(path, "the data set", "annotations", "fname", "class")


def _onnx() -> Callable[[Path], Any]:
    from tlaam.inference.onnx_file import read_model_file

    return read_model_file


def _yaml() -> Callable[[Path], Any]:
    from tlaam.utils.yaml_file import read_yaml

    def read(path: Path) -> None:
        read_yaml(path)

    return read


def _npy() -> Callable[[Path], Any]:
    from tlaam.data.sample import Sample
    from tlaam.training.masks import read_pseudo_masks

    samples = [Sample(name, name, 0, "train") for name in "abc"]
    return lambda path: read_pseudo_masks(path, samples)


_READS: dict[str, Callable[[], Callable[[Path], Any]]] = {
    "images": _images, "manifests": _manifests, "matlab": _matlab, "onnx": _onnx, "yaml": _yaml, "npy": _npy,
    **{name: partial(_annotations, name) for name in ("coco", "label-studio", "cvat")},
}  # fmt: skip


def seeds(reader: str, seed: int) -> list[bytes]:
    """Return good inputs to begin with."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if reader == "images":
            from stress.images import BASES

            return [make(random) for base, make in BASES.items() if "large" not in base]
        if reader == "manifests":
            from stress.manifests import FORMS

            return [content for make in FORMS.values() if len(content := make(random, folder)[0]) < 20_000]
        if reader in ("coco", "label-studio", "cvat"):
            from stress.annotations import written_seeds

            return written_seeds(reader, random)
        if reader == "matlab":
            from stress.metadata import cars

            return [(folder / file).read_bytes() for file in cars(folder)]
        if reader == "onnx":
            from stress.colours import write_model

            return [write_model(folder / "m.onnx").read_bytes()]
        if reader == "yaml":
            from stress.models import EVIL

            return [content for make in EVIL["settings"].values() if len(content := make()) < 20_000]
        stream = io.BytesIO()
        np.save(stream, np.zeros((3, 64, 64), np.uint8))
        return [stream.getvalue()]


if __name__ == "__main__":
    main()
