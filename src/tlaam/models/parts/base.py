"""The interface of every part proposer of the part level."""

from __future__ import annotations

from torch import Tensor, nn


class PartProposer(nn.Module):
    """Base class of part proposers: ``forward(features, size)`` returns the same number of part boxes for each image.

    To add a part proposer, write a subclass in its own file and register it (`tlaam.config.registry`).

    Attributes:
        explains_class: whether its input is not the features but each cell's contribution to the score of the most
            probable class, ``(B, 1, H, W)``.
    """

    explains_class = False

    @property
    def count(self) -> int:
        """Number of part boxes per image."""
        raise NotImplementedError

    @property
    def reach(self) -> float:
        """Side of the largest part as a share of the object image's."""
        raise NotImplementedError

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Return boxes ``(B, count, 4)`` xyxy in pixels of the ``size × size`` image of features ``(B, K, H, W)``."""
        raise NotImplementedError
