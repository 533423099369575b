"""Pseudo masks: which cells of training images are foreground, estimated from pretrained features alone.

Two steps, neither of which needs a box or a label.

1. *Contrast with the border.* An object seldom covers a photograph's border. With f_p the features at a cell and f̄
   their mean over the outermost cells, s_p = ‖f_p − f̄‖² is large on the object; Otsu's threshold (1979) splits a map.
2. *Agreement across images.* The split of a single image is wrong where its border is not background. What is
   foreground *in most images* is right: Fisher's linear discriminant between all foreground and background cells scores
   every cell by the same rule,

       w = (Σ + ε I)⁻¹ (μ_fg − μ_bg),   score = w·(f − (μ_fg + μ_bg)/2) / w·(μ_fg − μ_bg) + 1/2,

   which is 0 at the background's mean and 1 at the foreground's. Scores of an object vary more than those of its
   surroundings. So the threshold is not midway but where both are equally probable, modelled as normal distributions
   with their own shares and variances. The returned scores are shifted so that this threshold is 1/2. An image that the
   object fills may then be foreground from edge to edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 64
_RIDGE = 0.05
"""ε as a share of the features' mean variance."""


def border_contrast(features: Tensor) -> Tensor:
    """Return each cell's squared distance from the mean of the outermost cells.

    Args:
        features: ``(B, K, H, W)``, H and W at least 3 (else every cell is border).

    Returns:
        ``(B, H, W)``, float32, non-negative.
    """
    features = features.float()
    height, width = features.shape[2:]
    border = torch.ones(height, width, dtype=torch.bool, device=features.device)
    border[1:-1, 1:-1] = False
    mean = features[:, :, border].mean(2)
    return (features - mean[:, :, None, None]).square().sum(1)


def otsu_thresholds(maps: Tensor) -> Tensor:
    """Return the threshold of each map that splits its values into the two classes with the largest variance between.

    Otsu 1979, "A threshold selection method from gray-level histograms", over 64 evenly spaced candidates.

    Args:
        maps: ``(B, H, W)``.

    Returns:
        ``(B,)``; for a flat map its own value, so that nothing lies above.
    """
    values = maps.flatten(1)
    low, high = values.amin(1), values.amax(1)
    steps = torch.linspace(0, 1, _LEVELS + 2, device=maps.device)[1:-1]
    candidates = low[:, None] + (high - low)[:, None] * steps  # (B, levels)
    above = (values[:, None, :] > candidates[:, :, None]).to(values.dtype)  # (B, levels, cells)
    share = above.mean(2)
    sums = (above * values[:, None, :]).mean(2)
    mean_above = sums / share.clamp(min=1e-12)
    mean_below = (values.mean(1, keepdim=True) - sums) / (1 - share).clamp(min=1e-12)
    between = share * (1 - share) * (mean_above - mean_below).square()
    return candidates.gather(1, between.argmax(1, keepdim=True))[:, 0]


@dataclass(frozen=True)
class Discriminant:
    """A linear rule that scores cells: ``score = features · weight + offset``, foreground above 1/2.

    Attributes:
        weight: ``(K,)``.
        offset: scalar.
    """

    weight: Tensor
    offset: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Score the cells of features ``(B, K, H, W)``: ``(B, H, W)``, float32."""
        return torch.einsum("bkhw,k->bhw", features.float(), self.weight) + self.offset


def equally_probable(low: float, high: float, share: float) -> float:
    """Return the x between 0 and 1 at which N(0, low²) and N(1, high²) are equally probable components of a mixture.

    It is 1/2 if there is no such x.

    Args:
        low: standard deviation of the first component.
        high: standard deviation of the second component.
        share: share of the second component in the mixture, between 0 and 1.

    Examples:
        >>> round(equally_probable(0.2, 0.2, 0.5), 3), round(equally_probable(0.14, 0.31, 0.2), 3)
        (0.5, 0.399)
    """
    # x²/low² + 2 log(low/(1 − share)) = (1 − x)²/high² + 2 log(high/share)
    square, linear = high**2 - low**2, 2 * low**2
    constant = -(low**2) * (1 + 2 * high**2 * math.log(high * (1 - share) / (low * share)))
    if abs(square) < 1e-9 * high**2:
        x = -constant / linear
        return x if 0 < x < 1 else 0.5
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0.0))
    inside = [x for sign in (1, -1) if 0 < (x := (-linear + sign * root) / (2 * square)) < 1]
    return inside[0] if inside else 0.5


class DiscriminantFit:
    """Accumulate Fisher's discriminant over batches in float64; memory is 2 K × K for any number of images.

    Args:
        channels: K.
    """

    def __init__(self, channels: int) -> None:
        self.products = torch.zeros(2, channels, channels, dtype=torch.float64)  # [background, foreground]
        self.sums = torch.zeros(2, channels, dtype=torch.float64)
        self.counts = torch.zeros(2, dtype=torch.float64)

    def add(self, features: Tensor, foreground: Tensor) -> None:
        """Add a batch.

        Args:
            features: ``(B, K, H, W)``.
            foreground: bool ``(B, H, W)``.
        """
        cells = features.float().permute(0, 2, 3, 1).flatten(0, 2)  # (cells, K)
        of_foreground = foreground.flatten().to(cells.dtype)
        kinds = torch.stack([1 - of_foreground, of_foreground])  # (2, cells)
        of_both = cells.T @ cells
        marked = cells[of_foreground > 0]
        of_marked = marked.T @ marked
        self.products += torch.stack([of_both - of_marked, of_marked]).cpu().double()
        self.sums += (kinds @ cells).cpu().double()
        self.counts += kinds.sum(1).cpu().double()

    def solve(self) -> Discriminant | None:
        """Return the rule, or None if the cells cannot be separated: all of one kind, all alike, or not finite."""
        if not (self.counts > 0).all():
            return None
        total = self.counts.sum()
        mean = self.sums.sum(0) / total
        background, foreground = self.sums / self.counts[:, None]
        covariance = self.products.sum(0) / total - torch.outer(mean, mean)
        ridge = _RIDGE * covariance.diagonal().mean()
        if not (ridge > 0 and covariance.isfinite().all()):
            return None
        eye = torch.eye(len(mean), dtype=torch.float64)
        weight = torch.linalg.solve(covariance + ridge * eye, foreground - background)
        weight = weight / (weight @ (foreground - background))
        squares = torch.einsum("k,ckl,l->c", weight, self.products / self.counts[:, None, None], weight)
        low, high = (squares - (self.sums / self.counts[:, None] @ weight).square()).clamp(min=1e-12).sqrt().tolist()
        share = float(self.counts[1] / total)
        offset = 0.5 - weight @ background - equally_probable(low, high, share)
        return Discriminant(weight.float(), offset.float())
