"""Solve the convex problem of `tlaam.probe.solver` in mini-batches from an array or a memory map of any length.

From zero weights, two passes of SGD (with Nesterov momentum, warm-up and decay to zero) over mini-batches in random
order come near the optimum. Then L-BFGS takes over (`tlaam.probe.descent`); its gradient is the sum over all
mini-batches. Compared with the exact solution for 20,000 images, 100 classes and 384 features: after six passes, SGD or
Adam alone, at the best of several learning rates, is still 0.05 % (λ = 0.1) to 25 % (λ = 0.0001) above it, more for a
weaker λ. L-BFGS, which has no gradient noise, comes within 0.1 % after 4 to 20 passes, and needs up to a third more
without the SGD start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlaam.errors import DataError
from tlaam.probe.descent import Gradient, descend
from tlaam.probe.linear import STANDARD, Floats, Labels, LinearProbe, Scaling, moments, of_all_classes

_CHUNK_BYTES = 64 << 20
"""Size of one chunk's features and scores."""
_BATCH = 512
_BLOCK = 16
"""Number of rows read together: a chunk has blocks from all over the features, which may be ordered by class."""
_START_PASSES = 2
_DECORRELATED = 8192
"""Maximum number of features that are decorrelated; with more, the K×K matrices are not small beside the features."""
_SAMPLE = 8192
"""Number of rows from which the correlations are computed."""
_RATE = 0.02
"""Factor of SGD's learning rate, 0.02·√C·(batch / K); tried on 100 and on 1,000 classes."""


