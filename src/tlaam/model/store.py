"""A trained model on disk: ``model.safetensors`` and ``config.json``, written atomically, read without running code."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from tlaam import __version__
from tlaam.atomic import write_atomically, write_json
from tlaam.config import Config, ModelConfig
from tlaam.errors import ConfigError, ModelError
from tlaam.gallery import Gallery
from tlaam.inference import asked_in, best_precision, compile_for_answers, infer, prepared
from tlaam.model.architecture import Architecture
from tlaam.model.backbone import parameter_count
from tlaam.model.build import build_model, default_device
from tlaam.model.output import TLAAMOutput
from tlaam.reading import read_text, require_regular
from tlaam.registry import KINDS, find, not_registered, origins
from tlaam.runtime.answers import Answers, Floats, Precision
from tlaam.sealed import ENTRY, is_intact, sealed

WEIGHTS, DESCRIPTION = "model.safetensors", "config.json"
FORMAT = 1
_CHECKSUM = "weights_sha256"
_LARGE = 500_000_000
"""Most parameters of a network that is built without asking whether the weights can be its own: 2 GB."""


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to answer.

    Attributes:
        network: in evaluation mode.
        config: the settings it was built from.
        classes: class names, by index.
        source_size: side of the canvas that its images are brought to.
        precision: the arithmetic it answers in.
        batch_size: the only number of canvases that the network takes; None where any number will do.
        gallery: of what it learnt from; None where it came without one.
    """

    network: Architecture
    config: ModelConfig
    classes: tuple[str, ...]
    source_size: int
    precision: Precision = "32-true"
    batch_size: int | None = None
    gallery: Gallery | None = None

    def ready(self, device: torch.device | str | None = None, precision: Precision | None = None) -> TrainedModel:
        """Return a copy that answers fast (`tlaam.inference.prepared`) and is not to be trained.

        Args:
            device: by itself the GPU where there is one.
            precision: by itself what is fastest there (`tlaam.inference.best_precision`).
        """
        device = device or default_device()
        precision = precision or best_precision(device)
        return replace(self, network=prepared(self.network, device, precision), precision=precision)

    def compiled(self, batch_size: int) -> TrainedModel:
        """Return it compiled for batches of up to this size (`tlaam.inference.compile_for_answers`).

        It must be `ready`, and compiles at its first answer, for minutes.
        """
        compile_for_answers(self.network)
        return replace(self, batch_size=batch_size)

    def answer(self, canvases: NDArray[np.uint8]) -> Answers:
        """Answer for uint8 RGB canvases ``(B, 3, P, P)``."""
        rows = len(canvases)
        if self.batch_size is not None and rows < self.batch_size:
            canvases = np.concatenate([canvases, canvases[-1:].repeat(self.batch_size - rows, axis=0)])
        with asked_in(self.network.mean.device, self.precision):
            output = infer(self.network, torch.from_numpy(canvases))
        asked: dict[str, Any] = {name: x if x is None else x[:rows] for name, x in output._asdict().items()}
        output = TLAAMOutput(**asked)
        heatmaps, objects, parts, embeddings = (
            None if field is None else _floats(field)
            for field in (output.heatmaps, output.object_boxes, output.part_boxes, output.embeddings)
        )
        branches = {name: _floats(values) for name, values in output.branch_probabilities().items()}
        return Answers(branches, heatmaps, objects, parts, embeddings)


