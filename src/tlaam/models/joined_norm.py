"""Convolutions that apply the fixed normalisation behind them by their own weights, while both are trained.

With fixed statistics a normalisation is a scale and a shift a channel. Weights that are scaled before they are used
give the same maps and the same gradients as maps that are scaled afterwards, and save two passes over every map: on a
CPU a tenth of a training step's time (docs/speed.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.norm import FixedNorm2d, ViewNorm2d, select_view

TOLERANCE = 1e-3
"""Largest difference of changed from unchanged maps, as a share of the largest value; rounding stays far below."""


class JoinedConv2d(nn.Conv2d):
    """A convolution that normalises its output too; the normalisation behind it only drops and activates.

    Its parameters and those of the normalisation keep their places and names.
    """

    _norm: tuple[FixedNorm2d]  # in a tuple, so that it is not this module's child as well
    _same: bool

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise ``(B, C, H, W)``."""
        if self._same:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        scale, shift = self._norm[0].scale_and_shift()
        weight = self.weight * scale[:, None, None, None]
        bias = shift if self.bias is None else self.bias * scale + shift
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def join_norms(network: nn.Module, image_size: int = 64) -> int:
    """Let the convolutions of a timm network do the work of the fixed normalisations behind them, in place.

    Which belongs to which is seen on a run of noise, and whether the network still answers as before is tried: if not,
    it is left as it was.

    Args:
        network: in any mode, which it keeps.
        image_size: side of the images to try it on; any that the network takes.

    Returns:
        How many were joined; 0 for a network whose statistics are not fixed.
    """
    if not any(isinstance(module, FixedNorm2d) for module in network.modules()):
        return 0
    modes = {module: module.training for module in network.modules()}
    network.eval()
    noise = noise_for(network, image_size)
    before = maps_of(network, noise)
    pairs = [(conv, norm) for conv, norm in norm_pairs(network, noise) if isinstance(norm, FixedNorm2d)]
    for conv, norm in pairs:
        _join(conv, norm)
    if not (maps_of(network, noise) - before).abs().amax() <= TOLERANCE * before.abs().amax():
        separate_norms(network)
        pairs = []
    for module, training in modes.items():
        module.training = training
    return len(pairs)


def separate_norms(network: nn.Module) -> None:
    """Undo `join_norms`, in place."""
    for conv in network.modules():
        if isinstance(conv, JoinedConv2d):
            kind: Any = Conv2dSame if conv._same else nn.Conv2d
            conv.__class__ = kind
            (norm,) = conv._norm
            norm.joined = False
            del conv._norm, conv._same


def _join(conv: nn.Conv2d, norm: FixedNorm2d) -> None:
    conv._same = isinstance(conv, Conv2dSame)  # type: ignore[assignment]  # pads as TensorFlow does, by the input's size
    conv._norm = (norm,)  # type: ignore[assignment]
    conv.__class__ = JoinedConv2d
    norm.joined = True


def norm_pairs(network: nn.Module, x: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | ViewNorm2d]]:
    """Return convolutions whose output goes into a normalisation, each of both called once as an image passes.

    Args:
        network: of timm.
        x: the image, ``(1, 3, S, S)``.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by identity of the output, which is kept so that it stays unique
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d | ViewNorm2d]] = []
    calls: dict[nn.Module, int] = {}

    def watch(module: nn.Module) -> Callable[..., None]:
        def called(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[module] = calls.get(module, 0) + 1
            if isinstance(module, nn.Conv2d):
                made[id(output)] = (module, output)
            elif isinstance(module, (nn.BatchNorm2d, ViewNorm2d)) and id(inputs[0]) in made:
                pairs.append((made[id(inputs[0])][0], module))

        return called

    kinds = [m for m in network.modules() if type(m) in (nn.Conv2d, Conv2dSame) or has_statistics(m)]
    watched = [m for m in kinds if not m._forward_hooks]  # whoever listens to a module is to go on hearing it
    handles = [module.register_forward_hook(watch(module)) for module in watched]
    try:
        with torch.no_grad():
            network.forward_features(x)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair)]


def has_statistics(module: nn.Module) -> bool:
    """Return whether a module normalises by running statistics."""
    return isinstance(module, ViewNorm2d) or (isinstance(module, nn.BatchNorm2d) and module.running_mean is not None)


def noise_for(network: nn.Module, image_size: int) -> Tensor:
    """Return an image to try a network on, ``(1, 3, S, S)``, the same each time."""
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    values = itertools.chain(network.parameters(), network.buffers())
    return noise.to(next(value for value in values if value.is_floating_point()))


def maps_of(network: nn.Module, x: Tensor, view: int = 0) -> Tensor:
    """Return a timm network's last maps of an image, in float32, as one view sees it."""
    select_view(network, view)
    with torch.no_grad():
        maps: Tensor = network.forward_features(x)  # type: ignore[operator]
    return maps.float()
