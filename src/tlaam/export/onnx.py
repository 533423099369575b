"""Writing a trained model as one ONNX file, once ONNX Runtime has answered from it as PyTorch does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tlaam import __version__
from tlaam.atomic import remove_leftovers, write_atomically, write_json
from tlaam.errors import ExportError
from tlaam.export.graph import Answers, Canvas
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
    photograph,
)
from tlaam.export.precision import Precision, backbone_nodes, to_fp16, to_int8
from tlaam.gallery import FILE, Gallery, read_gallery
from tlaam.model.network import TLAAM
from tlaam.model.store import TrainedModel, load_model
from tlaam.runtime.onnx_file import CHECKSUM, checksum

if TYPE_CHECKING:
    import onnx

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
INPUT = "photos"
_LARGEST = 2**31 - 1  # bytes of one protobuf message
_BATCH = torch.export.Dim("batch", min=1, max=65535)


def export_onnx(
    run: Path | str,
    out: Path | str,
    images: Sequence[Image],
    *,
    precision: Precision = "fp32",
    calibration: Sequence[Image] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Precision, Parity]:
    """Write the model of a run as one ONNX file, from uint8 photographs to boxes in their pixels.

    The figures by which the file was judged are written beside it, ``model.parity.json`` for ``model.onnx``, and the
    run's gallery, where it has one, as ``model.gallery.npz``.

    Args:
        run: a run folder.
        out: the file; one that is there is replaced, if the new one is good.
        images: on which ONNX Runtime and PyTorch have to agree.
        precision: of the backbone. Whatever is asked for, the float32 file is made and compared first.
        calibration: for int8, images from which the activations' ranges are read: not those that are compared.
        progress: told how many images of how many have been compared.

    Returns:
        The comparisons: of float32, and of the precision that was asked for.

    Raises:
        ExportError: a package is missing, the model cannot be expressed, or the file would not answer as the model
            does; then nothing is written.
        DataError: an image cannot be read.
        ModelError: the run holds no usable model, or its gallery is damaged.
    """
    require_packages()
    out = Path(out)
    model = load_model(run, "cpu")
    kept = Path(run) / FILE
    gallery = read_gallery(kept) if kept.exists() else None
    contents = _contents(model, precision, calibration, gallery)
    found = compare(model, contents, images, progress=progress)
    for parity in found.values():
        if faults := parity.faults():
            raise ExportError(
                f"{out} was not written: ONNX Runtime, {parity.precision}, does not answer as PyTorch does on "
                f"{parity.images} images ({'; '.join(faults)})."
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    for file in (out, parity_file(out), gallery_file(out)):
        remove_leftovers(file.parent, file.name)
    if gallery is not None:
        write_atomically(gallery_file(out), kept.read_bytes())
    write_atomically(out, contents[precision])
    write_json(parity_file(out), _figures(precision, found))
    return found


def _contents(
    model: TrainedModel, precision: Precision, calibration: Sequence[Image], gallery: Gallery | None
) -> dict[Precision, bytes]:
    """Return the bytes of the float32 file, and of that of another precision where one is asked for.

    Raises:
        ExportError: the model cannot be expressed, or int8 lacks images to read ranges from.
    """
    if precision == "int8" and not calibration:
        raise ExportError("int8 needs photographs to read the activations' ranges from; give some by --calibration.")
    proto = to_onnx(model)
    inside = backbone_nodes(proto, Answers(model.network))  # by notes that a finished file lacks
    contents: dict[Precision, bytes] = {"fp32": finished(proto, model, "fp32", gallery)}
    if precision == "fp16":
        contents["fp16"] = finished(to_fp16(proto, inside), model, "fp16", gallery)
    elif precision == "int8":
        photos = (np.asarray(photograph(image, model.source_size)) for image in calibration)
        contents["int8"] = finished(to_int8(proto, inside, photos), model, "int8", gallery)
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
    """Return where the figures of a comparison stand: ``model.parity.json`` beside ``model.onnx``."""
    return out.with_name(f"{out.stem}.parity.json")


def gallery_file(out: Path) -> Path:
    """Return where a file's gallery lies: ``model.gallery.npz`` beside ``model.onnx``."""
    return out.with_name(f"{out.stem}.{FILE}")


