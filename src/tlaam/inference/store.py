"""A trained model on disk: ``model.safetensors`` and ``config.json``, written atomically, read without running code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from tlaam._version import __version__
from tlaam.config.registry import KINDS, find, not_registered, origins
from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.data.depth import LEGACY, Depth
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.pytorch import TorchModel
from tlaam.models.architecture import Architecture
from tlaam.models.build import build_model
from tlaam.models.timm_network import parameter_count
from tlaam.utils.atomic import write_atomically, write_json
from tlaam.utils.checksums import ENTRY, checksum, file_checksum, is_intact, with_checksum
from tlaam.utils.reading import read_text, require_regular

WEIGHTS, DESCRIPTION = "model.safetensors", "config.json"
FORMAT = 1
_CHECKSUM = "weights_sha256"
_LARGE = 500_000_000
"""Most parameters (2 GB) of a network that is built without checking whether the weights can belong to it."""


def save_model(
    folder: Path,
    model: Architecture,
    config: ModelConfig,
    classes: Sequence[str],
    depth: Depth | None = None,
    *,
    started_from: Mapping[str, str] | None = None,
) -> None:
    """Write weights and description into a folder; the description comes last, so its presence means a whole model.

    Args:
        folder: created if it does not exist.
        model: the network.
        config: the settings that it was built from.
        classes: class names, in index order.
        depth: black and white levels for images of more than 8 bits, those of the training images.
        started_from: name and checksum of the trained model that training started from; None if it did not start from
            one.

    Raises:
        RunError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    weights = save(state, metadata={"format": "pt"})
    description = {
        "format": FORMAT,
        "architecture": type(model).__name__,
        "model": config.model_dump(mode="json"),
        "registered_by": origins(config),
        "classes": list(classes),
        **({} if started_from is None else {"started_from": dict(started_from)}),
        "preprocessing": {
            "resize": "squash to source_size × source_size, bilinear, antialiased",
            "source_size": config.source_size,
            "image_size": config.image_size,
            "mean": list(model.backbone.mean),
            "std": list(model.backbone.std),
            "depth": (depth or Depth()).to_dict(),
        },
        "versions": {"tlaam": __version__, "torch": version("torch"), "timm": version("timm")},
        _CHECKSUM: checksum(weights),
    }
    write_atomically(folder / WEIGHTS, weights)
    write_json(folder / DESCRIPTION, with_checksum(description))


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> TorchModel:
    """Read a model from a run folder, or from any folder that `save_model` wrote.

    Nothing that its files name is imported.

    Raises:
        ModelError: there is no model, it is damaged or of an unknown format, or it names a module that is not
            registered here.
    """
    folder = Path(folder)
    description = _read_description(folder)
    _require_registered(folder, description)
    try:
        # Models written before views had their own statistics do not state that they share them.
        config = Config.from_nested({"model": {"norm_statistics": "shared", **description["model"]}}).model
        if config.source_size is None:
            raise TypeError("source_size is missing")
        classes = _classes(description)
        depth = _depth(description)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / DESCRIPTION} does not describe a model of this version: {error}") from error
    _require_of_size(folder, config)
    try:
        network = build_model(config, len(classes), load_pretrained=False)
    except (ConfigError, ModelError) as error:
        raise ModelError(f"{folder / DESCRIPTION} describes a model that cannot be built: {error}") from error
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:  # settings of no run
        raise ModelError(f"{folder / DESCRIPTION} describes a model that cannot be built: {error!r:.200}") from error
    try:
        require_regular(folder / WEIGHTS)
        network.load_state_dict(load_file(folder / WEIGHTS))
        found = _checked_weights(folder, description)  # only for a well-formed file, because large files take long
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} has no {WEIGHTS}; the run may not have finished (tlaam train --resume {folder})."
        ) from error
    except MemoryError as error:
        raise ModelError(f"{folder / WEIGHTS} needs more memory than there is; is it of this model?") from error
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(
            f"{folder / WEIGHTS} is damaged or of another model: {' '.join(str(error).split())[:200]}"
        ) from error
    return TorchModel(network.eval().to(device), config, classes, config.source_size, checksum=found, depth=depth)


