"""Convolutions that apply their activation as they write, with weights in the processor's own layout: for a CPU.

PyTorch asks oneDNN for a convolution, which rearranges the weights each time, and passes over its output again for the
activation. oneDNN can do both at once; PyTorch's own compiler has it do so, by the operators used here. They are
private to PyTorch, and some processors lack the instructions for some precisions: each is tried on a small convolution
first. Where it fails, or a network answers differently, the network stays as it was. What it buys beside folding alone
is in docs/speed.md.
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
    """An activation as oneDNN names it, with its numbers."""

    name: str = "none"
    numbers: tuple[float, ...] = ()


class FusedConv2d(nn.Module):
    """A folded convolution and the activation that follows it, in one call of oneDNN.

    Weights are rearranged at the first pass of each view, for maps of that size; other sizes are computed too. Where
    gradients are asked for, and in graphs, the two follow one another as before.

    Args:
        conv: the convolution, on the CPU.
        act: what follows it.
    """

    def __init__(self, conv: FoldedConv2d, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = conv, act
        activation = _activation(act)
        assert activation is not None
        self.activation = activation
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, C, H, W)`` by the weights of the present view, and activate, in the weights' precision."""
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
        if source is not weight or arranged is None:  # weights that moved or changed their precision are new tensors
            conv = self.conv
            arranged = _reordered(weight, conv, shape)
            self._packed[conv.view] = (weight, arranged)
        return arranged

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}  # what oneDNN has arranged cannot be copied, only made again


def fuse_activations(network: nn.Module, image_size: int = 64, dtype: torch.dtype = torch.float32) -> int:
    """Let the folded convolutions of a timm network be computed together with what activates them, in place.

    Which activation belongs to which convolution is seen on a run of noise, and whether the network still answers as
    before is tried for each view: if not, it is left as it was.

    Args:
        network: after `tlaam.inference.folding.fold_norms`, in float32 on the CPU.
        image_size: side of the images to try it on; any that the network takes.
        dtype: of the weights that it is to answer with.

    Returns:
        How many convolutions were replaced, those that nothing activates too; 0 where oneDNN cannot do it in that
        precision on this processor.
    """
    convolutions = [m for m in network.modules() if isinstance(m, FoldedConv2d) and not isinstance(m.padding, str)]
    if not convolutions or not all(map(_available, {torch.float32, dtype})):  # tried in float32 below
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
    """Return how oneDNN names what a module does, or None of one that it does not know."""
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return Activation("hardtanh", (float(module.min_val), float(module.max_val)))
    return {
        nn.Identity: Activation(),
        nn.ReLU: Activation("relu"),
        nn.SiLU: Activation("swish"),
        nn.Hardswish: Activation("hardswish"),
    }.get(type(module))


def _activations(network: nn.Module, convolutions: list[FoldedConv2d], x: Tensor) -> dict[FoldedConv2d, nn.Module]:
    """Return the activations that take what a convolution puts out, both called once as x passes."""
    # By identity of the output, which is kept so that it stays unique; with its version, for what is changed in place.
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
    kinds = [m for m in kinds if not m._forward_hooks and not m._forward_pre_hooks]  # who listens is to go on hearing
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
    """Return a convolution's weights in the layout that oneDNN wants for maps of a shape."""
    arranged: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, conv.padding, conv.stride, conv.dilation, conv.groups, list(shape)
    )
    return arranged


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor, conv: nn.Conv2d | FoldedConv2d, activation: Activation
) -> Tensor:
    """Return maps convolved by `_reordered` weights and activated."""
    output: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups, activation.name,
        list(activation.numbers), "",
    )  # fmt: skip
    return output


@cache
def _available(dtype: torch.dtype) -> bool:
    """Return whether oneDNN fuses in this precision on this processor, tried on a convolution of eight channels."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    conv = nn.Conv2d(8, 8, 3, padding=1, dtype=dtype).requires_grad_(False)
    x = torch.zeros(1, 8, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
    try:
        assert conv.bias is not None
        _convolved(x, _reordered(conv.weight, conv, x.shape), conv.bias, conv, Activation("relu"))
    except (AttributeError, RuntimeError):  # operators that are missing, and instructions that are
        return False
    return True
