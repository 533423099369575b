"""What every network of the project offers: to the trainer, to `tlaam.inference.pytorch.infer`, to files.

TL-AAM is one (`tlaam.models.network`); the systems that it is compared with and that share none of its modules are
others, a file each, registered in `tlaam.config.registry`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tlaam.models.attention.base import ChannelAttention
from tlaam.models.backbone import Backbone
from tlaam.models.crops import by_columns
from tlaam.models.output import TLAAMOutput

if TYPE_CHECKING:
    from typing_extensions import Self


class Architecture(nn.Module):
    """Base of the networks.

    Args:
        backbone: makes feature maps of the raw image, and knows how images are normalised.
        image_size: side S of the images as the network sees them.
    """

    mean: Tensor
    std: Tensor

    @property
    def draws_maps(self) -> bool:
        """Whether its heat maps and object boxes come from what the image shows, so that both can be measured."""
        return False

    @property
    def takes_boxes(self) -> bool:
        """Whether `forward` takes ``boxes``, where the objects are; else boxes are cut out before."""
        return False

    @property
    def finds_several(self) -> bool:
        """Whether it can find several objects in one image."""
        return False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of its backbone before it is trained, a sentence each."""
        return tuple(self.backbone.remarks)

    def __init__(self, backbone: Backbone, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        # Buffers, so that the model can never meet pixels that were normalised for another one.
        self.register_buffer("mean", torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images.

        Args:
            images: source images I, RGB, ``(B, 3, P, P')``; uint8, or floating point in [0, 1]. Every crop is cut
                from them, so P above S keeps detail.
            labels: long ``(B,)``, while training.
            raw_only: one of the first epochs of training (`raw_epochs`): of what is more than the raw image, only what
                has to be shown its task runs.

        Returns:
            The record of scores, heat maps and boxes; boxes in pixels of `images`.
        """
        raise NotImplementedError

    def begin_epoch(self, epoch: int, epochs: int, raw_only: bool) -> None:
        """Be told in which epoch training begins or goes on; for networks that learn in turns.

        Args:
            epoch: number of the epoch, from 0.
            epochs: how many there are.
            raw_only: what `forward` will be given in it.
        """

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that start from nothing: by default classifiers' and channel attention's."""
        for name, module in self.named_children():
            if name.startswith("classifier"):
                yield from module.parameters()
        for module in self.modules():
            if isinstance(module, ChannelAttention):
                yield from module.parameters()

    def localizer_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of a part that learns where the object is from a loss of its own."""
        yield from ()

    def normalise(self, images: Tensor) -> Tensor:
        """Return images ``(B, 3, P, P')``, uint8 or in [0, 1], as the backbone was trained to see them.

        They lie in memory as crops are read fastest: as `tlaam.models.crops.by_columns` lays them; in graphs, as they
        came.
        """
        in_graph = torch.compiler.is_compiling()
        pixels, shape = (images, (3, 1, 1)) if in_graph else (by_columns(images), (3,))
        scale = self.std.reciprocal().reshape(shape)
        offset = -(self.mean / self.std).reshape(shape)
        if not pixels.is_floating_point():
            pixels, scale = pixels.to(scale.dtype), scale / 255
        normalised = torch.addcmul(offset, pixels, scale)
        return normalised if in_graph else normalised.permute(0, 3, 2, 1)


class TakesTurns(Architecture):
    """A network whose attention and whose classification learn in turns, each with the other as it is.

    Two epochs of classification are followed by one of attention, but the last epoch is always classification's, so
    that classifiers end with what attention shows them. In the first epochs (``raw_only``) both learn: attention is
    shown its task.

    Attributes:
        attention: name of the child module that learns in attention's turn.
        attention_turn: whether it is attention's turn. Then everything else is frozen, normalises by its running
            statistics and drops nothing out.
    """

    attention: str
    attention_turn: bool = False
    cycle = 3

    def begin_epoch(self, epoch: int, epochs: int, raw_only: bool) -> None:
        """Give the epoch to attention or to classification; to both if `raw_only`."""
        self.attention_turn = not raw_only and epoch % self.cycle == self.cycle - 1 and epoch < epochs - 1
        for name, child in self.named_children():
            child.requires_grad_(raw_only or (name == self.attention) is self.attention_turn)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; while it is attention's turn, training is attention's alone."""
        super().train(mode)
        if mode and self.attention_turn:
            for name, child in self.named_children():
                child.train(name == self.attention)
        return self

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the classifiers' and attention's parameters."""
        yield from super().head_parameters()
        yield from self.get_submodule(self.attention).parameters()
