"""Writing a trained model as one ONNX file after checking that ONNX Runtime gives the same answers as PyTorch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tlaam._version import __version__
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import ExportError
from tlaam.evaluation.evaluate import trained_on
from tlaam.export.folding import fold
from tlaam.export.graph import Answers, Input
from tlaam.export.parity import (
    EMBEDDING,
    PIXEL,
    PROBABILITY,
    SAME_BOXES,
    SAME_TOP1,
    SAME_TOP1_REDUCED,
    Image,
    Parity,
    compare,
    images_to_compare,
    photograph,
)
from tlaam.export.precision import Precision, backbone_nodes, to_fp16, to_int8
from tlaam.hub.download import local_folder
from tlaam.inference.engine import Engine
from tlaam.inference.onnx_sealing import drop_unread, seal
from tlaam.inference.pytorch import TorchModel
from tlaam.inference.store import load_model
from tlaam.models.network import TLAAM
from tlaam.reference.file import digest_of, index_file_of, read_index, to_bytes, write_index
from tlaam.reference.index import ReferenceIndex
from tlaam.runs.splits import TrainingData
from tlaam.utils.atomic import remove_leftovers, write_atomically, write_json

if TYPE_CHECKING:
    import onnx

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
TRIED = "2.14"
"""Oldest PyTorch version that exporting is tested with. PyTorch 2.6 cannot export these networks."""
INPUT = "photos"
BOXES = "boxes"
COMPARED = 64
"""Default maximum number of photographs to compare answers on."""
CALIBRATION_IMAGES = 32
"""Default number of training images for calibrating the activation ranges for int8."""
_LARGEST = 2**31 - 1  # maximum size of a protobuf message in bytes
_BATCH = torch.export.Dim("batch", min=1, max=65535)


def export_onnx(
    model: Engine | Path | str,
    out: Path | str,
    images: Sequence[Image],
    *,
    precision: Precision = "fp32",
    calibration: Sequence[Image] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Precision, Parity]:
    """Write the model of a run as one ONNX file that maps uint8 photographs to boxes in their pixels.

    The figures on which the file was accepted are written beside it (``model.parity.json`` for ``model.onnx``), and so
    is the run's reference index, if it has one (``model.gallery.npz``).

    Args:
        model: a run folder, or its engine; the network is loaded as it was trained.
        out: the file to write; an existing file is replaced only if the new one passes the comparison.
        images: images on which ONNX Runtime and PyTorch have to agree.
        precision: precision of the backbone. The float32 file is always made and compared first.
        calibration: for int8, images to calibrate the activation ranges on; other images than those compared.
        progress: called with (images compared, images in all).

    Returns:
        The comparisons of the float32 file and of the requested precision.

    Raises:
        ExportError: a package is missing, the model cannot be exported, or the file's answers differ from the model's.
            Then nothing is written.
        DataError: an image cannot be read.
        ModelError: the run holds no usable model, or its reference index is damaged.
    """
    require_packages()
    out = Path(out)
    engine = _unfolded(model)
    network = engine.model
    assert isinstance(network, TorchModel)
    seen = trained_on(engine)
    contents = _contents(network, precision, calibration, engine.index, seen)
    found = compare(network, contents, images, progress=progress)
    for parity in found.values():
        if faults := parity.faults():
            raise ExportError(
                f"{out} was not written: ONNX Runtime, {parity.precision}, does not answer as PyTorch does on "
                f"{parity.images} images ({'; '.join(faults)})."
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    for file in (out, parity_file(out), index_file_of(out)):
        remove_leftovers(file.parent, file.name)
    if engine.index is not None:
        write_index(engine.index, index_file_of(out))
    write_atomically(out, contents[precision])
    write_json(parity_file(out), _figures(precision, found))
    return found


@dataclass(frozen=True)
class Export:
    """The result of an export and how closely its answers match.

    Attributes:
        file: the ONNX file.
        figures: the file with the figures of the comparisons.
        index: the reference index beside it; None if the run has none.
        parities: the comparisons by precision.
        seen_in_training: whether answers were compared on images that the model was trained on.
    """

    file: Path
    figures: Path
    index: Path | None
    parities: dict[Precision, Parity]
    seen_in_training: bool


def export_run(
    model: Engine | Path | str,
    out: Path,
    images: Sequence[str] = (),
    *,
    split: Split | None = None,
    count: int = COMPARED,
    precision: Precision = "fp32",
    calibration: Sequence[str] = (),
    data: LabelledImages | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Export:
    """Export a run, by default comparing answers on the run's own images.

    Args:
        model, out, precision, progress: see `export_onnx`.
        images: files, folders and patterns of photographs to compare answers on; by default the run's own.
        split: split of the run's own images; by default its validation images, or else its training images.
        count: maximum number of photographs to compare.
        calibration: photographs to calibrate the activation ranges for int8 on; by default `CALIBRATION_IMAGES` of
            the run's training images.
        data: the data that the run was trained on, if it is no longer at its original location.

    Raises:
        ExportError, DataError, ModelError: see `export_onnx`.
    """
    require_packages()
    run = _origin_of(model)
    chosen = images_to_compare(run, images, count, split, data)
    ranges = images_to_compare(run, calibration, CALIBRATION_IMAGES, "train", data) if precision == "int8" else []
    parities = export_onnx(model, out, chosen, precision=precision, calibration=ranges, progress=progress)
    index = index_file_of(out)
    return Export(
        out,
        parity_file(out),
        index if index_file_of(run).exists() else None,
        parities,
        split is None and any(isinstance(image, Sample) and image.split == "train" for image in chosen),
    )


def _contents(
    model: TorchModel,
    precision: Precision,
    calibration: Sequence[Image],
    index: ReferenceIndex | None,
    seen: TrainingData | None,
) -> dict[Precision, bytes]:
    """Return the bytes of the float32 file and, if another precision is requested, of the file of that precision.

    Raises:
        ExportError: the model cannot be exported, or int8 lacks images for calibration.
    """
    if precision == "int8" and not calibration:
        raise ExportError("int8 needs photographs to read the activations' ranges from; give some by --calibration.")
    proto = to_onnx(model)
    inside = backbone_nodes(proto, Answers(model.network))  # needs the metadata that a finished file lacks
    contents: dict[Precision, bytes] = {"fp32": finished(proto, model, "fp32", index, seen)}
    if precision == "fp16":
        contents["fp16"] = finished(to_fp16(proto, inside), model, "fp16", index, seen)
    elif precision == "int8":
        photos = (np.asarray(photograph(image, model.source_size, model.depth)) for image in calibration)
        contents["int8"] = finished(to_int8(proto, inside, photos), model, "int8", index, seen)
    return contents


def _figures(precision: Precision, found: Mapping[Precision, Parity]) -> dict[str, Any]:
    tolerances = {
        "probability": PROBABILITY,
        "pixel": PIXEL,
        "embedding": EMBEDDING,
        "same_boxes": SAME_BOXES,
        "same_top1": SAME_TOP1,
    }
    return {
        "file": precision,
        **{name: asdict(parity) for name, parity in found.items()},
        "tolerances": {"fp32": tolerances, "reduced": {"same_top1": SAME_TOP1_REDUCED}},
        "versions": {name: version(name) for name in ("tlaam", "torch", "timm", *NEEDED)},
    }


def parity_file(out: Path) -> Path:
    """Return the file for the figures of the comparison: ``model.parity.json`` beside ``model.onnx``."""
    return out.with_name(f"{out.stem}.parity.json")


def _unfolded(model: Engine | Path | str) -> Engine:
    """Return an engine with its reference index and the network on the CPU as it was trained, with nothing folded.

    Raises:
        ExportError: the model is an exported file already.
        ModelError: the run holds no usable model.
    """
    origin = _origin_of(model)
    kept = getattr(model.model, "trained", None) if isinstance(model, Engine) else None
    file = index_file_of(origin)
    index = model.index if isinstance(model, Engine) else read_index(file) if file.exists() else None
    return Engine(kept or load_model(origin, "cpu"), index=index, origin=origin)


def _origin_of(model: Engine | Path | str) -> Path:
    """Return the folder that a model is in.

    Raises:
        ExportError: it is an exported file already, or was not loaded from a folder.
        ModelError: it is on the hub and cannot be downloaded.
    """
    origin = model.origin if isinstance(model, Engine) else local_folder(model)
    if origin is None:
        raise ExportError("a model is exported from the folder it lies in; this one was not loaded from one.")
    if origin.is_file():
        raise ExportError(f"{origin} is no run folder; a file that was exported is not exported again.")
    return origin


def require_packages() -> None:
    """Check that the packages needed for exporting are installed.

    Raises:
        ExportError: a package is missing.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ExportError(f"exporting needs {', '.join(missing)}: pip install {' '.join(missing)}.")


