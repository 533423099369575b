"""Chooses the settings that were left open, from the data and the machine."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from tlaam.config.backbones import WITH_GPU, WITH_GPU_SIZE, WITHOUT_GPU
from tlaam.config.learning import learning
from tlaam.config.registry import find
from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.data.sample import LabelledImages
from tlaam.data.skew import is_skewed
from tlaam.utils.work_sharing import started_by_torchrun

_T = TypeVar("_T")

FINDER_SCALE = 9 / 7
"""Side of the raw image, in sides of the object image, at which the foreground head finds objects: 288 for 224 pixels
(benchmarks/results/finder-cub10.json)."""
_TINY = 64
"""Number of training images below which loader processes cost more than they save."""


def resolve(config: Config, images: LabelledImages, *, started: bool = False) -> Config:
    """Return the settings with each `None` that depends on data or machine replaced by a value.

    The number of images per step and the number of processes that load them may stay open; they are measured
    (`tlaam.training.batch_size`, `tlaam.training.workers`). Settings that follow from the architecture alone (heat-map
    layer, and the attention's neighbourhood and stages) stay `None`.

    A `raw_epochs` that would leave no epoch for the object level becomes half of the epochs.

    Args:
        config: the settings.
        images: the data.
        started: whether the run starts from a trained model, whose model settings are those of `config`.

    Raises:
        ConfigError: a chosen value does not fit a given one, e.g. a source_size below the default image_size.
    """
    config = resolve_machine(config)
    count = len(images.split("train"))
    training = config.training
    probed = training.probe_first
    if probed is None:
        knows = started or config.model.pretrained != "none"
        probed = training.epochs == 0 or (config.model.architecture == "tlaam" and knows)
    epochs = training.epochs
    if epochs is None:
        epochs = default_epochs(count, gpu=_uses_gpu(training.accelerator), probed=probed)
    values: dict[str, Any] = {"epochs": epochs, "probe_first": probed}
    if config.model.fusion is None:
        values["fusion"] = "joint" if probed else "mean"
    statistics = config.model.norm_statistics
    if statistics is None:
        statistics = "pretrained" if probed and config.model.pretrained != "none" else "own"
    if epochs == 0 and not started:
        statistics = "shared"  # nothing changes them, so three copies would be identical
    values["norm_statistics"] = statistics
    if config.model.raw_scale is None:
        values["raw_scale"] = FINDER_SCALE if config.model.localizer == "foreground" else 1.0
    if training.balance == "auto":
        values["balance"] = "logits" if is_skewed(sample.label for sample in images.split("train")) else "none"
    open_ones = learning(config.model.backbone or "", training.optimizer, probed=probed)
    if training.strategy == "fsdp":
        open_ones["start_share"] = 0.0  # blending needs whole weights
    if config.model.localizer != "foreground" or epochs == 0:
        open_ones["paste"] = 0.0  # there are no pseudo masks to cut by, or nothing is trained
    values |= {name: value for name, value in open_ones.items() if getattr(training, name) is None}
    values["classifier_lr"] = training.classifier_lr
    if training.classifier_lr is None:
        values["classifier_lr"] = values.get("lr", training.lr)
    raw_epochs = open_ones["raw_epochs"] if training.raw_epochs is None else training.raw_epochs
    values["raw_epochs"] = epochs // 2 if raw_epochs >= epochs else raw_epochs
    if training.workers is None and count < _TINY:
        values["workers"] = 0  # starting processes would take longer
    return config.with_options(**values)


def resolved(value: _T | None) -> _T:
    """Return a setting from resolved settings, in which no value is None.

    Raises:
        ValueError: the setting is still open.
    """
    if value is None:
        raise ValueError("the settings must be resolved first (tlaam.config.defaults.resolve)")
    return value


def resolve_machine(config: Config) -> Config:
    """Return the settings with values for everything that does not depend on the data.

    Raises:
        ConfigError: see `resolve`.
    """
    model, training = config.model, config.training
    gpu, started = _uses_gpu(training.accelerator), started_by_torchrun()
    accelerator = _accelerator(gpu) if training.accelerator == "auto" else training.accelerator
    backbone = model.backbone or (WITH_GPU if gpu else WITHOUT_GPU)
    image_size = model.image_size or _default_size(backbone, gpu)
    # Pseudo masks come from pretrained features; random features do not show objects.
    localizer = model.localizer or ("oaam" if model.pretrained == "none" else "foreground")
    if model.architecture != "tlaam":
        localizer = "none"
    return config.with_options(
        **_of_localizer(model, localizer),
        backbone=backbone,
        image_size=image_size,
        source_size=model.source_size or 2 * image_size,
        part_size=model.part_size or max(16, round(image_size / 32) * 16),
        localizer=localizer,
        accelerator=accelerator,
        precision=training.precision or _precision(gpu, accelerator),
        devices=_devices(gpu) if training.devices == "auto" else training.devices,
        nodes=started[1] if started and training.nodes == 1 else training.nodes,
    )


def _default_size(backbone: str, gpu: bool) -> int:
    if not gpu:
        return 224
    return WITH_GPU_SIZE if backbone == WITH_GPU else 448


def _of_localizer(model: ModelConfig, localizer: str) -> dict[str, Any]:
    """Return the localiser's defaults for the options that were left open."""
    registered = find("localizer", localizer)
    defaults = registered.defaults if registered is not None else {}
    return {name: value for name, value in defaults.items() if getattr(model, name) is None}


def default_epochs(images: int, *, gpu: bool, probed: bool) -> int:
    """Return how many epochs are enough for fine-tuning.

    After a probe: 10, or for few images as many as show 1600 images. Otherwise: 6000 images' worth, between 8 and 60
    epochs, and at least 30 on a GPU. Never more than 60.

    Examples:
        >>> default_epochs(300, gpu=False, probed=True), default_epochs(300, gpu=False, probed=False)
        (10, 20)
    """
    if probed:
        return min(max(math.ceil(1600 / max(images, 1)), 10), 60)
    return min(max(round(6000 / max(images, 1)), 30 if gpu else 8), 60)


def _uses_gpu(accelerator: str) -> bool:
    if accelerator in ("cpu", "mps"):
        return False
    import torch

    return torch.cuda.is_available()


def _accelerator(gpu: bool) -> str:
    """Return the accelerator for "auto". Lightning might pick one that the defaults are not meant for."""
    import torch

    if gpu:
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _precision(gpu: bool, accelerator: str) -> str:
    import torch

    if accelerator == "mps":  # its autocast supports bfloat16 since macOS 14
        mps = torch.backends.mps
        return "bf16-mixed" if mps.is_available() and mps.is_macos_or_newer(14, 0) else "32-true"
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def _devices(gpu: bool) -> str:
    import torch

    if started := started_by_torchrun():
        return str(started[0])
    return str(torch.cuda.device_count()) if gpu else "1"
