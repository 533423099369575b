"""Insert channel attention into timm networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tlaam.errors import ModelError
from tlaam.models.attention.base import ChannelAttention
from tlaam.models.attention.lcam import LCAM


class MakesAttention(Protocol):
    """Creates a channel attention module for C channels on a given axis of the maps."""

    def __call__(self, channels: int, /, *, channel_dim: int) -> ChannelAttention: ...


class _After(nn.Module):
    """A stage followed by channel attention; further arguments are passed on to the stage."""

    def __init__(self, stage: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.stage, self.attention = stage, attention

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        attended: Tensor = self.attention(self.stage(x, *args, **kwargs))
        return attended

    def __getattr__(self, name: str) -> Any:
        # timm reads attributes of some stages (a Swin stage's feature size, a block's window).
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("stage"), name)


def insert_channel_attention(
    network: nn.Module,
    input_size: int,
    make: MakesAttention = LCAM,
    *,
    stages: Sequence[int] | None = None,
) -> int:
    """Insert channel attention into a timm network, in place, after its pretrained weights are loaded.

    Blocks with timm's slot for channel attention (`se` in ResNet and EfficientNet blocks) get it there, before the
    residual sum. A squeeze-and-excitation module that is already in the slot stays, and the new one follows it.
    Networks without such a slot get it after each stage (ConvNeXt, Swin) or block (ViT).

    Args:
        network: a timm model.
        input_size: side of the images it is built for, in pixels.
        make: creates the module for a number of channels.
        stages: indices of the stages, counted from 0, negative from the last; by default all.

    Returns:
        The number of modules inserted.

    Raises:
        ModelError: the network's stages are not known, or a stage does not exist.
    """
    chain = stages_of(network)
    chosen = range(len(chain)) if stages is None else stages
    inserted = 0
    for index in chosen:
        if not -len(chain) <= index < len(chain):
            raise ModelError(
                f"attention_stages names stage {index}, but this backbone has {len(chain)} (0 to {len(chain) - 1})."
            )
        container, key = chain[index]
        stage = container[key]
        assert stage is not None
        doors = [block for block in stage.modules() if _door_channels(block) is not None]
        for block in doors:
            channels = _door_channels(block)
            assert channels is not None
            attention = make(channels, channel_dim=1)
            block.se = attention if block.se is None else nn.Sequential(block.se, attention)  # type: ignore[assignment,arg-type]
            inserted += 1
        if not doors:
            channels, axis = _output_layout(network, stage, input_size)
            container[key] = _After(stage, make(channels, channel_dim=axis))
            inserted += 1
    return inserted


def stages_of(network: nn.Module) -> list[tuple[dict[str, nn.Module | None], str]]:
    """Return where each stage of a timm network is stored, as (container's children, name), in forward order.

    Raises:
        ModelError: the network's stages are not known.
    """
    for names in (("layer1", "layer2", "layer3", "layer4"), ("s1", "s2", "s3", "s4")):  # ResNet, RegNet
        if all(hasattr(network, name) for name in names):
            return [(network._modules, name) for name in names]
    for name in ("blocks", "stages", "layers"):  # EfficientNet and ViT, ConvNeXt, Swin
        chain = getattr(network, name, None)
        if isinstance(chain, nn.Module) and chain._modules:
            return [(chain._modules, key) for key in chain._modules]
    places = [info["module"].rpartition(".") for info in getattr(network, "feature_info", [])]  # VGG, DenseNet, ...
    modules = dict(network.named_modules())
    if places and all(key and f"{parent}.{key}".lstrip(".") in modules for parent, _, key in places):
        return [(modules[parent]._modules, key) for parent, _, key in places]
    raise _unknown_stages(network)


def _unknown_stages(network: nn.Module) -> ModelError:
    return ModelError(
        f"the stages of {type(network).__name__} are not known, so channel attention cannot be put into it; "
        "use attention=none with this backbone."
    )


def _door_channels(block: nn.Module) -> int | None:
    """Return the number of channels at a block's `se` slot, or None if the block has no such slot."""
    if not hasattr(block, "se"):
        return None
    for after in ("conv_pwl", "conv_pw" if hasattr(block, "conv_dw") else "conv_pwl", "conv3"):
        layer = getattr(block, after, None)
        layer = getattr(layer, "conv", layer)  # RegNet wraps convolution and normalisation together
        if isinstance(layer, nn.Conv2d) and not (after == "conv3" and hasattr(block, "bn3")):
            return layer.in_channels  # the slot precedes this projection
    for before in ("bn3", "bn2"):  # ResNet's Bottleneck and BasicBlock: the slot follows the last normalisation
        layer = getattr(block, before, None)
        if layer is not None and hasattr(layer, "num_features"):
            return int(layer.num_features)
    return None


def _output_layout(network: nn.Module, stage: nn.Module, input_size: int) -> tuple[int, int]:
    """Return (channels, channel axis) of a stage's output, found by running the network once on a blank image."""
    outputs: list[Any] = []
    handle = stage.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    was_training = network.training
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network.eval().forward_features(parameter.new_zeros(1, 3, input_size, input_size))  # type: ignore[operator]
    finally:
        handle.remove()
        network.train(was_training)
    if not outputs or not isinstance(outputs[0], Tensor) or outputs[0].ndim not in (3, 4):  # CoaT's are lists of blocks
        raise _unknown_stages(network)
    shape = outputs[0].shape
    last = len(shape) == 3 or str(getattr(network, "output_fmt", "")).endswith("NHWC")
    return int(shape[-1] if last else shape[1]), -1 if last else 1
