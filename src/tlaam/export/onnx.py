"""Writing a trained model as one ONNX file, once ONNX Runtime has answered from it as PyTorch does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tlaam import __version__
from tlaam.atomic import write_atomically, write_json
from tlaam.data.sample import Sample
from tlaam.errors import ExportError
from tlaam.export.graph import PhotoModel
from tlaam.export.parity import Parity, compare
from tlaam.model.network import TLAAM
from tlaam.model.store import TrainedModel, load_model

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
INPUT = "photos"
_LARGEST = 2**31 - 1  # bytes of one protobuf message


def export_onnx(
    run: Path | str,
    out: Path | str,
    images: Sequence[str | Path | Sample],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Parity:
    """Write the model of a run as one ONNX file, from uint8 photographs to boxes in their pixels.

    The figures by which the file was judged are written beside it, ``model.parity.json`` for ``model.onnx``.

    Args:
        run: a run folder.
        out: the file; one that is there is replaced, if the new one is good.
        images: image files, or samples of a data set, on which ONNX Runtime and PyTorch have to agree.
        progress: told how many images of how many have been compared.

    Returns:
        The comparison.

    Raises:
        ExportError: a package is missing, the model cannot be expressed, or the file would not answer as the model
            does; then nothing is written.
        DataError: an image cannot be read.
        ModelError: the run holds no usable model.
    """
    require_packages()
    out = Path(out)
    model = load_model(run, "cpu")
    content = to_onnx(model)
    parity = compare(model, content, images, progress=progress)
    if faults := parity.faults():
        raise ExportError(
            f"{out} was not written: ONNX Runtime does not answer as PyTorch does on {parity.images} images "
            f"({'; '.join(faults)})."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    write_json(parity_file(out), parity.to_dict())
    return parity


def parity_file(out: Path) -> Path:
    """Return where the figures of a comparison stand: ``model.parity.json`` beside ``model.onnx``."""
    return out.with_name(f"{out.stem}.parity.json")


def require_packages() -> None:
    """Check that what exporting needs is installed.

    Raises:
        ExportError: it is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ExportError(f"exporting needs {', '.join(missing)}: pip install 'tlaam[export]'.")


def to_onnx(model: TrainedModel) -> bytes:
    """Return a model as the bytes of an ONNX file; inputs and outputs as of `PhotoModel.forward`.

    Raises:
        ExportError: the model needs what a graph cannot express.
    """
    _require_no_gradients(model)
    import onnx

    module = PhotoModel(model.network, model.source_size).eval()
    example = torch.zeros(2, model.source_size, model.source_size + 8, 3, dtype=torch.uint8)
    free = {axis: torch.export.Dim(name, min=1, max=65535) for axis, name in enumerate(("batch", "height", "width"))}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = list(module(example))
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes={INPUT: free},
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
    if proto.ByteSize() > _LARGEST:
        raise ExportError(f"the model takes {proto.ByteSize():,} bytes; one ONNX file holds at most {_LARGEST:,}.")
    proto.producer_name, proto.producer_version = "tlaam", __version__
    onnx.helper.set_model_props(proto, metadata(model))
    return bytes(proto.SerializeToString())


def metadata(model: TrainedModel) -> dict[str, str]:
    """Return what the file says of itself: texts by name, of which all but the version are JSON."""
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
    return {"tlaam_version": __version__, **{name: json.dumps(value) for name, value in facts.items()}}


def _require_no_gradients(model: TrainedModel) -> None:
    localizer = model.network.localizer if isinstance(model.network, TLAAM) else None
    if localizer is not None and localizer.needs_gradient and localizer.layer is not None:
        raise ExportError(
            f"localizer={model.config.localizer} with heatmap_layer={localizer.layer} differentiates the scores, which "
            "an ONNX graph cannot; train without heatmap_layer, where the closed form needs no gradient."
        )
