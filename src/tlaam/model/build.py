"""From settings to a model: the one place where configuration meets architecture."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from tlaam.config import ModelConfig
from tlaam.errors import ModelError
from tlaam.model import racnn
from tlaam.model.aolm import AOLM
from tlaam.model.appm import APPM, VEHICLE_COUNTS, VEHICLE_WINDOWS
from tlaam.model.architecture import Architecture
from tlaam.model.attention import LCAM, SE, MakesAttention, insert_channel_attention
from tlaam.model.backbone import Backbone, probe_shape, pyramid_channels
from tlaam.model.cam import CAM, GradCAM, GradCAMPlusPlus
from tlaam.model.fixed_box import FIXED_BOXES, FixedBox
from tlaam.model.foreground import Foreground
from tlaam.model.heatmaps import LinearHead
from tlaam.model.localizer import Localizer
from tlaam.model.macnn import MACNN
from tlaam.model.network import TLAAM
from tlaam.model.norm import fix_statistics, split_statistics
from tlaam.model.oaam import OAAM
from tlaam.model.parts import MPALM, PartProposer
from tlaam.model.pretrained import load_pretrained as load_weights
from tlaam.model.random_windows import RandomWindows
from tlaam.model.scda import SCDA
from tlaam.model.tasn import TASN


def build_model(config: ModelConfig, num_classes: int, *, load_pretrained: bool = True) -> Architecture:
    """Build the network that settings describe.

    Args:
        config: resolved settings; `backbone` and `image_size` are needed, `part_size` is half the input by itself.
        num_classes: C.
        load_pretrained: start from `config.pretrained`'s weights; False leaves random ones, to be overwritten.

    Raises:
        ModelError: the backbone is unknown, does not fit the sizes, or its weights cannot be had.
    """
    if config.backbone is None or config.image_size is None:
        raise ModelError("backbone and image_size must be given; tlaam.defaults.resolve chooses them for a machine.")
    name, size = config.backbone, config.image_size

    def make_backbone() -> Backbone:
        return _backbone(config, name, size, load_pretrained)

    if config.architecture == "tlaam":
        network: Architecture = _tlaam(config, make_backbone(), size, num_classes)
    else:
        options: dict[str, Any] = {"image_size": size, "drop": config.drop_rate}
        if config.architecture == "racnn":
            scales = [make_backbone() for _ in range(racnn.SCALES)]
            channels, height, width = probe_shape(scales[0], size)
            proposals = [racnn.AttentionProposal(channels, (height, width)) for _ in scales[1:]]
            network = racnn.RACNN(scales, proposals, num_classes, **options)
        elif config.architecture == "macnn":
            network = MACNN(make_backbone(), num_classes, **options)
        else:
            network = TASN(make_backbone(), make_backbone(), num_classes, **options)
        for module in network.modules():
            if isinstance(module, LinearHead):
                _initialise(module)
    return network


def _initialise(classifier: LinearHead) -> LinearHead:
    nn.init.trunc_normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
    return classifier


def _backbone(config: ModelConfig, name: str, image_size: int, load_pretrained: bool) -> Backbone:
    backbone = Backbone(name, image_size)
    if load_pretrained:
        load_weights(backbone, config.pretrained)
    if config.norm_statistics == "pretrained":
        fix_statistics(backbone.network)
    elif config.norm_statistics == "own" and (config.localizer != "none" or config.parts != "none"):
        split_statistics(backbone.network, views=3)
    if config.attention != "none":
        insert_channel_attention(backbone.network, image_size, _attention(config), stages=config.attention_stages)
    return backbone


def _tlaam(config: ModelConfig, backbone: Backbone, image_size: int, num_classes: int) -> TLAAM:
    part_size = config.part_size or image_size // 2
    # A backbone that cannot do what is asked says so now, not in the third epoch.
    channels, height, width = probe_shape(backbone, image_size, config.heatmap_layer)
    if config.parts != "none":
        probe_shape(backbone, part_size)
    if config.parts == "mpalm":
        most = min(channels, height * width) if config.part_distinct else channels
        if config.part_channels > most:
            raise ModelError(f"part_channels is {config.part_channels}; with this backbone and input at most {most}.")
    return TLAAM(
        backbone,
        _initialise(LinearHead(channels, num_classes, drop=config.drop_rate)),
        _localizer(config, backbone, image_size),
        _parts(config),
        image_size=image_size,
        part_size=part_size,
        box_margin=config.box_margin,
    )


def _localizer(config: ModelConfig, backbone: Backbone, image_size: int) -> Localizer | None:
    name, layer, zoom_steps = config.localizer, config.heatmap_layer, config.zoom_steps
    if name == "none":
        return None
    if name in FIXED_BOXES:
        return FixedBox(FIXED_BOXES[name], zoom_steps=zoom_steps)
    if name == "scda":
        return SCDA(zoom_steps)
    if name == "aolm":
        return AOLM(backbone.earlier_block(), zoom_steps=zoom_steps)
    # What is left to the localiser keeps the default that stands where it is defined.
    given: dict[str, Any] = {"threshold": config.threshold, "upsample": config.heatmap_upsample}
    given = {option: value for option, value in given.items() if value is not None}
    if name == "foreground":
        return Foreground(pyramid_channels(backbone, image_size), zoom_steps=zoom_steps, **given)
    if name == "cam":
        return CAM(zoom_steps=zoom_steps, **given)
    if name == "gradcam":
        return GradCAM(layer, zoom_steps=zoom_steps, **given)
    if name == "gradcam++":
        return GradCAMPlusPlus(layer, zoom_steps=zoom_steps, **given)
    return OAAM(layer, rule=config.threshold_rule, zoom_steps=zoom_steps, **given)


def _parts(config: ModelConfig) -> PartProposer | None:
    if config.parts == "none":
        return None
    if config.parts == "appm":
        return APPM()
    if config.parts == "appm_vehicles":
        return APPM(VEHICLE_WINDOWS, VEHICLE_COUNTS)
    if config.parts == "random":
        return RandomWindows(config.part_channels, config.part_windows)
    return MPALM(config.part_channels, config.part_windows, config.part_response, config.part_distinct)


def _attention(config: ModelConfig) -> MakesAttention:
    if config.attention == "se":
        return partial(SE, gate=config.attention_gate)
    shared = config.attention == "eca"
    return partial(LCAM, kernel=config.attention_kernel, shared=shared, gate=config.attention_gate)


def default_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
