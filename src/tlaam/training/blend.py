"""Interpolate between the weights before and after training (WiSE-FT, Wortsman et al. 2021, arXiv 2109.01903)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from tlaam.models.architecture import Architecture

_NOT_BLENDED = ("localizer.threshold",)
"""Values chosen for one network, which cannot be interpolated."""


class Blend:
    """A network whose weights and running statistics are a weighted mean of the initial and the learnt ones.

    Args:
        network: the network before the first step.
        start_share: weight of the initial state, in [0, 1).

    Attributes:
        network: the mean at the last `update`.
        start: the initial state, on the CPU.
    """

    def __init__(self, network: Architecture, start_share: float) -> None:
        self.share = start_share
        self.network = copy.deepcopy(network).eval()
        self.start = {name: value.cpu().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, learnt: Architecture) -> None:
        """Set the network to the mean of the initial and the learnt state."""
        blended: dict[str, Tensor] = {}
        for name, value in learnt.state_dict().items():
            start = self.start[name].to(value.device)
            taken = value.is_floating_point() and name not in _NOT_BLENDED
            blended[name] = torch.lerp(value, start, self.share) if taken else value
        self.network.load_state_dict(blended)
