"""Weights between those that training began with and those it came to (WiSE-FT, Wortsman et al. 2021, 2109.01903)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from tlaam.models.architecture import Architecture

_NOT_BLENDED = ("localizer.threshold",)
"""What is chosen for a network, and means nothing between two of them."""


class Blend:
    """A network whose weights and running statistics are a mean of the start's and of what was learnt.

    Args:
        network: as it is before the first step.
        start_share: weight of the start, in [0, 1).

    Attributes:
        network: the mean, as of the last `update`.
        start: the state it began with, on the CPU.
    """

    def __init__(self, network: Architecture, start_share: float) -> None:
        self.share = start_share
        self.network = copy.deepcopy(network).eval()
        self.start = {name: value.cpu().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, learnt: Architecture) -> None:
        """Take the mean with what was learnt."""
        blended: dict[str, Tensor] = {}
        for name, value in learnt.state_dict().items():
            start = self.start[name].to(value.device)
            taken = value.is_floating_point() and name not in _NOT_BLENDED
            blended[name] = torch.lerp(value, start, self.share) if taken else value
        self.network.load_state_dict(blended)
