"""Find the convolution before each normalisation by running an image, and check that a change keeps the maps."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tlaam.models.norm import ViewNorm2d, select_view

TOLERANCE = 1e-3
"""Largest allowed difference between maps, as a share of the largest value; rounding errors are far smaller."""


def norm_pairs(network: nn.Module, x: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | ViewNorm2d]]:
    """Return pairs of a convolution and the normalisation of its output, each called once in a forward pass.

    Args:
        network: a timm network.
        x: the image, ``(1, 3, S, S)``.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by id of the output, which is kept so that the id stays unique
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
    watched = [m for m in kinds if not m._forward_hooks]  # existing hooks must go on working
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
    """Return a noise image to test a network with, ``(1, 3, S, S)``, the same each time."""
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    values = itertools.chain(network.parameters(), network.buffers())
    return noise.to(next(value for value in values if value.is_floating_point()))


def maps_of(network: nn.Module, x: Tensor, view: int = 0) -> Tensor:
    """Return a timm network's last feature maps of an image, in float32, with the statistics of one view."""
    select_view(network, view)
    with torch.no_grad():
        maps: Tensor = network.forward_features(x)  # type: ignore[operator]
    return maps.float()
