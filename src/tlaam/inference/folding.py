"""Batch normalisation folded into the convolutions before it: the same answers, for a network that only answers.

With fixed statistics a normalisation is a scale and a shift a channel, which the convolution can do by its own weights
and bias. What is saved is a pass over every feature map; on a CPU that is up to a fifth of a network's time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn import functional

from tlaam.models.norm import HasViews, ViewNorm2d, select_view

_TOLERANCE = 1e-3
"""Largest difference of folded from unfolded maps, as a share of the largest value; rounding stays far below."""


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
    if not any(_has_statistics(module) for module in network.modules()):
        return 0
    noise = noise_for(network, image_size)
    pairs = _pairs(network, noise)
    if not pairs:
        return 0
    successors: dict[nn.Module, nn.Module] = {}
    for conv, norm in pairs:
        successors[conv] = FoldedConv2d(conv, norm).eval()
        after = [child for child in (getattr(norm, "drop", None), getattr(norm, "act", None)) if child is not None]
        successors[norm] = nn.Sequential(*after).eval()
    views = max(len(statistics(norm)[0]) for _, norm in pairs)
    return len(pairs) if replace_if_same(network, successors, noise, views) else 0


def noise_for(network: nn.Module, image_size: int) -> Tensor:
    """Return an image to try a network on, ``(1, 3, S, S)``, the same each time."""
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    values = itertools.chain(network.parameters(), network.buffers())
    return noise.to(next(value for value in values if value.is_floating_point()))


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
    before = [_maps(network, x, view) for view in range(views)]
    _replace(network, successors)
    for view, maps in enumerate(before):
        if not (_maps(network, x, view) - maps).abs().amax() <= _TOLERANCE * maps.abs().amax():
            _replace(network, {new: old for old, new in successors.items()})
            return False
    return True


def _pairs(network: nn.Module, x: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | ViewNorm2d]]:
    """Return convolutions whose output goes into a normalisation, each of both called once as x passes."""
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

    kinds = [m for m in network.modules() if type(m) in (nn.Conv2d, Conv2dSame) or _has_statistics(m)]
    watched = [m for m in kinds if not m._forward_hooks]  # whoever listens to a module is to go on hearing it
    handles = [module.register_forward_hook(watch(module)) for module in watched]
    try:
        with torch.no_grad():
            network.forward_features(x)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair)]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, ViewNorm2d) or (isinstance(module, nn.BatchNorm2d) and module.running_mean is not None)


def _maps(network: nn.Module, x: Tensor, view: int) -> Tensor:
    select_view(network, view)
    with torch.no_grad():
        maps: Tensor = network.forward_features(x)  # type: ignore[operator]
    return maps.float()


def _replace(network: nn.Module, successors: dict[nn.Module, nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in successors:
                setattr(parent, name, successors[child])
