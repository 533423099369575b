"""Any timm network as a maker of feature maps ``(B, K, H, W)`` (docs/how-it-works.md, 1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tlaam.errors import ModelError, did_you_mean
from tlaam.models.norm import select_view, statistics_kept

# ResNet's layer4.2, EfficientNet's blocks.6.0, ConvNeXt's and Swin's stages.3.blocks.1, RegNet's s4.b7; "stage" stands
# between where channel attention follows a whole stage.
_BLOCK = re.compile(r"layer\d\.\d+|blocks\.\d+(\.stage)?\.\d+|(stages|layers)\.\d+(\.stage)?\.blocks\.\d+|s\d\.b\d+")
_ROW_OF_BLOCKS = re.compile(r"blocks\.\d+")


class Backbone(nn.Module):
    """A timm network without its head; its last map always comes out as ``(B, K, H, W)``.

    Channels-last maps (Swin) are turned, patch tokens (ViT, DeiT, DINOv2/v3) are laid back into their grid with class
    and register tokens left out. A network that normalises after pooling (ConvNeXt) normalises each position here
    instead, so that pooling and one linear layer may follow.

    Args:
        name: a timm model name, with or without a pretrained tag.
        image_size: side of the input it is built for; other sizes are taken too (positions are interpolated).

    Attributes:
        name, image_size: as given.
        channels: K.
        mean, std: the preprocessing its pretrained weights expect, RGB in [0, 1].
        recompute: whether a training pass makes its activations again in the backward pass instead of keeping them, so
            that memory holds those of one pass at a time.

    Raises:
        ModelError: timm has no such model, or it cannot be built as a maker of feature maps.
    """

    def __init__(self, name: str, image_size: int = 224) -> None:
        super().__init__()
        self.name, self.image_size = name, image_size
        self.recompute = False
        self._taps: dict[str, _Tap] = {}
        self.network = _create(name, image_size)
        self.channels = int(cast("int", self.network.num_features))
        norm = getattr(getattr(self.network, "head", None), "norm", None)
        self.norm = norm if isinstance(norm, nn.Module) else nn.Identity()
        _drop_unused(self.network, image_size)
        config = cast("dict[str, Any]", self.network.pretrained_cfg)
        self.mean: tuple[float, float, float] = tuple(config["mean"])
        self.std: tuple[float, float, float] = tuple(config["std"])

    def forward(self, x: Tensor, view: int = 0) -> Tensor:
        """Map normalised images ``(B, 3, S, S)`` to the last feature map ``(B, K, H, W)``.

        Args:
            x: the images.
            view: whose statistics batch normalisation uses, where `split_statistics` gave each view its own.
        """
        features: Tensor = self._passed(self._features, x, view)
        return features

    def pyramid(self, x: Tensor, view: int = 0) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map normalised images to the last feature map and, in the same pass, the maps of the last two resolutions.

        A network of one resolution (ViT) gives the map at two thirds of its depth and that of its last block; one whose
        stages timm does not list gives its last map alone.

        Returns:
            What `forward` returns, and maps ``(B, K_i, h_i, w_i)``, finer first.
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
        """Run a pass; its activations are kept for the backward pass, or made again then."""
        listening = any(tap.x is not None for tap in self._taps.values())
        if not self.recompute or listening or not (self.training and torch.is_grad_enabled()):
            return run(x, view)
        return checkpoint(
            run, x, view, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(self.network))
        )

    @property
    def _pyramid_indices(self) -> tuple[int, ...]:
        """Return which of timm's listed stages make the pyramid, finer first; none where it lists too few."""
        stages = getattr(self.network, "feature_info", None)
        if not hasattr(self.network, "forward_intermediates") or not isinstance(stages, list) or len(stages) < 2:
            return ()
        reductions = [stage["reduction"] for stage in stages]
        finer = [index for index, reduction in enumerate(reductions) if reduction < reductions[-1]]
        return (finer[-1] if finer else (2 * len(stages) - 1) // 3, len(stages) - 1)

    def earlier_block(self) -> str | None:
        """Return the name of the block before the last one (AOLM's second look); None where blocks are not known."""
        blocks = [name for name, _ in self.network.named_modules() if _BLOCK.fullmatch(name)]
        if not blocks:  # ViT's blocks stand in one row
            blocks = [name for name, _ in self.network.named_modules() if _ROW_OF_BLOCKS.fullmatch(name)]
        return blocks[-2] if len(blocks) > 1 else None

    def _as_map(self, features: Tensor, x: Tensor) -> Tensor:
        if features.ndim == 3:
            features = self._tokens_to_map(features, x)
        elif self._channels_last:
            features = features.permute(0, 3, 1, 2)
        return self._normalise(features)

    @property
    def _channels_last(self) -> bool:
        return str(getattr(self.network, "output_fmt", "")).endswith("NHWC")

    def _normalise(self, features: Tensor) -> Tensor:
        if isinstance(self.norm, nn.LayerNorm) and "2d" not in type(self.norm).__name__:
            features = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            features = self.norm(features)
        return features

    def _tokens_to_map(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Lay tokens ``(B, prefix + H·W, K)`` back into ``(B, K, H, W)``, class and register tokens left out."""
        tokens = tokens[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
        embed: Any = getattr(self.network, "patch_embed", None)
        if hasattr(embed, "dynamic_feat_size"):
            rows, columns = embed.dynamic_feat_size((x.shape[2], x.shape[3]))
        else:
            rows = columns = round(tokens.shape[1] ** 0.5)
        if rows * columns != tokens.shape[1]:
            raise ModelError(f"{self.name} puts out {tokens.shape[1]} tokens, which are no {rows}×{columns} grid.")
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], rows, columns)

    @contextmanager
    def capture(self, layer: str, x: Tensor, *, leaf: bool = True) -> Iterator[list[Tensor]]:
        """Keep the output of one module while x passes through, as part of the graph.

        Where the output carries no graph (frozen weights, evaluation) it is made a leaf that gradients stop at.

        Args:
            layer: dotted name of a module of the timm network, e.g. ``layer3`` or ``blocks.4``.
            x: the images that will be passed, for the token grid's shape.
            leaf: whether gradients by it will be asked for.

        Yields:
            A list that receives one map ``(B, C, H, W)`` a forward pass.

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
        """Put up what `capture` listens by: before a network is compiled, since a graph cannot.

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
    """A forward hook that keeps a module's output while `x`, what passes, is set; a class, so that it can be copied."""

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
        # Later layers must read the very tensor that is kept, or no gradient would reach it: hence the way back.
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


def parameter_count(name: str, image_size: int) -> int:
    """Return how many parameters a timm network has, its head left out, without taking memory for them.

    Raises:
        ModelError: as by `Backbone`.
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _create(name, image_size).parameters())


def _create(name: str, image_size: int) -> nn.Module:
    """Build a timm model without head, able to take other sizes than its own where its family can."""
    if not timm.is_model(name):
        raise ModelError(f"timm has no model '{name}'.{did_you_mean(name, timm.list_models())}")
    # Families differ in which of these they know: ViT, Swin and EVA, Swin before timm 1.0.16, fixed-size ones, CNNs.
    attempts: tuple[dict[str, Any], ...] = (
        {"img_size": image_size, "dynamic_img_size": True, "dynamic_img_pad": True},
        {"img_size": image_size, "dynamic_img_size": True},
        {"img_size": image_size, "strict_img_size": False},
        {"img_size": image_size},
        {},
    )
    for options in attempts:
        try:
            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
        except TypeError as error:
            if "unexpected keyword" not in str(error) or not options:
                raise ModelError(f"timm cannot build '{name}' without its head: {error}") from error
            continue
        except (RuntimeError, AssertionError, ValueError) as error:  # an unknown tag, a size that does not divide
            raise ModelError(f"timm cannot build '{name}' for {image_size} pixel images: {error}") from error
        return network
    raise AssertionError("the last attempt has no options that could be refused")


def _drop_unused(network: nn.Module, image_size: int) -> None:
    """Take out what stands behind the last map (heads, MobileNetV3's late convolution): weights that never train.

    Found by running a blank image, since families name and order these differently.
    """
    used: set[str] = set()
    handles = [
        # Any module within counts: a list of blocks is never called itself.
        module.register_forward_hook(lambda *_args, name=name: used.add(name))  # type: ignore[misc]
        for name, child in network.named_children()
        for module in child.modules()
    ]
    try:
        with torch.no_grad():
            network.eval().forward_features(torch.zeros(1, 3, image_size, image_size))  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
        network.train()
    for name, child in network.named_children():
        if name not in used and any(True for _ in child.parameters()):
            setattr(network, name, nn.Identity())


def probe_shape(backbone: Backbone, image_size: int, layer: str | None = None) -> tuple[int, int, int]:
    """Return (K, H, W) of the map that images of this side give, by running one blank image in evaluation mode.

    Args:
        backbone: the network.
        image_size: side of the image.
        layer: a module whose map shall be explained as well; it is checked, its shape is not returned.

    Raises:
        ModelError: the network cannot take this size, or the layer gives no map.
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
    except (RuntimeError, AssertionError, ValueError) as error:  # each family refuses a size in its own way
        fault = " ".join(str(error).split())[:200]
        raise ModelError(f"{backbone.name} cannot take {image_size} pixel images: {fault}") from error
    finally:
        backbone.train(was_training)
    return tuple(features.shape[1:])


def pyramid_channels(backbone: Backbone, image_size: int) -> tuple[int, ...]:
    """Return the channels of `Backbone.pyramid`'s maps, finer first, by running one blank image."""
    was_training = backbone.training
    blank = next(backbone.parameters()).new_zeros(1, 3, image_size, image_size)
    try:
        with torch.no_grad():
            return tuple(maps.shape[1] for maps in backbone.eval().pyramid(blank)[1])
    finally:
        backbone.train(was_training)
