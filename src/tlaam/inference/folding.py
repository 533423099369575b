"""Batch normalisation folded into the preceding convolutions: the same answers, for inference only.

With fixed statistics, a normalisation is a scale and a shift per channel, which the convolution can apply through its
own weights and bias. This saves a pass over every feature map; on a CPU that is up to a fifth of a network's time.
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
        norm: the normalisation that follows it; if views have their own statistics, weights are kept for each view.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | ViewNorm2d) -> None:
        super().__init__()
        self.same = isinstance(conv, Conv2dSame)  # pads as TensorFlow does, depending on the input's size
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
            # One buffer per view, because memory formats are defined for four axes.
            self.register_buffer(f"weight_{view}", folded.to(conv.weight.dtype).contiguous(memory_format=_layout(conv)))
            self.register_buffer(f"bias_{view}", shift.to(conv.weight.dtype))
        self.views = len(means)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise ``(B, C, H, W)`` with the statistics of the current view."""
        if self.same:
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return functional.conv2d(x, *self.of_view(), self.stride, self.padding, self.dilation, self.groups)

    def of_view(self) -> tuple[Tensor, Tensor]:
        """Return weight ``(O, I, h, w)`` and bias ``(O,)`` of the current view."""
        view = min(self.view, self.views - 1)  # there is only one if all views share their statistics
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

    A pass of noise shows which normalisation belongs to which convolution. Further passes check, for each view, that
    the network's answers do not change; if they do, it stays as it was.

    Args:
        network: a network in evaluation mode; it must not be trained afterwards.
        image_size: side of the images to try it on; any size that the network takes.

    Returns:
        The number of normalisations folded; 0 for a network that normalises in another way.
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
    """Replace modules of a timm network in place, unless its feature maps change by more than rounding.

    Args:
        network: a network in evaluation mode.
        successors: new modules, by the modules that they replace.
        x: the image to compute the maps of, ``(1, 3, S, S)``.
        views: number of views to try.

    Returns:
        Whether the modules were replaced.
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