def save_model(folder: Path, model: Architecture, config: ModelConfig, classes: Sequence[str]) -> None:
    """Write weights and description into a folder, the description last, so that its presence means a whole model.

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
        "preprocessing": {
            "resize": "squash to source_size × source_size, bilinear, antialiased",
            "source_size": config.source_size,
            "image_size": config.image_size,
            "mean": list(model.backbone.mean),
            "std": list(model.backbone.std),
        },
        "versions": {"tlaam": __version__, "torch": version("torch"), "timm": version("timm")},
        _CHECKSUM: hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(folder / WEIGHTS, weights)
    write_json(folder / DESCRIPTION, sealed(description))


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a model from a run folder (or any folder that `save_model` wrote).

    Raises:
        ModelError: there is no model, or it is damaged or of an unknown format, or names a module that is not
            registered here. Nothing that its files name is imported.
    """
    folder = Path(folder)
    description = _read_description(folder)
    _require_registered(folder, description)
    try:
        # Models written before views had statistics of their own do not say that they share them.
        config = Config.from_nested({"model": {"norm_statistics": "shared", **description["model"]}}).model
        if config.source_size is None:
            raise TypeError("source_size is missing")
        classes = _classes(description)
    except (ConfigError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / DESCRIPTION} does not describe a model of this version: {error}") from error
    _require_of_size(folder, config)
    try:
        network = build_model(config, len(classes), load_pretrained=False)
    except (ConfigError, ModelError) as error:
        raise ModelError(f"{folder / DESCRIPTION} describes a model that cannot be built: {error}") from error
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:  # settings no run wrote
        raise ModelError(f"{folder / DESCRIPTION} describes a model that cannot be built: {error!r:.200}") from error
    try:
        require_regular(folder / WEIGHTS)
        network.load_state_dict(load_file(folder / WEIGHTS))
        _require_checksum(folder, description)  # of what is well-formed: it takes time by the file's size
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
    return TrainedModel(network.eval().to(device), config, classes, config.source_size)


def require_intact(folder: Path) -> None:
    """Check, without building it, that a model is there and as `save_model` wrote it.

    Raises:
        ModelError: it is missing or damaged.
    """
    description = _read_description(folder)
    try:
        _require_checksum(folder, description)
    except OSError as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {error.strerror}.") from error


def _require_checksum(folder: Path, description: dict[str, Any]) -> None:
    """Refuse weights that are not those of the description, which would answer too; old descriptions do not say."""
    if _CHECKSUM not in description:
        return
    digest = hashlib.sha256()
    with (folder / WEIGHTS).open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    if digest.hexdigest() != description[_CHECKSUM]:
        raise ModelError(
            f"{folder / WEIGHTS} is damaged or of another model: its checksum is not the one in {DESCRIPTION}. Copy "
            f"the model anew; a run that was stopped while it wrote it is mended by tlaam train --resume {folder}."
        )


def _require_of_size(folder: Path, config: ModelConfig) -> None:
    """Refuse a description of a network far larger than its weights, before memory is taken for it."""
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
        return  # what is wrong is said where the network is built or its weights are read
    if described > max(_LARGE, 2 * held):
        raise ModelError(
            f"{folder / WEIGHTS} is of another model: it holds {held:,} numbers, and the backbone "
            f"'{config.backbone}' that {DESCRIPTION} names has {described:,}."
        )


def _classes(description: dict[str, Any]) -> tuple[str, ...]:
    classes = description["classes"]
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise TypeError("classes must be a list of names")
    if len(set(classes)) < len(classes):
        raise TypeError("a class is named twice")
    return tuple(classes)


def _floats(values: Tensor) -> Floats:
    return values.double().cpu().numpy()  # type: ignore[no-any-return]


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads(read_text(folder / DESCRIPTION))
    except FileNotFoundError as error:
        begun = (folder / "config.yaml").exists()  # a run's settings are written as it begins
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
            f"{folder / DESCRIPTION} is damaged or was altered: its checksum does not fit. Copy the model anew; where "
            f"it was altered on purpose, remove the entry '{ENTRY}' from it."
        )
    return description


def _require_registered(folder: Path, description: dict[str, Any]) -> None:
    """Refuse a model of a module that only its maker's machine or process knew, and say what brings it."""
    model, brought = description.get("model"), description.get("registered_by")
    if not isinstance(model, dict):
        return
    for kind in KINDS:
        name = model.get(kind, "none")
        if isinstance(name, str) and name != "none" and find(kind, name) is None:
            origin = brought.get(kind) if isinstance(brought, dict) else None
            raise ModelError(f"{folder / DESCRIPTION}: {not_registered(kind, name, str(origin or ''))}")