def to_onnx(model: TorchModel) -> onnx.ModelProto:
    """Return a model as an ONNX graph, not yet `finished`; for inputs and outputs see `PhotoModel.forward`.

    Raises:
        ExportError: the model needs something that a graph cannot express.
    """
    import onnx

    _require_no_gradients(model)
    size = model.source_size
    inputs, scale = torch.zeros(2, 3, size, size, dtype=torch.uint8), torch.ones(4)
    answers = Answers(model.network).eval()
    boxes = (torch.zeros(2, 4),) if model.takes_boxes else ()
    with torch.no_grad():
        names = list(answers(inputs, scale, *boxes))
    free = ({0: _BATCH}, None, *({0: _BATCH} for _ in boxes))
    back = _traced(answers, (inputs, scale, *boxes), ("inputs", "scale", *(BOXES for _ in boxes)), names, free)
    # Add a prefix to avoid name clashes: both graphs number their values from 0.
    onnx.compose.add_prefix(back, "answers/", rename_inputs=False, rename_outputs=False, inplace=True)
    proto = onnx.compose.merge_models(_input_image_graph(size), back, [(name, name) for name in ("inputs", "scale")])
    del proto.opset_import[1:]  # merging lists the same operator set twice
    if model.takes_boxes:
        _let_boxes_be_left_out(proto)
    return proto


