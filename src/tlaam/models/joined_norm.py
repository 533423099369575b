"""Convolutions that apply the fixed normalisation after them through their own weights, while both are trained.

With fixed statistics, a normalisation is one scale and one shift per channel. Scaling the weights before the
convolution gives the same maps and the same gradients as scaling the maps afterwards, and saves two passes over every
map: on a CPU, a tenth of the time of a training step (docs/speed.md).
"""

from __future__ import annotations

from typing import Any

from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.norm import FixedNorm2d
from tlaam.models.norm_pairs import TOLERANCE, maps_of, noise_for, norm_pairs


class JoinedConv2d(nn.Conv2d):
    """A convolution that also normalises its output; the normalisation after it only applies dropout and activation.

    Its parameters and those of the normalisation keep their places and names.
    """

    _norm: tuple[FixedNorm2d]  # in a tuple, so that it is not registered as this module's child too
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
    """Make the convolutions of a timm network apply the fixed normalisations after them, in place.

    Running the network on noise shows which normalisation belongs to which convolution. If the network's output then
    changes, it is left as it was.

    Args:
        network: in any mode, which is kept.
        image_size: side of the test image; any size that the network accepts.

    Returns:
        The number of normalisations joined; 0 for a network whose statistics are not fixed.
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
