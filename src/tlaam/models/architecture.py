"""The interface of every network: used by the trainer, by `tlaam.inference.pytorch.infer` and in saved files.

TL-AAM is one of these networks (`tlaam.models.network`). The others are the systems that it is compared with and that
share none of its modules. Each has its own file and is registered in `tlaam.config.registry`.
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
    """Base class of the networks.

    Args:
        backbone: computes feature maps of the raw image, and knows how images are normalised.
        image_size: side S of the network's input images, in pixels.
    """

    mean: Tensor
    std: Tensor

    @property
    def draws_maps(self) -> bool:
        """Whether heat maps and object boxes depend on the image content, so that both can be evaluated."""
        return False

    @property
    def takes_boxes(self) -> bool:
        """Whether `forward` accepts object ``boxes``; if not, images are cropped to the boxes beforehand."""
        return False

    @property
    def finds_several(self) -> bool:
        """Whether it can find several objects in one image."""
        return False

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes about the backbone that the user should read before training, one sentence each."""
        return tuple(self.backbone.remarks)

    def __init__(self, backbone: Backbone, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        # Buffers, so that the model never receives pixels that were normalised for another one.
        self.register_buffer("mean", torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images.

        Args:
            images: source images I, RGB, ``(B, 3, P, P')``; uint8, or floating point in [0, 1]. Every crop is cut
                from them, so P above S keeps detail.
            labels: long ``(B,)``, during training.
            raw_only: whether this is one of the first epochs of training (`raw_epochs`). Beyond the raw branch, only
                modules that first have to learn their task run.

        Returns:
            Logits, heat maps and boxes; boxes are in pixels of `images`.
        """
        raise NotImplementedError

    def begin_epoch(self, epoch: int, epochs: int, raw_only: bool) -> None:
        """Prepare for the epoch in which training starts or continues; for networks that learn in turns.

        Args:
            epoch: number of the epoch, from 0.
            epochs: total number of epochs.
            raw_only: the value that `forward` will receive in this epoch.
        """

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that are trained from scratch: by default classifiers' and channel attention's."""
        for name, module in self.named_children():
            if name.startswith("classifier"):
                yield from module.parameters()
        for module in self.modules():
            if isinstance(module, ChannelAttention):
                yield from module.parameters()

    def localizer_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of a module that learns from its own loss where the object is."""
        yield from ()

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images ``(B, 3, P, P')``, uint8 or in [0, 1], as the backbone's pretrained weights expect.

        The result has the memory layout of `tlaam.models.crops.by_columns`, from which crops are read fastest. In
        graphs, the input's layout is kept.
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
    """A network that trains attention and classification in turns, each while the other is frozen.

    Two epochs of classification are followed by one of attention. The last epoch always trains classification, so
    that the classifiers adapt to the final attention. In the first epochs (``raw_only``) both are trained, and
    attention is taught its task.

    Attributes:
        attention: name of the child module that is trained in the attention turn.
        attention_turn: whether it is the attention turn. Then everything else is frozen, uses running statistics for
            normalisation and applies no dropout.
    """

    attention: str
    attention_turn: bool = False
    cycle = 3

    def begin_epoch(self, epoch: int, epochs: int, raw_only: bool) -> None:
        """Train attention or classification in this epoch, or both if `raw_only`."""
        self.attention_turn = not raw_only and epoch % self.cycle == self.cycle - 1 and epoch < epochs - 1
        for name, child in self.named_children():
            child.requires_grad_(raw_only or (name == self.attention) is self.attention_turn)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; in the attention turn, only the attention module is put into training mode."""
        super().train(mode)
        if mode and self.attention_turn:
            for name, child in self.named_children():
                child.train(name == self.attention)
        return self

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the classifiers and of the attention module."""
        yield from super().head_parameters()
        yield from self.get_submodule(self.attention).parameters()
