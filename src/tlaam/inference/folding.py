"""Batch normalisation folded into the convolutions before it: the same answers, for a network that only answers.

With fixed statistics a normalisation is a scale and a shift a channel, which the convolution can do by its own weights
and bias. What is saved is a pass over every feature map; on a CPU that is up to a fifth of a network's time.
"""

from __future__ import annotations

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.norm import HasViews, ViewNorm2d
from tlaam.models.norm_pairs import TOLERANCE, has_statistics, maps_of, noise_for, norm_pairs


class FoldedConv2d(HasViews):
    """A convolution that normalises its output as a batch normalisation in evaluation mode would.

    Args:
        conv: the convolution.
        norm: the normalisation that follows it; where views have statistics of their own, weights are kept for each.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | ViewNorm2d) -> None:
        super().__init__()
        self.same = isinstance(conv, Conv2dSame)  # pads as TensorFlow does, by the input's size
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups
        weight = conv.weight.detach().double()
        before = torch.zeros(len(weight)).to(weight) if conv.bias is None else conv.bias.detach().double()
        means, variances = statistics(norm)
        for view, (mean, variance) in enumerate(zip(means.double(), variances.double(), strict=True)):
            scale = (variance + norm.eps).rsqrt()
            if norm.weight is not None:
                scale = scale * norm.weight.detach().double()
            shift = (before - mean) * scale
            if norm.bias is not None:
                shift = shift + norm.bias.detach().double()
            folded = weight * scale[:, None, None, None]
            # A buffer a view: memory formats know four axes.
            self.register_buffer(f"weight_{view}", folded.to(conv.weight.dtype).contiguous(memory_format=_layout(conv)))
            self.register_buffer(f"bias_{view}", shift.to(conv.weight.dtype))
        self.views = len(means)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise ``(B, C, H, W)`` by the statistics of the present view."""
        if self.same:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return functional.conv2d(x, *self.of_view(), self.stride, self.padding, self.dilation, self.groups)

    def of_view(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(O, I, h, w)`` and bias ``(O,)`` of the present view."""
        view = min(self.view, self.views - 1)  # where all views share their statistics there is one
        return getattr(self, f"weight_{view}"), getattr(self, f"bias_{view}")


def statistics(norm: nn.BatchNorm2d | ViewNorm2d) -> tuple[Tensor, Tensor]:
    """Return running means and variances, ``(V, C)`` each."""
    if isinstance(norm, ViewNorm2d):
        return norm.means, norm.variances
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean[None], norm.running_var[None]


def _layout(conv: nn.Conv2d) -> torch.memory_format:
    plain = conv.weight.is_contiguous()
    return torch.contiguous_format if plain else torch.channels_last


def fold_norms(network: nn.Module, image_size: int = 64) -> int:
    """Fold the batch normalisations of a timm network into the convolutions before them, in place.

    Which belongs to which is seen on a run of noise, and whether the network still answers as before is tried on
    another, for each view: if not, it is left as it was.

    Args:
        network: in evaluation mode; it must not be trained afterwards.
        image_size: side of the images to try it on; any that the network takes.

    Returns:
        How many were folded; 0 for a network that normalises otherwise.
    """
    if not any(has_statistics(module) for module in network.modules()):
        return 0
    noise = noise_for(network, image_size)
    pairs = norm_pairs(network, noise)
    if not pairs:
        return 0
    successors: dict[nn.Module, nn.Module] = {}
    for conv, norm in pairs:
        successors[conv] = FoldedConv2d(conv, norm).eval()
        after = [child for child in (getattr(norm, "drop", None), getattr(norm, "act", None)) if child is not None]
        successors[norm] = nn.Sequential(*after).eval()
    views = max(len(statistics(norm)[0]) for _, norm in pairs)
    return len(pairs) if replace_if_same(network, successors, noise, views) else 0


def replace_if_same(network: nn.Module, successors: dict[nn.Module, nn.Module], x: Tensor, views: int) -> bool:
    """Replace modules of a timm network in place, unless its maps of an image change by more than rounding.

    Args:
        network: in evaluation mode.
        successors: by the modules they replace.
        x: the image, ``(1, 3, S, S)``.
        views: how many views to try.

    Returns:
        Whether they were replaced.
    """
    before = [maps_of(network, x, view) for view in range(views)]
    _replace(network, successors)
    for view, maps in enumerate(before):
        if not (maps_of(network, x, view) - maps).abs().amax() <= TOLERANCE * maps.abs().amax():
            _replace(network, {new: old for old, new in successors.items()})
            return False
    return True


def _replace(network: nn.Module, successors: dict[nn.Module, nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in successors:
                setattr(parent, name, successors[child])
