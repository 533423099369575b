"""Inference with PyTorch: the only path through a trained network, for training, evaluation and prediction."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlaam.config.sections import ModelConfig
from tlaam.data.depth import Depth
from tlaam.errors import ModelError
from tlaam.inference.backend import FINDS_ONE, FOREGROUND, MOST_OBJECTS, Answers, Floats, Objects, Precision
from tlaam.inference.folding import FoldedConv2d, fold_norms
from tlaam.inference.fusing import fuse_activations
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.models.build import default_device, memory_format
from tlaam.models.network import TLAAM
from tlaam.models.output import TLAAMOutput
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import OODDetector

_Network = TypeVar("_Network", bound=Architecture)


def infer(network: Architecture, images: Tensor, boxes: Tensor | None = None) -> TLAAMOutput:
    """Answer for a batch of input images, in evaluation mode and without gradients; the network's mode is restored.

    Args:
        network: the model, on its device.
        images: uint8 input images ``(B, 3, P, P)`` (`tlaam.data.input_image.to_input`), on any device.
        boxes: where their objects are, ``(B, 4)`` xyxy in pixels of the input images, for a network that `takes_boxes`;
            by default the network finds them.

    Returns:
        The network's output in float32, with boxes in pixels of the input image.
    """
    was_training, device = network.training, network.mean.device
    network.eval()
    try:
        with torch.no_grad():
            told = {} if boxes is None else {"boxes": boxes.to(device)}
            output: TLAAMOutput = network(images.to(device, non_blocking=device.type == "cuda"), **told)
    finally:
        network.train(was_training)
    floats: dict[str, Any] = {name: x if x is None else x.float() for name, x in output._asdict().items()}
    return TLAAMOutput(**floats)


def best_precision(device: torch.device | str) -> Precision:
    """Return the fastest precision on a device: bfloat16 if the device supports it, else float32.

    Answers in bfloat16 differ slightly from those in float32: docs/speed.md says how many boxes and names change. On a
    CPU, support means AVX512-BF16 or AMX instructions; where bfloat16 is emulated, float32 is faster. The choice
    depends on the device's capabilities, not on a trial, so the same machine always gives the same answers.
    """
    if torch.device(device).type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if torch.device(device).type == "cpu":
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16-mixed" if has and torch.backends.mkldnn.is_available() else "32-true"  # type: ignore[no-untyped-call]
    return "32-true"


def prepared(network: _Network, device: torch.device | str, precision: Precision = "32-true") -> _Network:
    """Return a copy of a network for inference only.

    The copy is on the device, in channels-last layout, with its normalisations folded and, on a CPU, its activations
    fused.

    Args:
        network: a network in evaluation mode; it does not change.
        device: where to answer.
        precision: with ``bf16-mixed`` the backbone's weights become bfloat16, and the copy must be called under
            autocast (`asked_in`). Scores, masks, components and boxes are computed in float32 from the backbone's
            output.
    """
    kind = torch.device(device).type
    on_cpu = kind == "cpu"
    weights = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    ready: _Network = copy.deepcopy(network).eval()
    if kind != "cuda":  # other devices may lack float64, in which normalisations are folded
        ready.cpu()
    for backbone in [module for module in ready.modules() if isinstance(module, Backbone)]:
        fold_norms(backbone.network, backbone.image_size)
        if on_cpu:
            fuse_activations(backbone.network, backbone.image_size, weights)
        if precision == "bf16-mixed":
            for module in backbone.network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear, FoldedConv2d)):
                    module.to(torch.bfloat16)
    return ready.to(device, memory_format=memory_format(device))  # type: ignore[call-overload,no-any-return]


def compile_for_answers(network: Architecture) -> None:
    """Compile a `prepared` network as one graph, in place; this happens at its first answer and takes minutes.

    From then on, all batches should have one size, because each other size would be compiled again. On a GPU, the graph
    is replayed as a CUDA graph. On a CPU, its weights become constants.
    """
    if network.mean.device.type == "cuda":
        network.compile(fullgraph=True, dynamic=False, mode="reduce-overhead")
    else:
        network.compile(fullgraph=True, dynamic=False, options={"freezing": True})


def asked_in(device: torch.device | str, precision: Precision) -> torch.autocast:
    """Return the context in which a network `prepared` for a precision must be called."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16-mixed")


