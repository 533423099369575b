"""What the two-level model costs beside the ideal: the bare timm backbone on the same number and sizes of crops.

    python benchmarks/speed.py --out results/speed.json [--mmal FOLDER]
    python benchmarks/speed.py --out results/quick.json --quick [--against OTHER/src]

Everything that is compared takes turns in one process, so that a busy machine slows all alike; ratios are medians over
rounds. Ideal and model have the same precision, memory layout and number of images. ``--mmal`` is a copy of the public
code of MMAL-Net (ZF4444/MMAL-Net on GitHub), which is used as it is but for what NumPy has dropped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch
from quick_speed import quick
from torch import Tensor, nn
from torch.nn import functional

from tlaam.config.defaults import resolve_machine
from tlaam.config.schema import Config
from tlaam.export.graph import Answers
from tlaam.export.onnx import to_onnx
from tlaam.export.precision import backbone_nodes, to_int8
from tlaam.inference.backend import Precision
from tlaam.inference.pytorch import TorchModel, asked_in, best_precision, compile_for_answers, infer, prepared
from tlaam.models.build import build_model
from tlaam.models.crops import crop_and_resize, resize_whole, whole_image_boxes
from tlaam.models.localization import heatmap_boxes
from tlaam.models.localizers.base import Localizer
from tlaam.models.network import TLAAM
from tlaam.runs.environment import environment
from tlaam.training.loss import TwoLevelLoss
from tlaam.training.memory import kept_for_backward
from tlaam.utils.allocator import keep_freed_memory

BRANCHES: dict[str, dict[str, str]] = {
    "raw": {"localizer": "none", "parts": "none"},
    "raw, object": {"parts": "none"},
    "raw, parts": {"localizer": "none"},
    "raw, object, parts": {},
}
SECTIONS = ["answering", "training", "compiled", "scaling", "mmal"]
Work = Callable[[], object]


class Case:
    """A model and its ideal, on the same device in the same precision."""

    def __init__(self, device: torch.device, precision: Precision, batch: int, classes: int, **options: Any) -> None:
        config = resolve_machine(
            Config.from_flat({"pretrained": "none", "localizer": "foreground", **options, "accelerator": device.type})
        )
        torch.manual_seed(0)
        self.device, self.precision, self.batch, self.config = device, precision, batch, config.model
        self.classes = classes
        model = build_model(config.model, classes)
        assert isinstance(model, TLAAM) and config.model.image_size is not None
        self.model = model
        self.side, self.part_side = self.model.image_size, self.model.part_size
        self.looks = 1 + (self.model.localizer is not None)
        self.parts = self.model.parts.count if self.model.parts is not None else 0
        assert config.model.source_size is not None
        self.images = torch.randint(
            0, 256, (batch, 3, config.model.source_size, config.model.source_size), dtype=torch.uint8, device=device
        )
        self.labels = torch.arange(batch, device=device) % classes
        self.masks = torch.randint(0, 2, (batch, 64, 64), dtype=torch.uint8, device=device) * 255
        bare = self._bare(str(config.model.backbone))
        self.bare = bare.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.inputs = [self._random(batch, self.side) for _ in range(self.looks)]
        if self.parts:
            self.inputs.append(self._random(batch * self.parts, self.part_side))

    def _bare(self, name: str) -> nn.Module:
        try:  # parts are smaller than whole images, which transformers have to be told
            bare: nn.Module = timm.create_model(name, num_classes=self.classes, dynamic_img_size=True)
        except TypeError:
            bare = timm.create_model(name, num_classes=self.classes)
        return bare

    def _random(self, count: int, side: int) -> Tensor:
        images = torch.rand(count, 3, side, side, device=self.device)
        return images.contiguous(memory_format=torch.channels_last)

    def answering(self, *, compiled: bool = False) -> tuple[Work, Work]:
        """Return what answers for a batch: the model's way and the ideal, both compiled on request."""
        ready, bare = prepared(self.model.eval(), self.device, self.precision), self.bare.eval()
        if compiled:
            compile_for_answers(ready)
            options: dict[str, Any] = (
                {"mode": "reduce-overhead"} if self.device.type == "cuda" else {"options": {"freezing": True}}
            )
            bare = torch.compile(bare, dynamic=False, **options)

        def ours() -> object:
            with asked_in(self.device, self.precision):
                return infer(ready, self.images)

        @torch.no_grad()
        def ideal() -> object:
            with asked_in(self.device, self.precision):
                return [bare(x) for x in self.inputs]

        return ours, ideal

    def answering_in_integers(self) -> Work:
        """Return what answers for a batch by an exported file in 8-bit integers, ranges read of its images."""
        side = self.images.shape[-1]
        trained = TorchModel(self.model.eval(), self.config, tuple(map(str, range(self.classes))), side)
        photos = self.images.permute(0, 2, 3, 1).contiguous().numpy()
        proto = to_onnx(trained)
        session = onnxruntime.InferenceSession(
            to_int8(proto, backbone_nodes(proto, Answers(self.model)), photos).SerializeToString(), _session_options()
        )
        return lambda: session.run(None, {"photos": photos})

    def training(self) -> tuple[Work, Work]:
        """Return what takes a training step: the model's way and the ideal."""
        model = self.model.train().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        loss, bare = TwoLevelLoss(0.0), self.bare.train()
        learns = isinstance(self.model.localizer, Localizer) and self.model.localizer.learns
        masks = self.masks if learns else self.masks[:, :0, :0]
        steps = [torch.optim.SGD(network.parameters(), 0.001, 0.9) for network in (model, bare)]

        def ours() -> object:
            with asked_in(self.device, self.precision):
                output = model(self.images, self.labels)
            torch.autograd.backward(loss(output, self.labels, masks).total)
            steps[0].step()
            steps[0].zero_grad()
            return None

        def ideal() -> object:
            losses = []
            for x in self.inputs:
                with asked_in(self.device, self.precision):
                    scores = bare(x).float()
                losses.append(functional.cross_entropy(scores, self.labels.repeat_interleave(len(x) // self.batch)))
            torch.autograd.backward(torch.stack(losses).sum())
            steps[1].step()
            steps[1].zero_grad()
            return None

        return ours, ideal

    def overhead(self) -> dict[str, Work]:
        """Return the steps that the ideal does not have: normalising and cutting, and finding the object."""
        model = self.model
        source = model.normalise(self.images)
        boxes = whole_image_boxes(source)[:, None] * 0.7
        windows = torch.rand(self.batch, max(self.parts, 1), 4, device=self.device) * self.side / 2
        windows[..., 2:] += self.side / 2
        maps = torch.rand(self.batch, self.side // 16, self.side // 16, device=self.device)

        def cut() -> object:
            pixels = model.normalise(self.images)
            resize_whole(pixels, self.side)
            crop_and_resize(pixels, boxes, self.side)
            return crop_and_resize(pixels, windows, self.part_side, reach=0.75) if self.parts else None

        def find() -> object:
            return heatmap_boxes(maps, (self.side, self.side), threshold=0.5, rule="value", upsample=2)

        return {"normalising and cutting": torch.no_grad()(cut), "component and box": torch.no_grad()(find)}


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return options


def taken(works: dict[str, Work], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Let works take turns and return the seconds of each turn, without a first one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def beside(seconds: dict[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """Return each work's median seconds, and the median over rounds of its time as a share of the reference's."""
    return {
        name: {
            "seconds": statistics.median(times),
            f"of {reference}": statistics.median(a / b for a, b in zip(times, seconds[reference], strict=True)),
        }
        for name, times in seconds.items()
    }


def activations(work: Work, parameters: Sequence[nn.Parameter]) -> float:
    """Return the MiB of activations that a training step keeps, without its parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    with kept_for_backward() as sizes:
        work()
    return sum(size for place, size in sizes.items() if place not in own) / 2**20


def peak(work: Work, device: torch.device) -> float | None:
    """Return the most MiB that work allocates on a GPU; None on a CPU, where a process only ever grows."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**20


def measured(case: Case, rounds: int, *, training: bool, compiled: bool = False) -> dict[str, Any]:
    """Return seconds and ratios of a model's answering or training, and of the steps that only it has."""
    ours, ideal = case.training() if training else case.answering(compiled=compiled)
    works: dict[str, Work] = {"model": ours, "ideal": ideal}
    if not training:
        works |= case.overhead()
    result: dict[str, Any] = beside(taken(works, rounds, case.device), "ideal")
    result["images a second"] = case.batch / result["model"]["seconds"]
    if training:
        parameters = [*case.model.parameters(), *case.bare.parameters()]
        result["kept activations, MiB"] = {name: activations(works[name], parameters) for name in works}
    if case.device.type == "cuda":
        result["peak memory, MiB"] = {name: peak(works[name], case.device) for name in ("model", "ideal")}
    return result


def scaling(
    device: torch.device,
    precision: Precision,
    rounds: int,
    base: dict[str, Any],
    done: Callable[[dict[str, Any]], None],
) -> None:
    """Measure how answering's cost grows with batch, input, parts, classes and backbone, one at a time."""
    gpu = device.type == "cuda"
    axes: dict[str, Sequence[Any]] = {
        "batch": (1, 4, 16, 64) if gpu else (1, 4, 16),
        "image_size": (224, 448, 640) if gpu else (128, 224, 320),
        "part_channels": (1, 2, 4, 8),
        "classes": (10, 200, 1000, 10_000),
        "backbone": ("resnet50", "tf_efficientnet_lite0", "convnext_tiny", "vit_small_patch16_224"),
    }
    for axis, values in axes.items():
        for value in values:
            options = {**base, axis: value}
            if axis == "image_size":
                options["source_size"] = 2 * value
            case = Case(device, precision, options.pop("batch"), options.pop("classes"), **options)
            seconds = taken(dict(zip(("model", "ideal"), case.answering(), strict=True)), rounds, device)
            row = {"axis": axis, "value": value, **beside(seconds, "ideal")["model"]}
            print(f"{axis} = {value}: {row['of ideal']:.2f} of the ideal", file=sys.stderr)
            done(row)


def public_mmal(folder: Path, classes: int) -> Any:
    """Return the public code's network, with random weights; how it is called is in `beside_mmal`."""
    for name, kind in (("int", int), ("float", float), ("bool", bool)):
        if name not in np.__dict__:  # dropped by NumPy 1.24
            setattr(np, name, kind)
    weights = timm.create_model("resnet50", num_classes=1000).state_dict()
    load = torch.load
    sys.path.insert(0, str(folder))
    torch.load = lambda *_args, **_options: weights  # it reads ImageNet weights from a fixed place
    try:
        windows: Any = importlib.import_module("utils.indices2coordinates")
        corner = windows.ComputeCoordinate
        # NumPy 1.24 and later make no array of numbers beside arrays of one number.
        windows.ComputeCoordinate = lambda size, stride, index, ratio: corner(size, stride, int(index[0]), ratio)
        proposals = importlib.import_module("config").proposalN
        network = importlib.import_module("networks.model").MainNet
        return network(proposalN=proposals, num_classes=classes, channels=2048)
    finally:
        torch.load = load
        sys.path.remove(str(folder))


def beside_mmal(folder: Path, device: torch.device, rounds: int, batch: int, *, training: bool) -> dict[str, Any]:
    """Return the times of MMAL-Net's public code and of ours, ResNet-50 at 448 pixels, its own windows and branches.

    Answering, the public code runs raw and object image and chooses windows without looking at them, and so do ours
    here; training, it runs the windows too. Images come ready on the device for both; ours are of 448 pixels too.
    """
    theirs = public_mmal(folder, 200).to(device)
    images = torch.rand(batch, 3, 448, 448, device=device)
    labels = torch.arange(batch, device=device)
    works: dict[str, Work] = {}

    def public() -> object:
        with nullcontext() if training else torch.no_grad():
            output = theirs(images, 0, 0, "train" if training else "test", device.type)
        if training:
            logits = [output[5], output[6], output[1]]
            losses = [functional.cross_entropy(x, labels.repeat_interleave(len(x) // batch)) for x in logits]
            torch.autograd.backward(torch.stack(losses).sum())
        return None

    theirs.train(training)
    works["public code, float32"] = public
    for precision in dict.fromkeys(("32-true", best_precision(device))):
        case = Case(
            device, precision, batch, 200, backbone="resnet50", image_size=448, source_size=448, part_size=224,  # type: ignore[arg-type]
            localizer="aolm", attention="none", norm_statistics="shared", parts="appm" if training else "none",
        )  # fmt: skip
        works[f"ours, {precision}"] = case.training()[0] if training else case.answering()[0]
        if not training and precision == best_precision(device):
            works[f"ours, {precision}, compiled"] = case.answering(compiled=True)[0]
            if device.type == "cpu":
                works["ours, exported, int8"] = case.answering_in_integers()
    return beside(taken(works, rounds, device), "public code, float32")


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", nargs="+", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--image-size", nargs="+", type=int, default=[224, 448], help="one for each backbone")
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 4], help="one for each backbone")
    parser.add_argument("--branches", nargs="+", default=list(BRANCHES), choices=list(BRANCHES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mmal", type=Path, help="folder of the public code")
    parser.add_argument(
        "--skip", nargs="*", default=[], choices=["answering", "training", "compiled", "scaling", "mmal"]
    )
    parser.add_argument("--quick", action="store_true", help="what a user waits for, in minutes, and nothing else")
    parser.add_argument("--against", type=Path, metavar="SRC", help="of --quick: another version's src/, in turns")
    given = parser.parse_args()
    keep_freed_memory()
    if given.quick:
        found = {"command": shlex.join(sys.argv), "machine": environment(), **quick(given.against)}
        _write(given.out, found)
        print(json.dumps(found, indent=2))
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    best = best_precision(device)
    record: dict[str, Any] = {"command": shlex.join(sys.argv), "machine": environment(), "best precision": best}
    for backbone, side, batch in zip(given.backbone, given.image_size, given.batch, strict=True):
        for kind in ("answering", "training"):
            if kind in given.skip:
                continue
            for precision in dict.fromkeys(("32-true", best)):
                for branches in given.branches:
                    case = Case(device, precision, batch, 200, backbone=backbone, image_size=side, **BRANCHES[branches])  # type: ignore[arg-type]
                    row = measured(case, given.rounds, training=kind == "training")
                    row = {"backbone": backbone, "side": side, "batch": batch, "precision": precision,
                           "branches": branches, **row}  # fmt: skip
                    record.setdefault(kind, []).append(row)
                    print(kind, backbone, precision, branches, f"{row['model']['of ideal']:.3f}", file=sys.stderr)
                    _write(given.out, record)
    if "compiled" not in given.skip:
        for backbone, side, batch in zip(given.backbone, given.image_size, given.batch, strict=True):
            case = Case(device, best, batch, 200, backbone=backbone, image_size=side)
            row = measured(case, given.rounds, training=False, compiled=True)
            row = {"backbone": backbone, "side": side, "batch": batch, "precision": best,
                   "branches": "raw, object, parts", **row}  # fmt: skip
            record.setdefault("answering, compiled", []).append(row)
            print("compiled", backbone, best, f"{row['model']['of ideal']:.3f}", file=sys.stderr)
            _write(given.out, record)
    if "scaling" not in given.skip:
        base = {"backbone": given.backbone[0], "image_size": given.image_size[0], "batch": given.batch[0],
                "classes": 200}  # fmt: skip
        record["scaling base"], record["scaling"] = base, []

        def keep(row: dict[str, Any]) -> None:
            record["scaling"].append(row)
            _write(given.out, record)

        scaling(device, best, max(3, given.rounds // 2), base, keep)
    if given.mmal is not None and "mmal" not in given.skip:
        for kind in ("answering", "training"):
            rounds = max(3, given.rounds // 2)
            record[f"mmal {kind}"] = beside_mmal(given.mmal, device, rounds, 4, training=kind == "training")
            _write(given.out, record)


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
