"""Apply a norm that follows global average pooling to the map before pooling, so that pooling can come last."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PooledNorm(nn.Module):
    """Normalise a map so that its spatial mean is the norm of the map's spatial mean.

    Layer normalisation of a pooled vector x̄ subtracts its mean over channels and divides by its standard deviation.
    The mean can be subtracted at each position, since pooling is linear; the divisor is one number per image, computed
    from x̄:

        A_ij = γ ⊙ (x_ij − mean_c x_ij) / sqrt(var_c x̄ + ε) + β,     so that  mean_ij A_ij = LayerNorm(x̄)

    So pooled features are timm's own, and one linear layer still follows the mean of a map, which the closed form of
    OAAM needs. A root-mean-square norm subtracts nothing.

    Args:
        norm: timm's module, whose weights are reused; see `fits` for the supported ones.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.centred = not _by_root_mean_square(norm)

    @staticmethod
    def fits(norm: nn.Module) -> bool:
        """Return whether a module normalises over all channels at once, by standard deviation or root mean square."""
        if isinstance(norm, nn.GroupNorm):
            return norm.num_groups == 1
        return isinstance(norm, nn.LayerNorm) or _by_root_mean_square(norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, K, H, W)`` to the same shape, in at least float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        pooled = x.mean((2, 3), keepdim=True)  # x̄, [B, K, 1, 1]
        if self.centred:
            x, pooled = x - x.mean(1, keepdim=True), pooled - pooled.mean(1, keepdim=True)
        scale = (pooled.square().mean(1, keepdim=True) + float(self.norm.eps)).rsqrt()  # type: ignore[arg-type]
        weight, bias = (getattr(self.norm, name, None) for name in ("weight", "bias"))
        if weight is not None:
            scale = scale * weight.to(x.dtype)[:, None, None]
        return x * scale if bias is None else torch.addcmul(bias.to(x.dtype)[:, None, None], x, scale)


def at_each_position(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise each position of ``(B, K, H, W)`` by itself, as models saved by version 0.1.0 do."""
    if isinstance(norm, nn.LayerNorm) and "2d" not in type(norm).__name__:
        turned: Tensor = norm(x.permute(0, 2, 3, 1))
        return turned.permute(0, 3, 1, 2)
    result: Tensor = norm(x)
    return result


def _by_root_mean_square(norm: nn.Module) -> bool:
    return type(norm).__name__.lower().startswith("rmsnorm")
