"""Build a model from settings and the modules in `tlaam.config.registry`; no network itself knows the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isclass
from typing import Any

import torch

from tlaam.config.registry import Kind, find, maker
from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.architecture import Architecture
from tlaam.models.attention.insertion import insert_channel_attention
from tlaam.models.backbone import Backbone, probe_shape
from tlaam.models.heatmaps import LinearHead, start_small
from tlaam.models.joint import JointHead
from tlaam.models.localizers.base import Localizer
from tlaam.models.network import TLAAM
from tlaam.models.norm import fix_statistics, split_statistics
from tlaam.models.parts.base import PartProposer
from tlaam.models.pretrained import load_pretrained as load_weights


def build_model(config: ModelConfig, num_classes: int, *, load_pretrained: bool = True) -> Architecture:
    """Build the network that the settings describe.

    Args:
        config: resolved settings; `backbone` and `image_size` are required, `part_size` is half the input by default.
        num_classes: C.
        load_pretrained: start from the weights of `config.pretrained`; False leaves random ones, to be overwritten.

    Raises:
        ModelError: the backbone is unknown, does not fit the sizes, or its weights are not available; or a module named
            in the settings is not registered.

    Examples:
        >>> config = tlaam.ModelConfig(backbone="test_resnet", pretrained="none", image_size=64, source_size=96)
        >>> build_model(config, 3).eval()(torch.zeros(2, 3, 96, 96)).probabilities.shape
        torch.Size([2, 3])
    """
    if config.backbone is None or config.image_size is None:
        raise ModelError(
            "backbone and image_size must be given; tlaam.config.defaults.resolve chooses them for a machine."
        )
    make_backbone = partial(_backbone, config, config.backbone, config.image_size, load_pretrained)
    network: Architecture = _made("architecture", config.architecture, config, make_backbone, num_classes)
    return network


def make_tlaam(config: ModelConfig, make_backbone: Callable[[], Backbone], classes: int) -> TLAAM:
    """Create a `TLAAM` from settings, with the localiser and part proposer that they name."""
    backbone = make_backbone()
    size = backbone.image_size
    raw_size = raw_side(size, config.raw_scale or 1.0)
    part_size = config.part_size or size // 2
    # A backbone that cannot do what is asked should fail now, not in the third epoch.
    channels, _, _ = probe_shape(backbone, size, config.heatmap_layer)
    if raw_size != size:
        try:
            probe_shape(backbone, raw_size)
        except ModelError as error:
            raise ModelError(f"{error} Raw images are shown to it at that size: give raw_scale 1.") from error
    if config.parts != "none":
        try:
            probe_shape(backbone, part_size)
        except ModelError as error:
            raise ModelError(f"{error} Parts are shown to it at that size: give part_size {size}.") from error
    classifier = start_small(LinearHead(channels, classes, drop=config.drop_rate))
    localizer: Localizer | None = None
    if config.localizer != "none":
        # Unresolved settings leave the localiser open; OAAM is the one that needs no pretrained weights.
        config = config.model_copy(update={"localizer": config.localizer or "oaam"})
        localizer = _made("localizer", str(config.localizer), config, backbone)
    parts: PartProposer | None = None
    if config.parts != "none":
        parts = _made("parts", config.parts, config, backbone)
    return TLAAM(
        backbone,
        classifier,
        localizer,
        parts,
        image_size=size,
        part_size=part_size,
        raw_size=raw_size,
        box_margin=config.box_margin,
        joint=JointHead(channels, 1 + (localizer is not None) + (parts is not None), classes)
        if config.fusion == "joint"
        else None,
    )


def raw_side(image_size: int, scale: float) -> int:
    """Return the side of the raw image in pixels: a multiple of 32, unless it is the object image's own.

    Examples:
        >>> raw_side(224, 9 / 7), raw_side(100, 1.0)
        (288, 100)
    """
    return image_size if scale == 1 else max(32, round(image_size * scale / 32) * 32)


def _backbone(config: ModelConfig, name: str, image_size: int, load_pretrained: bool) -> Backbone:
    backbone = Backbone(name, image_size)
    if load_pretrained:
        load_weights(backbone, config.pretrained)
    if config.norm_statistics == "pretrained":
        fix_statistics(backbone.network)
    elif config.norm_statistics in (None, "own") and (config.localizer != "none" or config.parts != "none"):
        split_statistics(backbone.network, views=3)
    if config.attention != "none":
        make = partial(_made, "attention", config.attention, config)
        insert_channel_attention(backbone.network, image_size, make, stages=config.attention_stages)
    return backbone


_MAKERS = {"architecture": "from_backbones", "localizer": "for_backbone", "parts": "for_backbone"}
"""Class methods that receive a backbone, or a function that creates one."""


def _made(kind: Kind, name: str, config: ModelConfig, *context: Any, **further: Any) -> Any:
    """Create the module that is registered under a name.

    Args:
        kind, name: kind and name of the registration.
        config: the settings that its arguments come from.
        context: further input: the backbone; or a function that creates one, and the number of classes; or the number
            of channels.
        further: arguments that are not settings.
    """
    make, registered = maker(kind, name), find(kind, name)
    assert registered is not None
    if registered.settings is None and not isclass(make):
        return make(config, *context, **further)
    arguments = {**registered.arguments, **further}
    for argument, option in (registered.settings or {}).items():
        value = getattr(config, option)
        value = registered.defaults.get(option) if value is None else value
        if value is not None:  # otherwise the argument's own default applies
            arguments[argument] = value
    if (with_context := getattr(make, _MAKERS.get(kind, ""), None)) is not None:
        return with_context(*context, **arguments)
    return make(*context, **arguments) if kind in ("architecture", "attention") else make(**arguments)


def memory_format(device: torch.device | str) -> torch.memory_format:
    """Return the memory format in which convolutions are computed fastest, and correctly, on a device.

    On MPS, the gradients of batch normalisation were wrong for channels-last tensors (PyTorch issue 175189).
    """
    return torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last


def default_device() -> torch.device:
    """Return the CUDA GPU if there is one, else the CPU; MPS is untested and must be requested by name."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
