"""Channel attention: LCAM, the local cross-channel attention module (SPEC §4), with ECA as its special case, and SE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.errors import ModelError
from tlaam.model.channelwise import spatial_mean, weigh_channels

if TYPE_CHECKING:
    from tlaam.config import ModelConfig

Gate = Literal["identity", "sigmoid"]


def neighbourhood(channels: int) -> int:
    """Return ECA's odd neighbourhood size t = |log2(C)/2 + 1/2|_odd (Wang et al. 2020, arXiv 1910.03151)."""
    t = int(abs(math.log2(channels) / 2 + 0.5))
    return t if t % 2 else t + 1


class ChannelAttention(nn.Module):
    """Base: multiply each channel by a gate ω made of all channels' spatial means y; the output is ω ⊙ x.

    Args:
        gate: ``identity`` is 2σ(·), exactly 1 as long as what goes into it is 0; ``sigmoid`` is σ.
        channel_dim: axis of the channels in the input; 1 for ``(B, C, H, W)``, -1 for ``(B, H, W, C)``, ``(B, N, C)``.
    """

    def __init__(self, gate: Gate, channel_dim: int) -> None:
        super().__init__()
        self.gate, self.channel_dim = gate, channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return ω ⊙ x, in x's shape: ``(B, C, H, W)``, or ``(B, …, C)`` with ``channel_dim=-1``."""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            # Gates are made in full precision, which autocast would do by a copy of the whole map.
            with torch.autocast(device, enabled=False):
                return self._attended(x)
        return self._attended(x)

    def _attended(self, x: Tensor) -> Tensor:
        if self.channel_dim == 1 and x.ndim == 4:
            return weigh_channels(x, self.gates(spatial_mean(x)))
        spatial = tuple(range(2, x.ndim)) if self.channel_dim == 1 else tuple(range(1, x.ndim - 1))
        means = x.mean(spatial, dtype=torch.promote_types(x.dtype, torch.float32))
        gates = self.gates(means).to(x.dtype)  # maps stay in their precision
        shape = [x.shape[0]] + [1] * (x.ndim - 1)
        shape[self.channel_dim] = gates.shape[1]
        return x * gates.reshape(shape)

    def gates(self, y: Tensor) -> Tensor:
        """Return ω ``(B, C)`` of channel means y ``(B, C)``."""
        gates = self.responses(y).sigmoid()
        return 2 * gates if self.gate == "identity" else gates

    def responses(self, y: Tensor) -> Tensor:
        """Return what the gate's sigmoid is taken of, ``(B, C)``, of channel means y ``(B, C)``."""
        raise NotImplementedError


class LCAM(ChannelAttention):
    """Weigh each channel by what its t neighbours in channel order respond (SPEC §4).

        ω_i = σ( Σ_{j∈Ω_t(i)} w_i^j y_j ),  y the spatial mean; the output is ω ⊙ x

    The band matrix W_t is kept as its t·C entries and applied as a depthwise convolution over the unfolded
    neighbourhood; beyond the first and last channel y counts as 0.

    Args:
        channels: C.
        kernel: t, odd; by itself `neighbourhood(channels)`.
        shared: one set of t weights for all channels, which is ECA (Wang et al. 2020).
        gate: ``identity`` is 2σ(·) with weights starting at 0, so that the gate is exactly 1 and pretrained features
            stay as they are; ``sigmoid`` is the source's σ with a convolution's usual random start.
        channel_dim: see `ChannelAttention`.

    Raises:
        ModelError: `kernel` is even.
    """

    def __init__(
        self,
        channels: int,
        kernel: int | None = None,
        *,
        shared: bool = False,
        gate: Gate = "identity",
        channel_dim: int = 1,
    ) -> None:
        super().__init__(gate, channel_dim)
        kernel = neighbourhood(channels) if kernel is None else kernel
        if kernel % 2 == 0:
            raise ModelError(f"attention_kernel is {kernel}; it must be odd, as many on each side.")
        self.kernel = kernel
        self.weight = nn.Parameter(torch.zeros(1 if shared else channels, kernel))
        if gate == "sigmoid":
            nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)

    def responses(self, y: Tensor) -> Tensor:
        """Return W_t y ``(B, C)`` of channel means y ``(B, C)``."""
        half = self.kernel // 2
        neighbours = functional.pad(y, (half, half)).unfold(1, self.kernel, 1)  # (B, C, t)
        return (neighbours * self.weight).sum(2)

    def extra_repr(self) -> str:
        """Say the settings when printed."""
        return f"weight={tuple(self.weight.shape)}, gate={self.gate}"


