"""Batch normalisation for a network that sees three views of an image: whole images, objects and parts.

They pass through one network one after the other. While training, each batch is normalised by its own statistics;
afterwards all are normalised by running ones, and were these shared, by a mixture of the three that no branch was
trained with. So each view can have its own (`split_statistics`), or all keep the pretrained ones, in training too
(`fix_statistics`). The learnt scale and shift stay shared, so it is still one network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional


class HasViews(nn.Module):
    """Base of modules that treat views differently.

    Attributes:
        view: which view the next pass is of (`select_view`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.view = 0


class ViewNorm2d(HasViews):
    """Stands in for a batch normalisation, and for the dropout and activation that timm joins to it.

    Args:
        norm: the module replaced; its parameters are taken over, its running statistics start every view.
        views: V.
    """

    means: Tensor
    variances: Tensor

    def __init__(self, norm: nn.BatchNorm2d, views: int) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        self.num_features, self.eps, self.momentum = norm.num_features, norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("means", norm.running_mean.repeat(views, 1))  # [V, C]
        self.register_buffer("variances", norm.running_var.repeat(views, 1))
        self.drop: nn.Module = getattr(norm, "drop", nn.Identity())
        self.act: nn.Module = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` by the statistics of the present view, and update them while training."""
        # Rows are views of the buffers, so that running statistics are updated in place.
        mean, variance = self.means[self.view], self.variances[self.view]
        x = functional.batch_norm(
            x, mean, variance, self.weight, self.bias, self.training, self.momentum or 0.0, self.eps
        )
        result: Tensor = self.act(self.drop(x))
        return result


class FixedNorm2d(ViewNorm2d):
    """As `ViewNorm2d`, with one set of statistics that never changes.

    Attributes:
        joined: the convolution before it applies scale and shift (`tlaam.models.joined_norm`).
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm, views=1)
        self.joined = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` by the statistics it was made with, while training too."""
        if not self.joined:
            x = functional.batch_norm(x, self.means[0], self.variances[0], self.weight, self.bias, False, 0.0, self.eps)
        result: Tensor = self.act(self.drop(x))
        return result

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what a channel is multiplied by and what is added then, ``(C,)`` each."""
        scale = (self.variances[0] + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -self.means[0] * scale
        return scale, shift if self.bias is None else shift + self.bias


def split_statistics(network: nn.Module, views: int) -> int:
    """Replace every 2-D batch normalisation of a timm network, in place, by one with statistics for each view.

    Args:
        network: after its pretrained weights were loaded.
        views: V.

    Returns:
        How many were replaced; 0 for a network that normalises otherwise (ViT, Swin, ConvNeXt).
    """
    return _replace(network, lambda norm: ViewNorm2d(norm, views))


def fix_statistics(network: nn.Module) -> int:
    """Replace every 2-D batch normalisation of a timm network, in place, by one that keeps its present statistics.

    Args:
        network: after its pretrained weights were loaded; random ones cannot be trained so.

    Returns:
        How many were replaced; 0 for a network that normalises otherwise.
    """
    return _replace(network, FixedNorm2d)


def _replace(network: nn.Module, successor: Callable[[nn.BatchNorm2d], ViewNorm2d]) -> int:
    replaced = 0
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and child.running_mean is not None:
                setattr(parent, name, successor(child).train(child.training))
                replaced += 1
    return replaced


def select_view(network: nn.Module, view: int) -> None:
    """Let the next passes use one view's statistics."""
    for module in network.modules():
        if isinstance(module, HasViews):
            module.view = view


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let training passes leave running statistics as they are: for one that only repeats another."""
    norms = [module for module in network.modules() if isinstance(module, (ViewNorm2d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
