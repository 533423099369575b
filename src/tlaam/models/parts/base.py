"""What every part proposer of the part level is given, and what it answers with."""

from __future__ import annotations

from torch import Tensor, nn


class PartProposer(nn.Module):
    """Base of the part level: ``forward(features, size)`` gives each image the same number of part boxes.

    A new one is a subclass in a file of its own and its registration (`tlaam.config.registry`).

    Attributes:
        explains_class: whether the map that it is given is not the features but how much each cell contributes to the
            most probable class's score, ``(B, 1, H, W)``.
    """

    explains_class = False

    @property
    def count(self) -> int:
        """Number of part boxes an image."""
        raise NotImplementedError

    @property
    def reach(self) -> float:
        """The longest part's side as a share of the object image's."""
        raise NotImplementedError

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return boxes ``(B, count, 4)`` xyxy in pixels of the ``size × size`` image of features ``(B, K, H, W)``."""
        raise NotImplementedError
