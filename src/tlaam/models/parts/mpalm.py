"""MPALM, the multi-scale pyramid attention localisation module: locates the parts of an object.

See docs/how-it-works.md, 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tlaam.errors import ModelError
from tlaam.models.backbone import probe_shape
from tlaam.models.parts.base import PartProposer

if TYPE_CHECKING:
    from typing_extensions import Self

    from tlaam.models.backbone import Backbone

ChannelResponse = Literal["max", "mean"]


class MPALM(PartProposer):
    """Centre windows of several sizes on the peaks of the strongest channels.

    Args:
        channels: K', the number of channels used.
        windows: window sides as shares of the object image's side.
        response: how a channel's response is measured when the K' largest are chosen.
        distinct: skip a channel whose peak coincides with that of a stronger channel.
    """

    def __init__(
        self,
        channels: int = 2,
        windows: Sequence[float] = (96 / 448, 160 / 448, 224 / 448),
        response: ChannelResponse = "max",
        distinct: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.windows, self.response, self.distinct = channels, tuple(windows), response, distinct

    @classmethod
    def for_backbone(cls, backbone: Backbone, **arguments: Any) -> Self:
        """Create a part proposer for the maps of a backbone.

        Raises:
            ModelError: the backbone's map has fewer channels than requested, or fewer cells if peaks must be distinct.
        """
        proposer = cls(**arguments)
        channels, height, width = probe_shape(backbone, backbone.image_size)
        most = min(channels, height * width) if proposer.distinct else channels
        if proposer.channels > most:
            raise ModelError(f"part_channels is {proposer.channels}; with this backbone and input at most {most}.")
        return proposer

    @property
    def count(self) -> int:
        """Number of part boxes per image: K' times the number of window sizes."""
        return self.channels * len(self.windows)

    @property
    def reach(self) -> float:
        """Side of the largest window as a share of the object image's."""
        return max(self.windows)

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return part boxes.

        Args:
            features: F, the object image's feature map, ``(B, K, H, W)``.
            size: side of the object image in pixels.

        Returns:
            float32 ``(B, K' · windows, 4)`` xyxy in pixels of the object image, inside it; channels by decreasing
            response, each channel's windows in the order of `windows`.
        """
        with torch.no_grad():
            peaks = peak_positions(features, self.channels, self.response, self.distinct)
            return pyramid_windows(peaks * size, self.windows, size)


def peak_positions(features: Tensor, count: int, response: ChannelResponse = "max", distinct: bool = False) -> Tensor:
    """Return where the `count` channels with the largest response have their maxima.

    Among channels with equal responses (many, if an activation such as ReLU6 saturates), the one with the larger mean
    comes first, then the one with the lower index. If a channel has several maxima, the first in raster order is used.
    So the result does not depend on the device or the runtime.

    Args:
        features: ``(B, K, H, W)``.
        count: K' channels, at most K (and at most H·W with `distinct`).
        response: a channel's maximum or mean over space.
        distinct: use each position once; if an image has fewer distinct peaks, its strongest one is repeated.

    Returns:
        float32 ``(B, count, 2)``: (x, y) of cell centres as shares of the map's width and height.
    """
    height, width = features.shape[2:]
    flat = features.flatten(2).float()  # (B, K, HW)
    top, position = flat.max(2)
    mean = flat.mean(2)
    strength = top if response == "max" else mean
    if distinct:
        # The strongest response that peaks at each cell; cells where no channel peaks stay at -inf.
        nowhere = torch.full_like(flat[:, 0], -torch.inf)
        best = nowhere.scatter_reduce(1, position, strength, reduce="amax")
        means = torch.where(strength == best.gather(1, position), mean, -torch.inf)
        values, cells = _largest(best, nowhere.scatter_reduce(1, position, means, reduce="amax"), count)
        cells = torch.where(values == -torch.inf, cells[:, :1], cells)
    else:
        cells = position.gather(1, _largest(strength, mean, count)[1])
    x = (cells % width + 0.5) / width
    y = (cells // width + 0.5) / height
    return torch.stack([x, y], dim=2)


def _largest(values: Tensor, among_equals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest of values ``(B, N)`` and their indices, both ``(B, count)``, in decreasing order.

    Ties are broken by the larger value of `among_equals`, then by the lower index: with `torch.topk`, the order of ties
    depends on the device.
    """
    largest, chosen = [], []
    for _ in range(count):
        value = values.amax(1, keepdim=True)
        index = torch.where(values == value, among_equals, -torch.inf).argmax(1, keepdim=True)
        values = values.scatter(1, index, -torch.inf)
        largest.append(value)
        chosen.append(index)
    return torch.cat(largest, dim=1), torch.cat(chosen, dim=1)


def pyramid_windows(centres: Tensor, windows: Sequence[float], size: int) -> Tensor:
    """Centre one square window of each size on each point, shifted to stay inside a ``size × size`` image.

    Args:
        centres: ``(B, N, 2)`` xy in pixels.
        windows: sides as shares of `size`.
        size: the image's side.

    Returns:
        ``(B, N · len(windows), 4)`` xyxy in pixels, x1/y1 exclusive.
    """
    boxes = []
    for side in (window * size for window in windows):
        corner = (centres - side / 2).clamp(0.0, size - side)
        boxes.append(torch.cat([corner, corner + side], dim=2))
    return torch.stack(boxes, dim=2).flatten(1, 2)
