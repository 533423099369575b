"""Create timm networks by name, and find the layers between their last feature map and the classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from tlaam.errors import ModelError, did_you_mean
from tlaam.models.pooled_norm import PooledNorm

INSTEAD = "choose one that does, such as resnet50, convnext_tiny or vit_small_patch16_224"
"""Advice for errors about networks without a feature map."""


class Tail(NamedTuple):
    """The modules that timm runs after the last feature map, without the classifier.

    Attributes:
        norm: name of the norm that immediately follows pooling; empty if there is none.
        others: names of further modules with weights (a late convolution, attention pooling).
        pooled: timm's own features of `image`, ``(1, K')``; None if its head computes none.
        features: the network's unprocessed features of `image`.
        image: noise, ``(1, 3, S, S)``.
    """

    norm: str
    others: tuple[str, ...]
    pooled: Tensor | None
    features: Tensor
    image: Tensor


def create(name: str, image_size: int) -> nn.Module:
    """Build a timm model without its classifier that accepts other input sizes than its own if its family can.

    Raises:
        ModelError: timm has no such model, or it cannot be built for this size.
    """
    if not timm.is_model(name):
        raise ModelError(f"timm has no model '{name}'.{did_you_mean(name, timm.list_models())}")
    # Families accept different options: ViT; Swin and EVA; Swin before timm 1.0.16; fixed-size families; CNNs.
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
                raise ModelError(f"timm cannot build '{name}' without its head: {fault(error)}.") from error
            continue
        except (RuntimeError, AssertionError, ValueError) as error:  # an unknown tag, or a size that is not divisible
            raise ModelError(f"timm cannot build '{name}' for {image_size} pixel images: {fault(error)}.") from error
        return network
    raise AssertionError("the last attempt has no options that could be refused")


def parameter_count(name: str, image_size: int) -> int:
    """Return the number of parameters of a timm network without its head, without allocating memory for them.

    Raises:
        ModelError: see `create`.
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create(name, image_size).parameters())


def take_off_tail(network: nn.Module, name: str, image_size: int) -> Tail:
    """Remove the modules after the last map (heads, MobileNetV3's late convolution), whose weights never train.

    They are found by running the network on noise, since families name and order them differently.

    Args:
        network: the result of `create`. The modules are removed in place; look up by name beforehand those that are
            still needed.
        name, image_size: see `create`.

    Raises:
        ModelError: the network does not accept images of this size, or outputs no feature map.
    """
    if not callable(getattr(network, "forward_features", None)):
        raise ModelError(f"{name} makes features in several resolutions and has no last map; {INSTEAD}.")
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), _evaluating(network):
        with _called(network, deepest=False) as used:
            features = _features(network, name, image)
        require_map(features, name)
        with _called(network, deepest=True) as after:
            try:
                pooled = network.forward_head(features, pre_logits=True)  # type: ignore[operator]
            except Exception:  # a network without a head raises an error of its own kind
                pooled = None
        norm = after[0] if after and PooledNorm.fits(network.get_submodule(after[0])) else ""
        tail = Tail(norm, tuple(after[bool(norm) :]), pooled, features, image)
        children = {place.partition(".")[0] for place in used}
        for place, child in list(network.named_children()):
            if place in children or not any(True for _ in child.parameters()):
                continue
            setattr(network, place, nn.Identity())
            if not _runs_as_before(network, image, features):  # its weights are used without calling it
                setattr(network, place, child)
    return tail


def require_map(features: Any, name: str) -> None:
    """Check that features are tokens ``(B, N, K)`` or a map with four axes.

    Raises:
        ModelError: there are several sets of features, or one vector per image.
    """
    if isinstance(features, (list, tuple, dict)):
        raise ModelError(f"{name} puts out {len(features)} sets of features and no single map; {INSTEAD}.")
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ModelError(f"{name} puts out no map of places; {INSTEAD}.")


def fault(error: Exception) -> str:
    """Return the message of another library's error on one line, without its full stop."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def own_size(network: nn.Module) -> int | None:
    """Return the side of the images that a network was designed for."""
    shape = getattr(network, "pretrained_cfg", {}).get("input_size")
    return int(shape[-1]) if isinstance(shape, Sequence) else None


def _features(network: nn.Module, name: str, image: Tensor) -> Any:
    try:
        return network.forward_features(image)  # type: ignore[operator]
    except Exception as error:  # each family rejects a size in its own way
        side, own = image.shape[-1], own_size(network)
        remedy = f"; give image_size {own}, its own" if own not in (None, side) else f"; {INSTEAD}"
        raise ModelError(f"{name} cannot take {side} pixel images: {fault(error)}{remedy}.") from error


def _runs_as_before(network: nn.Module, image: Tensor, features: Tensor) -> bool:
    try:
        again = network.forward_features(image)  # type: ignore[operator]
    except Exception:  # families fail in different ways if a module is missing
        return False
    return isinstance(again, Tensor) and torch.equal(again, features)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    network.eval()
    try:
        yield
    finally:
        network.train()


@contextmanager
def _called(network: nn.Module, *, deepest: bool) -> Iterator[list[str]]:
    """List the modules that are called, in order: all, or only the deepest that have own weights or normalise."""
    called: list[str] = []

    def note(place: str) -> Callable[..., None]:
        return lambda *_: called.append(place)

    handles = [
        module.register_forward_hook(note(place))
        for place, module in network.named_modules()
        if place and (not deepest or PooledNorm.fits(module) or any(True for _ in module.parameters(recurse=False)))
    ]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()
