"""Batch normalisation for a network that sees three views of an image: whole images, objects and parts.

The views pass through one network one after the other. During training, each batch is normalised by its own statistics;
afterwards, all are normalised by running statistics. Shared running statistics would be a mixture of the three views
that no branch was trained with. So each view can have its own (`split_statistics`), or all views keep the pretrained
ones, also during training (`fix_statistics`). The learnt scale and shift stay shared, so it is still one network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional


class HasViews(nn.Module):
    """Base class of modules that treat views differently.

    Attributes:
        view: the view that the next forward pass belongs to (see `select_view`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.view = 0


class ViewNorm2d(HasViews):
    """Batch normalisation with running statistics per view, including the dropout and activation that timm adds to it.

    Args:
        norm: the module to replace; its parameters are reused, and its running statistics initialise every view.
        views: V, the number of views.
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
        """Normalise ``(B, C, H, W)`` by the current view's running statistics.

        During training, the batch's own statistics are used, and the running ones are updated.
        """
        # Rows are tensor views of the buffers, so that running statistics are updated in place.
        mean, variance = self.means[self.view], self.variances[self.view]
        x = functional.batch_norm(
            x, mean, variance, self.weight, self.bias, self.training, self.momentum or 0.0, self.eps
        )
        result: Tensor = self.act(self.drop(x))
        return result


class FixedNorm2d(ViewNorm2d):
    """Like `ViewNorm2d`, but with one set of statistics that never changes.

    Attributes:
        joined: whether the preceding convolution applies scale and shift (`tlaam.models.joined_norm`).
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm, views=1)
        self.joined = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)`` by the initial statistics, also during training."""
        if not self.joined:
            x = functional.batch_norm(x, self.means[0], self.variances[0], self.weight, self.bias, False, 0.0, self.eps)
        result: Tensor = self.act(self.drop(x))
        return result

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the factor and then the offset that are applied to each channel, ``(C,)`` each."""
        scale = (self.variances[0] + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -self.means[0] * scale
        return scale, shift if self.bias is None else shift + self.bias


def split_statistics(network: nn.Module, views: int) -> int:
    """Replace every 2-D batch normalisation of a timm network, in place, by one with statistics for each view.

    Args:
        network: a network whose pretrained weights are already loaded.
        views: V, the number of views.

    Returns:
        The number of modules replaced; 0 for a network with another normalisation (ViT, Swin, ConvNeXt).
    """
    return _replace(network, lambda norm: ViewNorm2d(norm, views))


def fix_statistics(network: nn.Module) -> int:
    """Replace every 2-D batch normalisation of a timm network, in place, by one that keeps its current statistics.

    Args:
        network: a network whose pretrained weights are already loaded; random weights cannot be trained this way.

    Returns:
        The number of modules replaced; 0 for a network with another normalisation.
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
    """Make the following forward passes use one view's statistics."""
    for module in network.modules():
        if isinstance(module, HasViews):
            module.view = view


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep running statistics unchanged in training passes; for a pass that only repeats another."""
    norms = [module for module in network.modules() if isinstance(module, (ViewNorm2d, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