class MinibatchPath:
    """The probes of some rows of features for several λ; each starts from the previous one.

    Memory does not depend on N. With C classes and K features, weights, gradients and L-BFGS's history are about 35
    arrays of C×K in float32, the correlations at most 8 arrays of K×K (none above K = 8192), and a chunk has 64 MB:
    about 1.7 GB for 1,000 classes and 5,376 features. Features are only read.

    The same features, seed and number of threads give the same probe.

    Attributes:
        objective: value of the objective at the last probe.
        gap: upper bound on its distance from the minimum (`tlaam.probe.descent.Gradient.gap`).
        passes: total number of passes over the features.
    """

    def __init__(
        self,
        features: Floats,
        labels: Labels,
        classes: int,
        scaling: Scaling = STANDARD,
        *,
        rows: NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> None:
        """Compute the moments of the features.

        Args:
            features: ``(N, K)``, possibly a memory map.
            labels: ``(N,)``.
            classes: C.
            scaling: scaling of the features.
            rows: mask of the rows to learn from, ``(N,)``; all by default.
            seed: seed of the mini-batches' order.

        Raises:
            DataError: there are images of fewer than two classes.
        """
        self.features = np.asarray(features)  # for a memory map: the same memory, without a map for every slice
        self.rows = np.arange(len(labels)) if rows is None else np.flatnonzero(rows)
        self.classes, self.seed = classes, seed
        self.present, compact = np.unique(labels[self.rows], return_inverse=True)
        if len(self.present) < 2:
            raise DataError("a probe needs images of at least two classes.")
        self.labels = torch.from_numpy(compact.astype(np.int64))
        self.mean, self.deviation = moments(self.features, self.rows)
        self.passes, self.objective, self.gap = 0, math.inf, math.inf
        self.rescale(scaling)

    def rescale(self, scaling: Scaling) -> None:
        """Change to another scaling of the same features, and start from zero weights unless `begin_from` is called."""
        self.scale = scaling.divisors(self.deviation)
        self._centre = torch.from_numpy(self.mean.astype(np.float32))
        self._factor = torch.from_numpy((1 / self.scale).astype(np.float32))
        self.weight, self.bias = torch.zeros(len(self.present), len(self.scale)), torch.zeros(len(self.present))
        self.begun = False
        self._correlations = self._correlated()

    def begin_from(self, probe: LinearProbe) -> None:
        """Start from a probe for other rows or λ; a class unknown to it starts with its lowest bias."""
        scale = np.where(np.isfinite(self.scale), self.scale, 0.0)
        weight, bias = probe.weight[self.present], (probe.bias + probe.weight @ self.mean)[self.present]
        knows = probe.weight[self.present].any(1)
        bias = np.where(knows, bias, bias[knows].min() if knows.any() else 0.0)
        self.weight = torch.from_numpy((weight * scale).astype(np.float32))
        self.bias = torch.from_numpy((bias - bias.mean()).astype(np.float32))
        self.begun = True

    def at(self, l2: float, gap: float = 1e-3, passes: int = 40) -> LinearProbe:
        """Return the probe for one λ.

        Args:
            l2: λ.
            gap: how far the result may be above the minimum, as a share of the objective.
            passes: maximum number of passes over all rows, not counting those of SGD.
        """
        if not self.begun and l2 < self._spread() / len(self.present):  # else λ dominates the Hessian: easy
            self._start(l2)
        self.begun = True

        def gradient(weight: Tensor, bias: Tensor) -> Gradient:
            return self._gradient(weight, bias, l2)

        begin = self.weight, self.bias
        reached = descend(gradient, *begin, self._correlations, l2, gap, passes)
        if reached.there.objective > math.log(len(self.present)):  # worse than weights of 0: a useless start
            begin = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
            reached = descend(gradient, *begin, self._correlations, l2, gap, passes)
        self.weight, self.bias = reached.weight, reached.bias
        self.objective, self.gap = reached.there.objective, reached.there.gap(l2)
        weight, bias = of_all_classes(
            self.weight.double().numpy(), self.bias.double().numpy(), self.present, self.classes
        )
        weight = weight / self.scale
        return LinearProbe(weight, bias - weight @ self.mean)

    def _rows(self, places: NDArray[np.integer[Any]]) -> Tensor:
        """Return standardised features ``(n, K)`` of some of the rows to learn from."""
        values = torch.from_numpy(self.features[self.rows[places]].astype(np.float32, copy=False))
        return values.sub_(self._centre).mul_(self._factor)

    def _step(self) -> int:
        """Return the number of rows of a chunk."""
        return max(1, _CHUNK_BYTES // (4 * (len(self.scale) + 2 * len(self.present))))

    def _gradient(self, weight: Tensor, bias: Tensor, l2: float) -> Gradient:
        """Return the objective and its gradients, by one pass over all rows."""
        count, step = len(self.rows), self._step()
        loss, spread = 0.0, 0.0
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, count, step):
            places = np.arange(start, min(start + step, count))
            standardised, labels = self._rows(places), self.labels[start : start + step]
            wrong, likelihood = self._likelihood(standardised, labels, weight, bias)
            loss -= float(likelihood.sum())
            spread += float((1 - wrong.square().sum(1)).sum())
            wrong[torch.arange(len(labels)), labels] -= 1
            by_weight.addmm_(wrong.T, standardised)
            by_bias += wrong.sum(0)
        self.passes += 1
        by_weight.div_(count).add_(weight, alpha=l2)
        objective = loss / count + l2 / 2 * float(weight.double().square().sum())
        return Gradient(objective, by_weight, by_bias.div_(count), spread / count / len(bias))

    @staticmethod
    def _likelihood(standardised: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities ``(n, C)`` and, in float64, the log-likelihood of each label ``(n,)``."""
        logs = torch.addmm(bias, standardised, weight.T).log_softmax(1)
        of_label = logs[torch.arange(len(labels)), labels].double()
        return logs.exp_(), of_label

    def _start(self, l2: float) -> None:
        """Come near the optimum by SGD from weights of 0."""
        weight, bias = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        steepest = l2 + self._spread() / len(bias)  # bounds the Hessian at weights of 0
        rate = min(_RATE * math.sqrt(len(bias)) * _BATCH / len(self.scale), 0.5 / steepest)
        optimizer = torch.optim.SGD([weight, bias], lr=rate, momentum=0.9, nesterov=True)
        total = _START_PASSES * math.ceil(len(self.rows) / _BATCH)
        for number, (standardised, labels) in enumerate(self._shuffled(_START_PASSES)):
            optimizer.param_groups[0]["lr"] = rate * min(10 * (number + 1) / total, max(1 - number / total, 0))
            wrong, _ = self._likelihood(standardised, labels, weight, bias)
            wrong[torch.arange(len(labels)), labels] -= 1
            wrong /= len(labels)
            weight.grad = torch.addmm(weight, wrong.T, standardised, beta=l2)
            bias.grad = wrong.sum(0)
            optimizer.step()
        self.passes += _START_PASSES
        self.weight, self.bias = weight, bias

    def _shuffled(self, passes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield mini-batches of standardised features and labels, all rows once per pass, in random order."""
        random = np.random.default_rng(self.seed)
        count = len(self.rows)
        blocks = max(1, max(self._step(), _BATCH) // _BLOCK)
        for _ in range(passes):
            order = random.permutation(math.ceil(count / _BLOCK))
            for start in range(0, len(order), blocks):
                first = np.sort(order[start : start + blocks])[:, None] * _BLOCK
                places = (first + np.arange(_BLOCK)).ravel()
                places = places[places < count]
                chunk, labels = self._rows(places), self.labels[places]
                within = torch.from_numpy(random.permutation(len(places)))
                for first_row in range(0, len(places), _BATCH):
                    batch = within[first_row : first_row + _BATCH]
                    yield chunk[batch], labels[batch]

    def _spread(self) -> float:
        """Return an upper bound on the features' largest variance in any direction."""
        return float(len(self.scale) if self._correlations is None else torch.linalg.matrix_norm(self._correlations))

    def _correlated(self) -> Tensor | None:
        """Return the correlations ``(K, K)`` of a sample of rows; None for too many features."""
        if len(self.scale) > _DECORRELATED:
            return None
        sample = np.linspace(0, len(self.rows) - 1, min(_SAMPLE, len(self.rows))).astype(np.int64)
        total = torch.zeros(len(self.scale), len(self.scale))
        for start in range(0, len(sample), self._step()):
            standardised = self._rows(sample[start : start + self._step()])
            total.addmm_(standardised.T, standardised)
        return total.div_(len(sample))
