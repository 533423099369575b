"""Any timm network as an extractor of feature maps ``(B, K, H, W)`` (docs/how-it-works.md, 1)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tlaam.errors import ModelError, did_you_mean
from tlaam.models.norm import select_view, statistics_kept
from tlaam.models.pooled_norm import PooledNorm, at_each_position
from tlaam.models.timm_network import INSTEAD, Tail, create, fault, take_off_tail

# ResNet's layer4.2, EfficientNet's blocks.6.0, ConvNeXt's and Swin's stages.3.blocks.1, RegNet's s4.b7; "stage" is
# inserted in the name where channel attention follows a whole stage.
_BLOCK = re.compile(r"layer\d\.\d+|blocks\.\d+(\.stage)?\.\d+|(stages|layers)\.\d+(\.stage)?\.blocks\.\d+|s\d\.b\d+")
_ROW_OF_BLOCKS = re.compile(r"blocks\.\d+")


class Backbone(nn.Module):
    """A timm network without its head; its last feature map is always ``(B, K, H, W)``.

    Channels-last maps (Swin) are permuted. Patch tokens (ViT, DeiT, DINOv2/v3) are rearranged into their grid, without
    class and register tokens. If a network normalises after pooling (ConvNeXt, BEiT, EVA-02), its norm is applied to
    the map (`tlaam.models.pooled_norm`), so that pooling and one linear layer can follow.

    Args:
        name: a timm model name, with or without a pretrained tag.
        image_size: side of the input it is built for; other sizes are accepted too (position embeddings are
            interpolated).

    Attributes:
        name, image_size: as given.
        channels: K.
        mean, std: the normalisation that its pretrained weights expect, for RGB in [0, 1].
        norm_name: timm's name of the norm after pooling; empty if there is none.
        remarks: notes to show before training: that the map's mean differs from timm's own features, and why; which
            weights of a file were used.
        recompute: whether a training pass recomputes its activations in the backward pass instead of keeping them, so
            that memory holds those of one pass at a time.

    Raises:
        ModelError: timm has no such model, or it cannot be built as an extractor of feature maps.
    """

    def __init__(self, name: str, image_size: int = 224) -> None:
        super().__init__()
        self.name, self.image_size = name, image_size
        self.recompute = False
        self._taps: dict[str, _Tap] = {}
        self.network = create(name, image_size)
        modules = dict(self.network.named_modules())
        tail = take_off_tail(self.network, name, image_size)
        self._channels_last = _is_channels_last(self.network, tail.features)
        self.norm_name = tail.norm
        self.norm: nn.Module = nn.Identity()
        self.pooled_norm: nn.Module = PooledNorm(modules[tail.norm]) if tail.norm else nn.Identity()
        with torch.no_grad():
            features = self._as_map(tail.features, tail.image)
        if tail.features.ndim == 3 and features.shape[2:] == (1, 1) and image_size >= 64:
            raise ModelError(f"{name} puts out its class token alone, and so no map of places; {INSTEAD}.")
        self.channels = int(features.shape[1])
        self.remarks = [remark] if (remark := _difference(name, tail, features)) else []
        config = cast("dict[str, Any]", self.network.pretrained_cfg)
        self.mean: tuple[float, float, float] = tuple(config["mean"])
        self.std: tuple[float, float, float] = tuple(config["std"])
        self.register_load_state_dict_pre_hook(_norm_as_saved)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, view: int = 0) -> Tensor:
        """Map normalised images ``(B, 3, S, S)`` to the last feature map ``(B, K, H, W)``.

        Args:
            x: the images.
            view: the view whose batch normalisation statistics are used, if `split_statistics` gave each view its own.
        """
        features: Tensor = self._passed(self._features, x, view)
        return features

    def pyramid(self, x: Tensor, view: int = 0) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map normalised images to the last feature map and, in the same pass, the maps of the last two resolutions.

        A network with a single resolution (ViT) returns the maps at two thirds of its depth and of its last block. A
        network whose stages timm does not list returns its last map alone.

        Returns:
            The result of `forward`, and maps ``(B, K_i, h_i, w_i)``, finer first.
        """
        if not self._pyramid_indices:
            features = self(x, view)
            return features, (features,)
        both: tuple[Tensor, tuple[Tensor, ...]] = self._passed(self._pyramid, x, view)
        return both

    def _features(self, x: Tensor, view: int) -> Tensor:
        select_view(self.network, view)
        return self._as_map(self.network.forward_features(x), x)  # type: ignore[operator]

    def _pyramid(self, x: Tensor, view: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        select_view(self.network, view)
        features, maps = self.network.forward_intermediates(  # type: ignore[operator]
            x, indices=list(self._pyramid_indices), norm=False, output_fmt="NCHW"
        )
        return self._as_map(features, x), tuple(maps)

    def _passed(self, run: Callable[[Tensor, int], Any], x: Tensor, view: int) -> Any:
        """Run a forward pass; its activations are kept for the backward pass or recomputed there."""
        listening = any(tap.x is not None for tap in self._taps.values())
        if not self.recompute or listening or not (self.training and torch.is_grad_enabled()):
            return run(x, view)
        return checkpoint(
            run, x, view, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(self.network))
        )

    @property
    def _pyramid_indices(self) -> tuple[int, ...]:
        """Return the indices in timm's list of the stages that form the pyramid, finer first; empty if too few."""
        stages = getattr(self.network, "feature_info", None)
        if not hasattr(self.network, "forward_intermediates") or not isinstance(stages, list) or len(stages) < 2:
            return ()
        reductions = [stage["reduction"] for stage in stages]
        finer = [index for index, reduction in enumerate(reductions) if reduction < reductions[-1]]
        return (finer[-1] if finer else (2 * len(stages) - 1) // 3, len(stages) - 1)

    def earlier_block(self) -> str | None:
        """Return the name of the block before the last one (AOLM's second map); None if the blocks are not known."""
        blocks = [name for name, _ in self.network.named_modules() if _BLOCK.fullmatch(name)]
        if not blocks:  # ViT has a single sequence of blocks
            blocks = [name for name, _ in self.network.named_modules() if _ROW_OF_BLOCKS.fullmatch(name)]
        return blocks[-2] if len(blocks) > 1 else None

    def _as_map(self, features: Tensor, x: Tensor) -> Tensor:
        if features.ndim == 3:
            features = self._tokens_to_map(features, x)
        elif self._channels_last:
            features = features.permute(0, 3, 1, 2)
        normalised: Tensor = self.pooled_norm(at_each_position(self.norm, features))
        return normalised

    def _tokens_to_map(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Rearrange tokens ``(B, prefix + H·W, K)`` into ``(B, K, H, W)``, without class and register tokens."""
        prefix = getattr(self.network, "num_prefix_tokens", None)
        tokens = tokens[:, int(prefix or 0) :]
        embed: Any = getattr(self.network, "patch_embed", None)
        if hasattr(embed, "dynamic_feat_size"):
            rows, columns = embed.dynamic_feat_size((x.shape[2], x.shape[3]))
        else:
            rows = columns = math.isqrt(tokens.shape[1])
            if prefix is None and 0 < tokens.shape[1] - rows * columns <= 2:  # CoaT does not declare its class token
                tokens = tokens[:, tokens.shape[1] - rows * columns :]
        if rows * columns != tokens.shape[1] or rows * columns == 0:
            raise ModelError(
                f"{self.name} puts out {tokens.shape[1]} tokens beside class tokens, which are no map of "
                f"{rows}×{columns} places; {INSTEAD}."
            )
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], rows, columns)

    @contextmanager
    def capture(self, layer: str, x: Tensor, *, leaf: bool = True) -> Iterator[list[Tensor]]:
        """Record the output of one module during the forward pass of x, as part of the graph.

        If the output has no graph (frozen weights, evaluation), it becomes a leaf at which gradients stop.

        Args:
            layer: dotted name of a module of the timm network, e.g. ``layer3`` or ``blocks.4``.
            x: the images that will be passed; they determine the shape of the token grid.
            leaf: whether gradients with respect to the output will be requested.

        Yields:
            A list that receives one map ``(B, C, H, W)`` per forward pass.

        Raises:
            ModelError: there is no such module.
        """
        tap = self.watch(layer)
        tap.x, tap.leaf, tap.maps = x, leaf, []
        try:
            yield tap.maps
        finally:
            tap.x, tap.maps = None, []

    def watch(self, layer: str) -> _Tap:
        """Register the hook that `capture` uses: before a network is compiled, since a graph cannot register one.

        Raises:
            ModelError: there is no such module.
        """
        if layer not in self._taps:
            modules = dict(self.network.named_modules())
            if layer not in modules or not layer:
                raise ModelError(f"{self.name} has no module '{layer}'.{did_you_mean(layer, modules)}")
            self._taps[layer] = _Tap(self, layer)
            modules[layer].register_forward_hook(self._taps[layer])
        return self._taps[layer]


class _Tap:
    """A forward hook that keeps a module's output while `x`, the current input, is set; as a class it can be copied."""

    def __init__(self, backbone: Backbone, layer: str) -> None:
        self.backbone, self.layer = backbone, layer
        self.x: Tensor | None = None
        self.leaf = True
        self.maps: list[Tensor] = []

    def __call__(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        if self.x is None:
            return None
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            raise ModelError(
                f"heatmap_layer '{self.layer}' of {self.backbone.name} puts out no map; choose a stage or block."
            )
        output = output.detach().requires_grad_() if self.leaf and not output.requires_grad else output
        # Later layers must read the very tensor that is kept, or no gradient would reach it. So it is converted back.
        if output.ndim == 3:
            maps = self.backbone._tokens_to_map(output, self.x)
            self.maps.append(maps)
            prefix = output[:, : output.shape[1] - maps.shape[2] * maps.shape[3]]
            return torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
        if self.backbone._channels_last:
            maps = output.permute(0, 3, 1, 2)
            self.maps.append(maps)
            return maps.permute(0, 2, 3, 1)
        self.maps.append(output)
        return output


def _is_channels_last(network: nn.Module, features: Tensor) -> bool:
    if str(getattr(network, "output_fmt", "")).endswith("NHWC"):
        return True
    channels = getattr(network, "num_features", None)
    return features.ndim == 4 and features.shape[1] != channels == features.shape[3]


def _difference(name: str, tail: Tail, features: Tensor) -> str:
    """Return a sentence on why the mean of a map differs from the features that timm classifies; empty if equal."""
    pooled, own = features.mean((2, 3)), tail.pooled
    if own is None or (own.shape == pooled.shape and torch.allclose(pooled, own, rtol=1e-3, atol=1e-4)):
        return ""
    if tail.others:
        return (
            f"{name} has further layers between its last map and its classifier ({tail.others[0]}); here they are left "
            "out, and the map is averaged."
        )
    if tail.features.ndim == 3 and tail.features.shape[1] > features.shape[2] * features.shape[3]:
        return f"{name} is classified by its class token; here its patch tokens are averaged, which have places."
    return f"{name} is pooled in a way of its own; here its last map is averaged."


def _norm_as_saved(backbone: Backbone, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Restore how a model saved by version 0.1.0 worked: ConvNeXt normalised each position, other networks none."""
    if not isinstance(backbone.pooled_norm, PooledNorm) or getattr(backbone.pooled_norm.norm, "weight", None) is None:
        return
    if f"{prefix}pooled_norm.norm.weight" not in state:
        if f"{prefix}norm.weight" in state:
            backbone.norm = backbone.pooled_norm.norm
        backbone.pooled_norm = nn.Identity()


def probe_shape(backbone: Backbone, image_size: int, layer: str | None = None) -> tuple[int, int, int]:
    """Return (K, H, W) of the map for images of this size, by running one blank image in evaluation mode.

    Args:
        backbone: the network.
        image_size: side of the image.
        layer: a module whose map is to be explained too; it is only checked, its shape is not returned.

    Raises:
        ModelError: the network does not accept this size, or the layer outputs no map.
    """
    was_training = backbone.training
    blank = next(backbone.parameters()).new_zeros(1, 3, image_size, image_size)
    try:
        with torch.no_grad():
            if layer is None:
                features = backbone.eval()(blank)
            else:
                with backbone.capture(layer, blank) as maps:
                    features = backbone.eval()(blank)
                if len(maps) != 1:
                    raise ModelError(f"heatmap_layer '{layer}' runs {len(maps)} times a pass; it must run once.")
    except ModelError:
        raise
    except Exception as error:  # each family rejects a size in its own way
        raise ModelError(f"{backbone.name} cannot take {image_size} pixel images: {fault(error)}.") from error
    finally:
        backbone.train(was_training)
    return tuple(features.shape[1:])


def pyramid_channels(backbone: Backbone, image_size: int) -> tuple[int, ...]:
    """Return the number of channels of each map of `Backbone.pyramid`, finer first, by running one blank image."""
    was_training = backbone.training
    blank = next(backbone.parameters()).new_zeros(1, 3, image_size, image_size)
    try:
        with torch.no_grad():
            return tuple(maps.shape[1] for maps in backbone.eval().pyramid(blank)[1])
    finally:
        backbone.train(was_training)