def folder_of(model: Path) -> Path:
    """Return a model's folder if `model` is its weights, ``model.safetensors``; return any other path unchanged."""
    return model.parent if model.is_file() and model.name == WEIGHTS else model


def require_intact(folder: Path) -> None:
    """Check, without building it, that a model exists and is unchanged since `save_model` wrote it.

    Raises:
        ModelError: it is missing or damaged.
    """
    description = _read_description(folder)
    try:
        _checked_weights(folder, description)
    except OSError as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {error.strerror}.") from error


def set_aside(folder: Path) -> str:
    """Rename an altered description before a new one is written; return a message about it.

    The description may have been edited by hand.
    """
    description = folder / DESCRIPTION
    try:
        _read_description(folder)
    except ModelError:
        if description.is_file():
            description.replace(aside := description.with_suffix(".json.altered"))
            return f"; what {DESCRIPTION} held is kept in {aside.name}"
    return ""


def _checked_weights(folder: Path, description: dict[str, Any]) -> str:
    """Return the weights' checksum; refuse weights that do not match the description, although they would load."""
    found = file_checksum(folder / WEIGHTS)
    if description.get(_CHECKSUM, found) != found:  # old descriptions do not state it
        raise ModelError(
            f"{folder / WEIGHTS} is damaged or of another model: its checksum is not the one in {DESCRIPTION}. Copy "
            f"the model anew; a run that was stopped while it wrote it is mended by tlaam train --resume {folder}."
        )
    return found


def _require_of_size(folder: Path, config: ModelConfig) -> None:
    """Refuse a description of a network far larger than its weights before memory is allocated for it."""
    try:
        require_regular(folder / WEIGHTS)
        with safe_open(folder / WEIGHTS, "pt") as weights:
            held = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        described = parameter_count(str(config.backbone), config.image_size or 224)
    except (
        SafetensorError,
        OSError,
        MemoryError,
        ConfigError,
        ModelError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ):
        return  # building the network or reading its weights reports the error
    if described > max(_LARGE, 2 * held):
        raise ModelError(
            f"{folder / WEIGHTS} is of another model: it holds {held:,} numbers, and the backbone "
            f"'{config.backbone}' that {DESCRIPTION} names has {described:,}."
        )


def _depth(description: dict[str, Any]) -> Depth:
    preprocessing = description.get("preprocessing")
    if not isinstance(preprocessing, dict) or "depth" not in preprocessing:
        return LEGACY
    return Depth.from_dict(preprocessing["depth"])


def _classes(description: dict[str, Any]) -> tuple[str, ...]:
    classes = description["classes"]
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise TypeError("classes must be a list of names")
    if len(set(classes)) < len(classes):
        raise TypeError("a class is named twice")
    return tuple(classes)


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads(read_text(folder / DESCRIPTION))
    except FileNotFoundError as error:
        begun = (folder / "config.yaml").exists()  # a run writes its settings when it begins
        remedy = (
            f"finish the run with tlaam train --resume {folder}"
            if begun
            else "give the folder of a run that has finished"
        )
        raise ModelError(f"{folder} holds no trained model ({DESCRIPTION} is missing); {remedy}.") from error
    except NotADirectoryError as error:
        raise ModelError(f"{folder} is a file; give the folder of a run.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / DESCRIPTION} cannot be read: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise ModelError(f"{folder / DESCRIPTION} has format {found}; this version reads format {FORMAT}.")
    if not is_intact(description):
        raise ModelError(
            f"{folder / DESCRIPTION} was altered after it was written, or is damaged: its checksum does not fit. If "
            f"you edited it, set its entry '{ENTRY}' to null to use it as it is; else copy the model anew."
        )
    return description


def _require_registered(folder: Path, description: dict[str, Any]) -> None:
    """Refuse a model with a module that was only registered elsewhere, and say where the module comes from."""
    model, brought = description.get("model"), description.get("registered_by")
    if not isinstance(model, dict):
        return
    for kind in KINDS:
        name = model.get(kind, "none")
        if isinstance(name, str) and name != "none" and find(kind, name) is None:
            origin = brought.get(kind) if isinstance(brought, dict) else None
            raise ModelError(f"{folder / DESCRIPTION}: {not_registered(kind, name, str(origin or ''))}")
