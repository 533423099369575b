"""Convolutions fused with their activations, with weights in the processor's own layout, for inference on a CPU.

PyTorch calls oneDNN for a convolution, which rearranges the weights each time, and then makes a second pass over the
output for the activation. oneDNN can do both at once. PyTorch's own compiler uses this through the operators used here.
They are private to PyTorch, and some processors lack the instructions for some precisions, so each operator is first
tried on a small convolution. If that fails, or the network's answers change, the network stays as it was. docs/speed.md
says what fusing gains over folding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from timm.layers import pad_same
from torch import Tensor, nn

from tlaam.inference.folding import FoldedConv2d, replace_if_same
from tlaam.models.norm_pairs import noise_for


class Activation(NamedTuple):
    """An activation by its oneDNN name, with its parameters."""

    name: str = "none"
    numbers: tuple[float, ...] = ()


class FusedConv2d(nn.Module):
    """A folded convolution and the activation that follows it, in one oneDNN call.

    Weights are rearranged at the first pass of each view, for feature maps of that size; other sizes still work. If
    gradients are needed, and in compiled graphs, the two are computed one after the other as before.

    Args:
        conv: the convolution, on the CPU.
        act: the activation that follows it.
    """

    def __init__(self, conv: FoldedConv2d, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = conv, act
        activation = _activation(act)
        assert activation is not None
        self.activation = activation
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, C, H, W)`` with the weights of the current view, and activate, in the weights' precision."""
        if torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
            plain: Tensor = self.act(self.conv(x))
            return plain
        conv = self.conv
        weight, bias = conv.of_view()
        x = x.to(weight.dtype)
        if conv.same:
            x = pad_same(x, conv.kernel_size, conv.stride, conv.dilation)
        x = x.contiguous(memory_format=torch.channels_last)
        return _convolved(x, self._arranged(weight, x.shape), bias, conv, self.activation)

    def _arranged(self, weight: Tensor, shape: torch.Size) -> Tensor:
        source, arranged = self._packed.get(self.conv.view, (None, None))
        if source is not weight or arranged is None:  # weights that moved or changed precision are new tensors
            conv = self.conv
            arranged = _reordered(weight, conv, shape)
            self._packed[conv.view] = (weight, arranged)
        return arranged

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}  # oneDNN's rearranged weights cannot be copied, only made again


def fuse_activations(network: nn.Module, image_size: int = 64, dtype: torch.dtype = torch.float32) -> int:
    """Fuse the folded convolutions of a timm network with their activations, in place.

    A pass of noise shows which activation belongs to which convolution. Further passes check, for each view, that the
    network's answers do not change; if they do, it stays as it was.

    Args:
        network: a network after `tlaam.inference.folding.fold_norms`, in float32 on the CPU.
        image_size: side of the images to try it on; any size that the network takes.
        dtype: precision of the weights that it will answer with.

    Returns:
        The number of convolutions replaced, including those without an activation; 0 if oneDNN does not support this in
        that precision on this processor.
    """
    convolutions = [m for m in network.modules() if isinstance(m, FoldedConv2d) and not isinstance(m.padding, str)]
    if not convolutions or not all(map(_available, {torch.float32, dtype})):  # the check below runs in float32
        return 0
    noise = noise_for(network, image_size)
    activations = _activations(network, convolutions, noise)
    successors: dict[nn.Module, nn.Module] = {}
    for conv in convolutions:
        act = activations.get(conv)
        successors[conv] = FusedConv2d(conv, act or nn.Identity()).eval()
        if act is not None:
            successors[act] = nn.Identity().eval()
    views = max(conv.views for conv in convolutions)
    return len(convolutions) if replace_if_same(network, successors, noise, views) else 0


def _activation(module: nn.Module) -> Activation | None:
    """Return a module's activation as oneDNN names it, or None if oneDNN does not know it."""
    if isinstance(module, nn.Hardtanh):  # includes ReLU6
        return Activation("hardtanh", (float(module.min_val), float(module.max_val)))
    return {
        nn.Identity: Activation(),
        nn.ReLU: Activation("relu"),
        nn.SiLU: Activation("swish"),
        nn.Hardswish: Activation("hardswish"),
    }.get(type(module))


def _activations(network: nn.Module, convolutions: list[FoldedConv2d], x: Tensor) -> dict[FoldedConv2d, nn.Module]:
    """Return the activation that follows each convolution, if both are called exactly once in a pass of `x`."""
    # Keyed by the output's id; the output is kept so that its id stays unique. Its version reveals in-place changes.
    made: dict[int, tuple[FoldedConv2d, Tensor, int]] = {}
    pairs: dict[FoldedConv2d, nn.Module] = {}
    calls: dict[nn.Module, int] = {}

    def watch(module: nn.Module) -> Callable[..., None]:
        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[module] = calls.get(module, 0) + 1
            conv, output, version = made.get(id(inputs[0]), (None, None, 0))
            unchanged = output is not None and output._version == version
            if not isinstance(module, FoldedConv2d) and conv is not None and unchanged:
                pairs[conv] = module

        return before

    def convolved(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, FoldedConv2d)
        made[id(output)] = (module, output, output._version)

    kinds = [m for m in network.modules() if _activation(m) is not None and not isinstance(m, nn.Identity)]
    kinds = [m for m in kinds if not m._forward_hooks and not m._forward_pre_hooks]  # hooks must keep firing
    handles = [module.register_forward_pre_hook(watch(module)) for module in [*convolutions, *kinds]]
    handles += [conv.register_forward_hook(convolved) for conv in convolutions if not conv._forward_hooks]
    try:
        with torch.no_grad():
            network.forward_features(x)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return {conv: act for conv, act in pairs.items() if calls[conv] == 1 and calls[act] == 1}


def _reordered(weight: Tensor, conv: nn.Conv2d | FoldedConv2d, shape: torch.Size) -> Tensor:
    """Return a convolution's weights in oneDNN's preferred layout for feature maps of a shape."""
    arranged: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, conv.padding, conv.stride, conv.dilation, conv.groups, list(shape)
    )
    return arranged


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor, conv: nn.Conv2d | FoldedConv2d, activation: Activation
) -> Tensor:
    """Convolve feature maps with `_reordered` weights, activate them, and return them."""
    output: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups, activation.name,
        list(activation.numbers), "",
    )  # fmt: skip
    return output


@cache
def _available(dtype: torch.dtype) -> bool:
    """Return whether oneDNN can fuse in this precision on this processor; tried on a convolution of eight channels."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    conv = nn.Conv2d(8, 8, 3, padding=1, dtype=dtype).requires_grad_(False)
    x = torch.zeros(1, 8, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
    try:
        assert conv.bias is not None
        _convolved(x, _reordered(conv.weight, conv, x.shape), conv.bias, conv, Activation("relu"))
    except (AttributeError, RuntimeError):  # missing operators or missing instructions
        return False
    return True