def require_packages() -> None:
    """Check that what exporting needs is installed.

    Raises:
        ExportError: it is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ExportError(f"exporting needs {', '.join(missing)}: pip install 'tlaam[export]'.")


def to_onnx(model: TrainedModel) -> onnx.ModelProto:
    """Return a model as an ONNX graph, not yet `finished`; inputs and outputs as of `PhotoModel.forward`.

    Raises:
        ExportError: the model needs what a graph cannot express.
    """
    import onnx

    _require_no_gradients(model)
    size = model.source_size
    canvases, scale = torch.zeros(2, 3, size, size, dtype=torch.uint8), torch.ones(4)
    answers = Answers(model.network).eval()
    with torch.no_grad():
        names = list(answers(canvases, scale))
    back = _traced(answers, (canvases, scale), ("canvases", "scale"), names, ({0: _BATCH}, None))
    # Prefixed, since both count their values from 0.
    onnx.compose.add_prefix(back, "answers/", rename_inputs=False, rename_outputs=False, inplace=True)
    proto = onnx.compose.merge_models(_canvas_graph(size), back, [(name, name) for name in ("canvases", "scale")])
    del proto.opset_import[1:]  # merging names the one operator set twice
    return proto


@cache
def _canvas_graph(size: int) -> onnx.ModelProto:
    """Return the graph of `Canvas`, for itself: where height and width are free, tracing takes long."""
    free = {0: _BATCH, 1: torch.export.Dim("height", min=1, max=65535), 2: torch.export.Dim("width", min=1, max=65535)}
    photos = torch.zeros(2, size, size + 8, 3, dtype=torch.uint8)
    return _traced(Canvas(size).eval(), (photos,), (INPUT,), ("canvases", "scale"), (free,))


def _traced(
    module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], free: Any
) -> onnx.ModelProto:
    """Return the graph of a module, with names for its inputs and outputs; `free` says which axes are.

    Raises:
        ExportError: it has none.
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
                verbose=False,
            )
    except Exception as error:  # the exporter passes on whatever stopped it
        fault = " ".join(str(error).split())[-200:]
        raise ExportError(
            f"this model cannot be expressed as an ONNX graph: {type(error).__name__}: {fault}"
        ) from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    if not proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param:  # the exporter would pass that over
        raise ExportError("this model cannot be expressed as an ONNX graph: it fixes the number of images in a batch.")
    return proto


def finished(
    proto: onnx.ModelProto, model: TrainedModel, precision: Precision, gallery: Gallery | None = None
) -> bytes:
    """Return the bytes of the file: the graph with what it says of itself, and without the makers' notes and leftovers.

    Notes are longer than some graphs, and hold paths of this machine; leftovers are constants that no node reads, of
    each of which ONNX Runtime warns whoever loads the file.

    Raises:
        ExportError: it would be too large for one file.
    """
    import onnx

    _drop_unread(proto.graph)
    for node in proto.graph.node:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for inner in attribute.g.node:
                del inner.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:], proto.opset_import[1:]
    proto.opset_import[0].CopyFrom(onnx.helper.make_opsetid("", OPSET))  # all that the nodes use
    proto.producer_name, proto.producer_version = "tlaam", __version__
    del proto.metadata_props[:]
    facts = metadata(model, precision, gallery)
    onnx.helper.set_model_props(proto, facts)
    if proto.ByteSize() > _LARGEST:
        raise ExportError(f"the model takes {proto.ByteSize():,} bytes; one ONNX file holds at most {_LARGEST:,}.")
    onnx.helper.set_model_props(proto, {**facts, CHECKSUM: checksum(proto.SerializeToString())})
    return bytes(proto.SerializeToString())


def _drop_unread(graph: onnx.GraphProto) -> set[str]:
    """Remove constants that no node of the graph, or of the graphs within its nodes, reads; return what is read."""
    read = {output.name for output in graph.output}
    for node in graph.node:
        read.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read |= _drop_unread(attribute.g)
    kept = [constant for constant in graph.initializer if constant.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return read


def metadata(model: TrainedModel, precision: Precision, gallery: Gallery | None = None) -> dict[str, str]:
    """Return what the file says of itself: texts by name, of which all but version, precision and gallery are JSON."""
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
        },
        "model": model.config.model_dump(mode="json"),
    }
    texts = {"tlaam_version": __version__, "precision": precision}
    if gallery is not None:
        texts["gallery"] = gallery.digest
        if (judge := gallery.judge.to_text()) is not None:
            texts["familiarity"] = judge
    return {**texts, **{name: json.dumps(value) for name, value in facts.items()}}


def _require_no_gradients(model: TrainedModel) -> None:
    localizer = model.network.localizer if isinstance(model.network, TLAAM) else None
    if localizer is not None and localizer.needs_gradient and localizer.layer is not None:
        raise ExportError(
            f"localizer={model.config.localizer} with heatmap_layer={localizer.layer} differentiates the scores, which "
            "an ONNX graph cannot; train without heatmap_layer, where the closed form needs no gradient."
        )
