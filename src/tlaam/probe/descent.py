"""Down to the optimum of a convex problem by L-BFGS, in coordinates in which it is round.

With Σ the features' correlations and h the mean curvature of the loss in a score, the Hessian of

    F(W, b) = mean_i loss(W z_i + b) + λ/2 ‖W‖²

is about hΣ + λ in each class's weights. Of W = W₀ + vR with RᵀR = (hΣ + λ)⁻¹ it is about 1 in v, and a step of 1 is
right from the first one on. Pooled features are all positive and correlated, which costs twice as many steps otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

_HISTORY = 10
_LINE_SEARCH = 25
"""Points that one line search may ask for."""


class Gradient(NamedTuple):
    """The problem at one place.

    Attributes:
        objective: F.
        weight: its gradient by W, ``(C, K)``.
        bias: its gradient by b, ``(C,)``.
        curvature: h, the mean of the loss's second derivatives by one score.
    """

    objective: float
    weight: Tensor
    bias: Tensor
    curvature: float

    def gap(self, l2: float) -> float:
        """Return how much F is above its least value, at most, where the biases are at their best.

        That is ‖∂F/∂W‖²/2λ, the gap between the problem and its dual. What the biases add is estimated by h.
        """
        of_weight = float(self.weight.double().square().sum()) / (2 * l2)
        return of_weight + float(self.bias.double().square().sum()) / (2 * _positive(self))


class Reached(NamedTuple):
    """Where a descent ended: ``(C, K)`` and ``(C,)``, and the problem there."""

    weight: Tensor
    bias: Tensor
    there: Gradient


def descend(
    gradient: Callable[[Tensor, Tensor], Gradient],
    weight: Tensor,
    bias: Tensor,
    correlations: Tensor | None,
    l2: float,
    gap: float,
    evaluations: int,
) -> Reached:
    """Return the lowest place that L-BFGS came to.

    Args:
        gradient: of the problem, at weights ``(C, K)`` and biases ``(C,)``.
        weight: where it begins, ``(C, K)``.
        bias: where it begins, ``(C,)``.
        correlations: Σ, ``(K, K)``; None for 1.
        l2: λ.
        gap: of the objective, at which it is near enough (`Gradient.gap`).
        evaluations: of the gradient, after which it ends at the latest.
    """
    descent = _Descent(gradient, weight, bias, correlations, l2, gap, evaluations)
    optimizer = torch.optim.LBFGS(
        [descent.point],
        lr=max(1.0, float(descent.lowest.slope.abs().sum())),  # the optimiser divides its first step by this
        max_iter=1,
        max_eval=_LINE_SEARCH,
        history_size=_HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    with suppress(_EnoughError):
        optimizer.step(descent.closure)  # type: ignore[no-untyped-call]
        optimizer.param_groups[0].update(lr=1.0, max_iter=evaluations, max_eval=_LINE_SEARCH * evaluations)
        optimizer.step(descent.closure)  # type: ignore[no-untyped-call]
    return Reached(*descent.outside(descent.lowest.place), descent.lowest.there)


class _Point(NamedTuple):
    """A place v ``(C·K + C,)``, the problem there, and its gradient by v."""

    place: Tensor
    there: Gradient
    slope: Tensor


class _EnoughError(Exception):
    """The optimum is near enough, or there were evaluations enough."""


class _Descent:
    """The problem in round coordinates, as the optimiser asks for it, and the lowest point that it asked for."""

    def __init__(
        self,
        gradient: Callable[[Tensor, Tensor], Gradient],
        weight: Tensor,
        bias: Tensor,
        correlations: Tensor | None,
        l2: float,
        gap: float,
        evaluations: int,
    ) -> None:
        self.gradient, self.l2, self.gap, self.left = gradient, l2, gap, evaluations - 1
        self.weight, self.bias = weight, bias
        begin = gradient(weight, bias)
        curvature = _positive(begin)
        self.root = None if correlations is None else _root(correlations, curvature, l2)
        self.of_weight, self.of_bias = (curvature + l2) ** -0.5, curvature**-0.5
        self.point = torch.zeros(weight.numel() + bias.numel())
        self.lowest = _Point(self.point.clone(), begin, self.slope(begin))
        self.point.requires_grad_()

    def outside(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and biases of a place v."""
        inner = place[: self.weight.numel()].view_as(self.weight)
        weight = inner * self.of_weight if self.root is None else inner @ self.root
        return self.weight + weight, self.bias + place[self.weight.numel() :] * self.of_bias

    def slope(self, there: Gradient) -> Tensor:
        """Return the gradient by v."""
        weight = there.weight * self.of_weight if self.root is None else there.weight @ self.root.T
        return torch.cat([weight.flatten(), there.bias * self.of_bias])

    def closure(self) -> Tensor:
        """Return the objective at the point that the optimiser stands at, and set its gradient."""
        place = self.point.detach()
        asked = self.lowest
        if not torch.equal(place, asked.place):  # the optimiser asks again where it stands, and an answer is a pass
            if self.left <= 0 or self.lowest.there.gap(self.l2) <= self.gap * self.lowest.there.objective:
                raise _EnoughError
            self.left -= 1
            there = self.gradient(*self.outside(place))
            asked = _Point(place.clone(), there, self.slope(there))
            if there.objective <= self.lowest.there.objective:
                self.lowest = asked
        self.point.grad = asked.slope.clone()
        return torch.tensor(asked.there.objective, dtype=torch.float64)


def _positive(there: Gradient) -> float:
    """Return h; probabilities that are all but certain have next to none, which would make a step endless."""
    return max(there.curvature, 0.01 / len(there.bias))


def _root(correlations: Tensor, curvature: float, l2: float) -> Tensor:
    """Return R ``(K, K)``, the inverse of the Cholesky factor of hΣ + λ."""
    hessian = correlations.double().mul_(curvature)
    hessian.diagonal().add_(l2)
    lower = torch.linalg.cholesky(hessian)
    del hessian
    identity = torch.eye(len(lower), dtype=lower.dtype)
    inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return inverse.float()
