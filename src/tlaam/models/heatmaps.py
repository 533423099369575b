"""OAAM's heat map (docs/how-it-works.md, 2): which positions of a feature map raise the score of a class.

The weights are those of Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063), summed over the ReLU of the gradient
as the paper states. With g = ∂Y^c/∂A:

    α_ij^k = g² / (2 g² + Σ_ab A_ab^k · g³)        (0 where g = 0)
    w_k    = Σ_ij α_ij^k · ReLU(g_ij^k)
    L_ij   = ReLU( Σ_k w_k · A_ij^k )

If A feeds global average pooling and one linear layer V, g = V_ck/(HW) everywhere and w_k simplifies to
ReLU(V_ck) / (2 + V_ck · Ā_k), which needs no backward pass and no hooks. Any other case uses autograd with the same
formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.errors import ModelError
from tlaam.models.channelwise import spatial_mean


class LinearHead(nn.Linear):
    """Global average pooling and one linear layer, Y = V Ā + b: the classifier that all branches share.

    Args:
        channels: K.
        classes: C.
        drop: dropout of the pooled features during training.
    """

    def __init__(self, channels: int, classes: int, *, drop: float = 0.0) -> None:
        super().__init__(channels, classes)
        self.drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, K, H, W)`` to logits ``(B, C)``, in at least float32, also under autocast."""
        device = features.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._scores(features)
        return self._scores(features)

    def pooled(self, features: Tensor) -> Tensor:
        """Return Ā ``(B, K)`` of features ``(B, K, H, W)``, in at least float32, also under autocast."""
        return spatial_mean(features).to(self.weight.dtype)

    def _scores(self, features: Tensor) -> Tensor:
        return super().forward(functional.dropout(self.pooled(features), self.drop, self.training))


_Network = TypeVar("_Network", bound=nn.Module)


def start_small(network: _Network) -> _Network:
    """Initialise every classifier in a network with small weights and zero bias, in place; return the network."""
    for module in network.modules():
        if isinstance(module, LinearHead):
            nn.init.trunc_normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    return network


def object_heatmap(features: Tensor, classes: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Return OAAM's heat map of one class per image.

    Args:
        features: A, ``(B, K, H, W)``.
        classes: class index c of each image, long ``(B,)``.
        head: maps the features to scores ``(B, C)``. For a `LinearHead` the exact closed form is used; anything else
            is differentiated.

    Returns:
        L, ``(B, H, W)``, non-negative, not normalised, without gradient, computed in at least float32.
    """
    if isinstance(head, LinearHead):
        return closed_form_heatmap(features, classes, head.weight)
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        scores = head(features)
    return autograd_heatmap(features, scores, classes)


def closed_form_heatmap(features: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Return the heat map for scores ``weight · mean(features) + b``; exact, needs no gradient.

    Args:
        features: A, ``(B, K, H, W)``.
        classes: class index of each image, long ``(B,)``.
        weight: V, ``(C, K)``.

    Returns:
        L, ``(B, H, W)``, in at least float32, also under autocast.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features.detach())
        class_weight = weight.detach().to(features.dtype)[classes]  # V_c, (B, K)
        # α is 0 where g = 0; ReLU(0) = 0 in the numerator has the same effect.
        channel_weights = class_weight.relu() / _away_from_zero(2 + class_weight * features.mean((2, 3)))
        return _weighted_sum(features, channel_weights)


def autograd_heatmap(features: Tensor, scores: Tensor, classes: Tensor, *, retain_graph: bool = True) -> Tensor:
    """Return the heat map of any feature map that the scores depend on, by differentiating the scores.

    Args:
        features: A, ``(B, K, H, W)``, part of the graph that `scores` came from.
        scores: Y, ``(B, C)``.
        classes: class index of each image, long ``(B,)``.
        retain_graph: keep the graph for a later backward pass.

    Returns:
        L, ``(B, H, W)``, detached, in at least float32.

    Raises:
        ModelError: the scores do not depend on the features through a graph.
    """
    gradient = class_gradient(features, scores, classes, retain_graph=retain_graph)
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        features, gradient = at_least_float32(features.detach()), at_least_float32(gradient)
        mass = features.sum((2, 3), keepdim=True)  # Σ_ab A_ab^k
        # g²/(2g² + mass·g³) = 1/(2 + mass·g): the same number, without squares that underflow.
        alpha = torch.where(gradient == 0, 0, 1 / _away_from_zero(2 + mass * gradient))
        return _weighted_sum(features, (alpha * gradient.relu()).sum((2, 3)))


def class_gradient(features: Tensor, scores: Tensor, classes: Tensor, *, retain_graph: bool = True) -> Tensor:
    """Return g = ∂Y^c/∂A of one class per image, in A's shape; see `autograd_heatmap` for arguments and errors."""
    if not scores.requires_grad:
        raise ModelError(
            "the scores carry no graph, so no gradient flows back to the feature map; "
            "compute them from the features under torch.enable_grad()."
        )
    with torch.enable_grad():
        chosen = scores.gather(1, classes[:, None]).sum()  # images are independent, so one backward serves the batch
    (gradient,) = torch.autograd.grad(chosen, features, retain_graph=retain_graph)
    return gradient


def _weighted_sum(features: Tensor, channel_weights: Tensor) -> Tensor:
    return torch.einsum("bk,bkhw->bhw", channel_weights, features).relu()


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, converted to float32 if its precision is lower."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _away_from_zero(x: Tensor) -> Tensor:
    """Keep a denominator away from zero without changing its sign, so that one channel cannot make a map infinite.

    Negative activations (GELU, SiLU networks) can bring 2 + V·Ā to zero, where the definition has a pole.
    """
    smallest = torch.finfo(x.dtype).eps
    return torch.where(x.abs() < smallest, torch.where(x < 0, -smallest, smallest), x)
