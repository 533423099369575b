"""TL-AAM as the paper's figure 3 draws it: raw image → OAAM → object image → MPALM → parts, one network for all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlaam.model.attention import LCAM
from tlaam.model.backbone import Backbone
from tlaam.model.crops import compose_boxes, crop_and_resize, whole_image_boxes
from tlaam.model.heatmaps import LinearHead
from tlaam.model.oaam import OAAM
from tlaam.model.output import TLAAMOutput
from tlaam.model.parts import MPALM


class TLAAM(nn.Module):
    """The two-level attention activation model. One backbone and one classifier serve every branch.

    Args:
        backbone: makes feature maps; channel attention (LCAM) sits inside it.
        classifier: global average pooling and the shared linear layer.
        oaam: the object level, or None for no object branch.
        mpalm: the part level, or None for no part branch; without an object level, parts are cut from the raw image.
        image_size: side S of the raw and object images as the network sees them.
        part_size: side of the part images as the network sees them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classifier: LinearHead,
        oaam: OAAM | None,
        mpalm: MPALM | None,
        *,
        image_size: int,
        part_size: int,
    ) -> None:
        super().__init__()
        self.backbone, self.classifier, self.oaam, self.mpalm = backbone, classifier, oaam, mpalm
        self.image_size, self.part_size = image_size, part_size
        # Buffers, so that the model can never meet pixels that were normalised for another one.
        self.register_buffer("mean", torch.tensor(backbone.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        """Classify source images at every level.

        Args:
            images: source images I, RGB, ``(B, 3, P, P')``; uint8, or floating point in [0, 1]. Every crop is cut
                from them, so P above S keeps detail.
            labels: long ``(B,)``: the class that OAAM explains *while training*; in evaluation mode they are ignored
                and the highest-scoring class is explained.
            raw_only: run the raw branch only, as in the first epochs of training.

        Returns:
            The record of scores, heat maps and boxes; boxes in pixels of `images`.
        """
        source = self._normalise(images)
        boxes = whole_image_boxes(source)
        x = crop_and_resize(source, boxes[:, None], self.image_size)
        if raw_only or self.oaam is None:
            features = self.backbone(x)
            raw_logits, heatmaps, object_logits = self.classifier(features), None, None
        else:
            raw_logits, heatmaps = self._explain(self.oaam, x, labels)
            boxes = self.oaam.boxes(heatmaps, self.image_size) * _scale(boxes, self.image_size)
            for _ in range(1, self.oaam.zoom_steps):
                boxes = self._zoom(self.oaam, source, boxes, labels)
            features = self.backbone(crop_and_resize(source, boxes[:, None], self.image_size))
            object_logits = self.classifier(features)

        part_logits, part_boxes = None, None
        if self.mpalm is not None and not raw_only:
            windows = self.mpalm(features, self.image_size)
            part_boxes = compose_boxes(windows, boxes, self.image_size)
            crops = crop_and_resize(source, part_boxes, self.part_size, reach=self.mpalm.reach)
            part_logits = self.classifier(self.backbone(crops)).unflatten(0, part_boxes.shape[:2])

        branches = [raw_logits.softmax(-1)]
        if object_logits is not None:
            branches.append(object_logits.softmax(-1))
        if part_logits is not None:
            branches.append(part_logits.softmax(-1).mean(1))
        return TLAAMOutput(
            probabilities=torch.stack(branches).mean(0),
            raw_logits=raw_logits,
            object_logits=object_logits,
            part_logits=part_logits,
            heatmaps=heatmaps,
            object_boxes=boxes if object_logits is not None else None,
            part_boxes=part_boxes,
        )

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that start from nothing: the classifier's and channel attention's."""
        yield from self.classifier.parameters()
        for module in self.backbone.modules():
            if isinstance(module, LCAM):
                yield from module.parameters()

    def _normalise(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            images = images.to(self.mean.dtype) / 255
        return (images - self.mean) / self.std

    def _explain(self, oaam: OAAM, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return scores ``(B, C)`` and heat maps ``(B, h, w)`` of network inputs ``(B, 3, S, S)``."""
        if oaam.layer is None:
            maps = self.backbone(x)
            logits = self.classifier(maps)
        else:
            with torch.enable_grad(), self.backbone.capture(oaam.layer, x) as captured:
                logits = self.classifier(self.backbone(x))
            maps = captured[0]
        classes = labels if labels is not None and self.training else logits.argmax(1)
        heatmaps = oaam(maps, logits, classes, self.classifier)
        # An earlier layer is explained with gradients on, which the caller may have switched off.
        return logits if torch.is_grad_enabled() else logits.detach(), heatmaps

    @torch.no_grad()
    def _zoom(self, oaam: OAAM, source: Tensor, boxes: Tensor, labels: Tensor | None) -> Tensor:
        """Find the object anew within its box ``(B, 4)``; both in pixels of the source, from which all is cut."""
        _, heatmaps = self._explain(oaam, crop_and_resize(source, boxes[:, None], self.image_size), labels)
        inner = oaam.boxes(heatmaps, self.image_size)
        return compose_boxes(inner[:, None], boxes, self.image_size)[:, 0]


def _scale(whole: Tensor, size: int) -> Tensor:
    """Return the factors ``(B, 4)`` from pixels of a ``size × size`` input to pixels of the image with box `whole`."""
    return whole[:, 2:].repeat(1, 2) / size