@dataclass(frozen=True)
class TorchModel:
    """A model ready to answer.

    Attributes:
        network: the network, in evaluation mode.
        config: the settings that it was built from.
        classes: class names, in index order.
        source_size: side of the input image that images are resized to.
        precision: the precision that it computes in.
        batch_size: the only number of input images that the network takes; None if it takes any number.
        checksum: SHA-256 of the file of its weights.
        index: the reference index that came with it; None if it came without one.
        trained: for a copy made by `ready`, the model that it was made from, if that is kept.
        depth: black and white levels for images of more than 8 bits, those of the training images.
    """

    network: Architecture
    config: ModelConfig
    classes: tuple[str, ...]
    source_size: int
    precision: Precision = "32-true"
    batch_size: int | None = None
    checksum: str = ""
    index: ReferenceIndex | None = None
    trained: TorchModel | None = None
    depth: Depth = Depth()  # noqa: RUF009 (it is immutable)

    @property
    def draws_maps(self) -> bool:
        """Whether its heat maps and object boxes depend on the image's content, so that both can be measured."""
        return self.network.draws_maps

    @property
    def detector(self) -> OODDetector | None:
        """The out-of-distribution detector of the index; None without an index."""
        return None if self.index is None else self.index.detector

    def ready(self, device: torch.device | str | None = None, precision: Precision | None = None) -> TorchModel:
        """Return a copy that answers fast (`prepared`) and must not be trained.

        Args:
            device: by default the GPU if there is one.
            precision: by default the fastest one on the device (`best_precision`).
        """
        device = _usable(device)
        precision = precision or best_precision(device)
        return replace(self, network=prepared(self.network, device, precision), precision=precision)

    def with_trained(self, trained: TorchModel) -> TorchModel:
        """Return a copy that keeps the model it was made `ready` from.

        Export needs that model, because the network of this one is folded.
        """
        return replace(self, trained=trained)

    def compiled(self, batch_size: int) -> TorchModel:
        """Return a copy that is compiled for batches of up to this size (`compile_for_answers`).

        The model must be `ready`. It compiles at its first answer, which takes minutes.
        """
        compile_for_answers(self.network)
        return replace(self, batch_size=batch_size)

    @property
    def takes_boxes(self) -> bool:
        """See `tlaam.inference.backend.Backend`."""
        return self.network.takes_boxes

    def require_objects(self) -> None:
        """See `tlaam.inference.backend.Backend`."""
        if not self.network.finds_several:
            raise ModelError(FINDS_ONE)

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        """See `tlaam.inference.backend.Backend`."""
        network, device = self.network, self.network.mean.device
        if not isinstance(network, TLAAM):
            raise ModelError(FINDS_ONE)
        with torch.no_grad(), asked_in(device, self.precision):
            found = network.find(torch.from_numpy(inputs).to(device), FOREGROUND, MOST_OBJECTS)
        return Objects(*(_floats(values) for values in found))

    def answer(self, inputs: NDArray[np.uint8], boxes: Floats | None = None, *, pooled: bool = False) -> Answers:
        """See `tlaam.inference.backend.Backend`."""
        rows = len(inputs)
        if self.batch_size is not None and rows < self.batch_size:
            missing = self.batch_size - rows
            inputs = np.concatenate([inputs, inputs[-1:].repeat(missing, axis=0)])
            boxes = None if boxes is None else np.concatenate([boxes, boxes[-1:].repeat(missing, axis=0)])
        told = None if boxes is None else torch.from_numpy(boxes.astype(np.float32))
        with asked_in(self.network.mean.device, self.precision):
            output = infer(self.network, torch.from_numpy(inputs), told)
        asked: dict[str, Any] = {name: x if x is None else x[:rows] for name, x in output._asdict().items()}
        output = TLAAMOutput(**asked)
        features = output.views if pooled else None
        heatmaps, objects, parts, embeddings, views = (
            None if field is None else _floats(field)
            for field in (output.heatmaps, output.object_boxes, output.part_boxes, output.embeddings, features)
        )
        branches = {name: _floats(values) for name, values in output.branch_probabilities().items()}
        return Answers(branches, heatmaps, objects, parts, embeddings, views)


def _usable(device: torch.device | str | None) -> torch.device:
    """Return a device that can be computed on; by default the GPU if there is one.

    Raises:
        ModelError: this machine has no such device.
    """
    if device is None:
        return default_device()
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        fault = " ".join(str(error).split())[:120]
        raise ModelError(f"there is no device '{device}' to compute on here ({fault}); give cpu or cuda.") from error


def _floats(values: Tensor) -> Floats:
    return values.cpu().double().numpy()  # type: ignore[no-any-return]  # MPS has no float64