class SE(ChannelAttention):
    """Squeeze and excitation (Hu et al. 2018, arXiv 1709.01507): ω = σ( W₂ ReLU( W₁ y ) ), through C / 16 dimensions.

    Narrow layers keep 8 dimensions: one or two may be dead from the start.

    Args:
        channels: C.
        gate: ``identity`` is 2σ(·) with W₂ starting at 0, so that pretrained features stay as they are; ``sigmoid`` is
            the paper's σ with the layers' usual random start.
        channel_dim: see `ChannelAttention`.
    """

    reduction = 16

    def __init__(self, channels: int, *, gate: Gate = "identity", channel_dim: int = 1) -> None:
        super().__init__(gate, channel_dim)
        self.squeeze = nn.Linear(channels, max(8, channels // self.reduction))
        self.excite = nn.Linear(self.squeeze.out_features, channels)
        if gate == "identity":
            nn.init.zeros_(self.excite.weight)
            nn.init.zeros_(self.excite.bias)

    def responses(self, y: Tensor) -> Tensor:
        """Return W₂ ReLU(W₁ y) ``(B, C)`` of channel means y ``(B, C)``."""
        excited: Tensor = self.excite(self.squeeze(y).relu())
        return excited


def make_lcam(config: ModelConfig, channels: int, *, channel_dim: int) -> LCAM:
    """Make `LCAM` by settings."""
    return LCAM(channels, config.attention_kernel, gate=config.attention_gate, channel_dim=channel_dim)


def make_eca(config: ModelConfig, channels: int, *, channel_dim: int) -> LCAM:
    """Make ECA by settings: `LCAM` with one set of weights."""
    return LCAM(channels, config.attention_kernel, shared=True, gate=config.attention_gate, channel_dim=channel_dim)


def make_se(config: ModelConfig, channels: int, *, channel_dim: int) -> SE:
    """Make `SE` by settings."""
    return SE(channels, gate=config.attention_gate, channel_dim=channel_dim)


class MakesAttention(Protocol):
    """Makes channel attention for C channels on an axis of the maps."""

    def __call__(self, channels: int, /, *, channel_dim: int) -> ChannelAttention: ...


class _After(nn.Module):
    """A stage followed by channel attention; passes on whatever else the stage is called with."""

    def __init__(self, stage: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.stage, self.attention = stage, attention

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        attended: Tensor = self.attention(self.stage(x, *args, **kwargs))
        return attended

    def __getattr__(self, name: str) -> Any:
        # timm asks some stages for attributes of theirs (a Swin stage's feature size, a block's window).
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("stage"), name)


def insert_channel_attention(
    network: nn.Module,
    input_size: int,
    make: MakesAttention = LCAM,
    *,
    stages: Sequence[int] | None = None,
) -> int:
    """Put channel attention into a timm network, in place, after its pretrained weights were loaded.

    Blocks with timm's door for channel attention (`se` of ResNet's and EfficientNet's blocks) get it there, before
    the residual sum; a squeeze-and-excitation module that already stands there stays, and the new one follows it.
    Networks without such a door get it after each stage (ConvNeXt, Swin) or block (ViT).

    Args:
        network: a timm model.
        input_size: side of the images it is built for, in pixels.
        make: makes the module for a number of channels.
        stages: which stages, counted from 0, negative from the last; by itself all.

    Returns:
        The number of modules put in.

    Raises:
        ModelError: the network's stages are not known, or a stage does not exist.
    """
    chain = stages_of(network)
    chosen = range(len(chain)) if stages is None else stages
    inserted = 0
    for index in chosen:
        if not -len(chain) <= index < len(chain):
            raise ModelError(
                f"attention_stages names stage {index}, but this backbone has {len(chain)} (0 to {len(chain) - 1})."
            )
        container, key = chain[index]
        stage = container[key]
        assert stage is not None
        doors = [block for block in stage.modules() if _door_channels(block) is not None]
        for block in doors:
            channels = _door_channels(block)
            assert channels is not None
            attention = make(channels, channel_dim=1)
            block.se = attention if block.se is None else nn.Sequential(block.se, attention)  # type: ignore[assignment,arg-type]
            inserted += 1
        if not doors:
            channels, axis = _output_layout(network, stage, input_size)
            container[key] = _After(stage, make(channels, channel_dim=axis))
            inserted += 1
    return inserted


def stages_of(network: nn.Module) -> list[tuple[dict[str, nn.Module | None], str]]:
    """Return where each stage of a timm network hangs, as (container's children, name), in forward order.

    Raises:
        ModelError: the network's stages are not known.
    """
    for names in (("layer1", "layer2", "layer3", "layer4"), ("s1", "s2", "s3", "s4")):  # ResNet, RegNet
        if all(hasattr(network, name) for name in names):
            return [(network._modules, name) for name in names]
    for name in ("blocks", "stages", "layers"):  # EfficientNet and ViT, ConvNeXt, Swin
        chain = getattr(network, name, None)
        if isinstance(chain, nn.Module) and chain._modules:
            return [(chain._modules, key) for key in chain._modules]
    places = [info["module"].rpartition(".") for info in getattr(network, "feature_info", [])]  # VGG, DenseNet, ...
    modules = dict(network.named_modules())
    if places and all(f"{parent}.{key}".lstrip(".") in modules for parent, _, key in places):
        return [(modules[parent]._modules, key) for parent, _, key in places]
    raise ModelError(
        f"the stages of {type(network).__name__} are not known, so channel attention cannot be put into it; "
        "use attention=none with this backbone."
    )


def _door_channels(block: nn.Module) -> int | None:
    """Return how many channels pass timm's door `se` of a block, or None where the block has no such door."""
    if not hasattr(block, "se"):
        return None
    for after in ("conv_pwl", "conv_pw" if hasattr(block, "conv_dw") else "conv_pwl", "conv3"):
        layer = getattr(block, after, None)
        layer = getattr(layer, "conv", layer)  # RegNet wraps convolution and normalisation together
        if isinstance(layer, nn.Conv2d) and not (after == "conv3" and hasattr(block, "bn3")):
            return layer.in_channels  # the door stands before this projection
    for before in ("bn3", "bn2"):  # ResNet's Bottleneck and BasicBlock: the door follows the last normalisation
        layer = getattr(block, before, None)
        if layer is not None and hasattr(layer, "num_features"):
            return int(layer.num_features)
    return None


def _output_layout(network: nn.Module, stage: nn.Module, input_size: int) -> tuple[int, int]:
    """Return (channels, axis of the channels) of what a stage puts out, found by running it once on a blank image."""
    shapes: list[torch.Size] = []
    handle = stage.register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
    was_training = network.training
    parameter = next(network.parameters())
    try:
        with torch.no_grad():
            network.eval().forward_features(parameter.new_zeros(1, 3, input_size, input_size))  # type: ignore[operator]
    finally:
        handle.remove()
        network.train(was_training)
    shape = shapes[0]
    last = len(shape) == 3 or str(getattr(network, "output_fmt", "")).endswith("NHWC")
    return int(shape[-1] if last else shape[1]), -1 if last else 1
