"""What every network of the project offers: to the trainer, to `tlaam.inference.infer`, to files.

TL-AAM is one (`tlaam.model.network`); the systems that it is compared with and that share none of its modules are
others, a file each, made in `tlaam.model.build`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlaam.model.attention import ChannelAttention
from tlaam.model.backbone import Backbone
from tlaam.model.output import TLAAMOutput


class Architecture(nn.Module):
    """Base of the networks.

    Args:
        backbone: makes feature maps of the raw image, and knows how images are normalised.
        image_size: side S of the images as the network sees them.
    """

    mean: Tensor
    std: Tensor

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

    def begin_epoch(self, epoch: int, raw_only: bool) -> None:
        """Be told in which epoch, counted from 0, training begins or goes on; for networks that learn in turns.

        Args:
            epoch: number of the epoch.
            raw_only: what `forward` will be given in it.
        """

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that start from nothing: by itself classifiers' and channel attention's."""
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
        """Return images ``(B, 3, P, P')``, uint8 or in [0, 1], as the backbone was trained to see them."""
        if not images.is_floating_point():
            images = images.to(self.mean.dtype) / 255
        return (images - self.mean) / self.std