def _let_boxes_be_left_out(proto: onnx.ModelProto) -> None:
    """Make the input of boxes optional: by default, one box of zero width applies to all photographs."""
    import onnx

    graph, one = proto.graph, f"{BOXES}_of_one"
    for node in graph.node:
        node.input[:] = [f"{BOXES}_of_all" if name == BOXES else name for name in node.input]
    shape = [
        onnx.helper.make_node("Shape", [INPUT], [f"{BOXES}_count"], name=f"{BOXES}/count", start=0, end=1),
        onnx.helper.make_node("Concat", [f"{BOXES}_count", one], [f"{BOXES}_shape"], name=f"{BOXES}/shape", axis=0),
        onnx.helper.make_node("Expand", [BOXES, f"{BOXES}_shape"], [f"{BOXES}_of_all"], name=f"{BOXES}/all"),
    ]
    nodes = [*shape, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [given for given in graph.input if given.name != BOXES]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend([
        onnx.numpy_helper.from_array(np.array([4], dtype=np.int64), one),
        onnx.numpy_helper.from_array(np.zeros((1, 4), dtype=np.float32), BOXES),
    ])  # fmt: skip


@cache
def _input_image_graph(size: int) -> onnx.ModelProto:
    """Return the graph of `Input`, traced separately and cached: with free height and width, tracing takes long."""
    free = {0: _BATCH, 1: torch.export.Dim("height", min=1, max=65535), 2: torch.export.Dim("width", min=1, max=65535)}
    photos = torch.zeros(2, size, size + 8, 3, dtype=torch.uint8)
    return _traced(Input(size).eval(), (photos,), (INPUT,), ("inputs", "scale"), (free,))


def _traced(
    module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], free: Any
) -> onnx.ModelProto:
    """Return the graph of a module, with names for its inputs and outputs; `free` specifies the dynamic axes.

    Raises:
        ExportError: the module cannot be exported.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                example,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=free,
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
            assert program is not None
            fold(program.model)
    except Exception as error:  # the exporter raises whatever stopped it
        fault = " ".join(str(error).split())[-200:]
        older = torch.__version__ < TRIED
        hint = f" Here is PyTorch {torch.__version__}; exporting is tested with {TRIED}: install a newer one."
        raise ExportError(
            f"this model cannot be expressed as an ONNX graph: {type(error).__name__}: {fault}{hint if older else ''}"
        ) from error
    proto: onnx.ModelProto = program.model_proto
    if not proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param:  # the exporter does not report this
        raise ExportError("this model cannot be expressed as an ONNX graph: it fixes the number of images in a batch.")
    return proto


def finished(
    proto: onnx.ModelProto,
    model: TorchModel,
    precision: Precision,
    index: ReferenceIndex | None = None,
    seen: TrainingData | None = None,
) -> bytes:
    """Return the bytes of the file: the graph with the model's metadata, without exporter notes and unused constants.

    The exporter's notes can be longer than the graph and contain paths of this machine. Unused constants make ONNX
    Runtime print a warning for each of them whenever the file is loaded.

    Raises:
        ExportError: the file would exceed the maximum size of one ONNX file.
    """
    import onnx

    drop_unread(proto.graph)
    inputs = {given.name for given in proto.graph.input}
    if BOXES not in inputs and any(constant.name == BOXES for constant in proto.graph.initializer):
        # An input that is also a constant is optional. Add it only now: tools that convert graphs cannot handle it.
        boxes = onnx.helper.make_tensor_value_info(BOXES, onnx.TensorProto.FLOAT, ["boxes", 4])
        proto.graph.input.append(boxes)
    for node in proto.graph.node:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for inner in attribute.g.node:
                del inner.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:], proto.opset_import[1:]
    proto.opset_import[0].CopyFrom(onnx.helper.make_opsetid("", OPSET))  # the only operator set that the nodes use
    proto.producer_name, proto.producer_version = "tlaam", __version__
    facts = metadata(model, precision, index, seen)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, facts)
    if proto.ByteSize() > _LARGEST:
        raise ExportError(f"the model takes {proto.ByteSize():,} bytes; one ONNX file holds at most {_LARGEST:,}.")
    return seal(proto, facts)


def metadata(
    model: TorchModel, precision: Precision, index: ReferenceIndex | None = None, seen: TrainingData | None = None
) -> dict[str, str]:
    """Return the file's metadata as texts by name; all but version, precision, boxes and gallery are JSON."""
    facts: dict[str, Any] = {
        "classes": list(model.classes),
        "preprocessing": {
            "input": "uint8 RGB (batch, height, width, 3), upright (EXIF orientation applied)",
            "resize": "inside: squash to source_size × source_size, bilinear, antialiased, as Pillow does",
            "normalisation": "inside: (pixel / 255 - mean) / std",
            "source_size": model.source_size,
            "image_size": model.config.image_size,
            "mean": list(model.network.backbone.mean),
            "std": list(model.network.backbone.std),
            "depth": model.depth.to_dict(),
        },
        "model": model.config.model_dump(mode="json"),
    }
    if seen is not None:
        facts["training_data"] = seen.to_dict()
    texts = {"tlaam_version": __version__, "precision": precision}
    texts["boxes"] = "told" if model.takes_boxes else "cut"
    if index is not None:  # with the names of version 0.1.0, which reads these files too
        texts["gallery"] = digest_of(to_bytes(index))
        if (detector := index.detector.to_text()) is not None:
            texts["familiarity"] = detector
        texts |= {
            name: part.to_text() for name in ("held_out", "taxonomy") if (part := getattr(index, name)) is not None
        }
    return {**texts, **{name: json.dumps(value) for name, value in facts.items()}}


def _require_no_gradients(model: TorchModel) -> None:
    localizer = model.network.localizer if isinstance(model.network, TLAAM) else None
    if localizer is not None and localizer.needs_gradient and localizer.layer is not None:
        raise ExportError(
            f"localizer={model.config.localizer} with heatmap_layer={localizer.layer} differentiates the scores, which "
            "an ONNX graph cannot; train without heatmap_layer, where the closed form needs no gradient."
        )
