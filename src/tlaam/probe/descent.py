"""Minimise a convex problem by L-BFGS, in preconditioned coordinates.

With Σ the features' correlations and h the mean curvature of the loss in a score, the Hessian of

    F(W, b) = mean_i loss(W z_i + b) + λ/2 ‖W‖²

is about hΣ + λ in each class's weights. With W = W₀ + vR and RᵀR = (hΣ + λ)⁻¹, it is about 1 in v, so a step of 1 is
right from the start. Pooled features are all positive and correlated; without this, twice as many steps are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

_HISTORY = 10
_LINE_SEARCH = 25
"""Maximum number of points that one line search may evaluate."""


class Gradient(NamedTuple):
    """The objective and its derivatives at one point.

    Attributes:
        objective: F.
        weight: its gradient with respect to W, ``(C, K)``.
        bias: its gradient with respect to b, ``(C,)``.
        curvature: h, the mean of the loss's second derivatives with respect to one score.
    """

    objective: float
    weight: Tensor
    bias: Tensor
    curvature: float

    def gap(self, l2: float) -> float:
        """Return an upper bound on the distance of F from its minimum, valid if the biases are optimal.

        The bound is ‖∂F/∂W‖²/2λ, the duality gap. The contribution of the biases is estimated by h.
        """
        of_weight = float(self.weight.double().square().sum()) / (2 * l2)
        return of_weight + float(self.bias.double().square().sum()) / (2 * _positive(self))


class Reached(NamedTuple):
    """The end point of a descent: weights ``(C, K)``, biases ``(C,)``, and the objective there."""

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
    """Return the lowest point that L-BFGS reached.

    Args:
        gradient: evaluates the problem at weights ``(C, K)`` and biases ``(C,)``.
        weight: initial weights, ``(C, K)``.
        bias: initial biases, ``(C,)``.
        correlations: Σ, ``(K, K)``; None for the identity.
        l2: λ.
        gap: share of the objective at which it is close enough to the minimum (`Gradient.gap`).
        evaluations: maximum number of evaluations of the gradient.
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
    """A point v ``(C·K + C,)``, the objective there, and its gradient with respect to v."""

    place: Tensor
    there: Gradient
    slope: Tensor


class _EnoughError(Exception):
    """The optimum is close enough, or the evaluations are used up."""


class _Descent:
    """The problem in preconditioned coordinates, as the optimiser evaluates it, and the lowest point evaluated."""

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
        """Return the weights and biases of a point v."""
        inner = place[: self.weight.numel()].view_as(self.weight)
        weight = inner * self.of_weight if self.root is None else inner @ self.root
        return self.weight + weight, self.bias + place[self.weight.numel() :] * self.of_bias

    def slope(self, there: Gradient) -> Tensor:
        """Return the gradient with respect to v."""
        weight = there.weight * self.of_weight if self.root is None else there.weight @ self.root.T
        return torch.cat([weight.flatten(), there.bias * self.of_bias])

    def closure(self) -> Tensor:
        """Return the objective at the optimiser's current point, and set its gradient."""
        place = self.point.detach()
        asked = self.lowest
        if not torch.equal(place, asked.place):  # the optimiser repeats its current point, and each costs a pass
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
    """Return h, bounded from below: nearly certain probabilities have almost none, and steps would be endless."""
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
