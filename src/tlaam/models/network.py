"""TL-AAM as in the paper's figure 3: raw image → OAAM → object image → MPALM → parts, with one network for all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlaam.errors import ModelError
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.models.components import Components
from tlaam.models.crops import compose_boxes, crop_and_resize, resize_whole, whole_image_boxes
from tlaam.models.heatmaps import LinearHead
from tlaam.models.joint import JointHead
from tlaam.models.localization import widen_boxes
from tlaam.models.localizers.base import Evidence, Localization, Localizer
from tlaam.models.localizers.cam import cam_heatmap
from tlaam.models.localizers.fixed_box import FixedBox
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.output import TLAAMOutput, fuse
from tlaam.models.parts.base import PartProposer

RAW, OBJECT, PARTS = range(3)
"""The views of an image, each with its own batch normalisation statistics (`tlaam.models.norm`)."""


class TLAAM(Architecture):
    """The two-level attention activation model. All branches share one backbone and one classifier.

    Args:
        backbone: computes feature maps; contains the channel attention (LCAM).
        classifier: global average pooling and the shared linear layer.
        localizer: the object level (OAAM, or another localiser), or None for no object branch.
        parts: the part level (MPALM, or another part proposer), or None for no part branch; without an object level,
            parts are cropped from the raw image.
        image_size: side S of the object image at the network's input.
        raw_size: side of the raw image at the network's input, in which the object is located; by default S.
        part_size: side of the part images at the network's input.
        box_margin: share of its side by which the object's box is widened on each side for the crop, within the image.
        joint: computes the fused prediction from the pooled features of all branches; with None, it is the mean of the
            branches' probabilities.
    """

    def __init__(
        self,
        backbone: Backbone,
        classifier: LinearHead,
        localizer: Localizer | None,
        parts: PartProposer | None,
        *,
        image_size: int,
        part_size: int,
        raw_size: int | None = None,
        box_margin: float = 0.0,
        joint: JointHead | None = None,
    ) -> None:
        super().__init__(backbone, image_size)
        self.classifier, self.localizer, self.parts, self.joint = classifier, localizer, parts, joint
        self.part_size, self.raw_size = part_size, raw_size or image_size
        self.box_margin = box_margin
        if localizer is not None and localizer.layer is not None:
            backbone.watch(localizer.layer)

    @property
    def draws_maps(self) -> bool:
        """Whether it locates the object; a fixed box's map only shows the box, and says nothing about the image."""
        return self.localizer is not None and not isinstance(self.localizer, FixedBox)

    @property
    def takes_boxes(self) -> bool:
        """Whether `forward` accepts object boxes."""
        return self.localizer is not None

    @property
    def finds_several(self) -> bool:
        """Whether `find` can be called: the localiser's map gives a confidence for each of several objects."""
        return isinstance(self.localizer, Foreground)

    def find(self, images: Tensor, threshold: float, most: int) -> Components:
        """Return the largest components of the foreground in source images; only the raw branch runs.

        Args:
            images: see `forward`.
            threshold: probability above which a cell is foreground.
            most: number of components.

        Returns:
            The components, with boxes in pixels of `images`.

        Raises:
            ModelError: the localiser's map does not hold probabilities (see `finds_several`).
        """
        if not isinstance(self.localizer, Foreground):
            raise ModelError("this localiser does not say how sure it is of each of several objects.")
        source = self.normalise(images)
        *_, found = self._localize(self.localizer, resize_whole(source, self.raw_size), None)
        components = self.localizer.components(found.heatmaps, self.raw_size, threshold=threshold, most=most)
        return components._replace(boxes=compose_boxes(components.boxes, whole_image_boxes(source), self.raw_size))

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        raw_only: bool = False,
        boxes: Tensor | None = None,
    ) -> TLAAMOutput:
        """Classify source images at every level.

        Args:
            images: source images I, RGB, ``(B, 3, P, P')``; uint8, or floating point in [0, 1]. Every crop is cut
                from them, so P above S keeps detail.
            labels: long ``(B,)``: the class that OAAM explains *during training*; in evaluation mode they are ignored
                and the highest-scoring class is explained.
            raw_only: run the raw branch only, as in the first epochs of training.
            boxes: object boxes, ``(B, 4)`` xyxy in pixels of `images`. The localiser is used for images whose box has
                no width, and by default for all images.

        Returns:
            Logits, heat maps and boxes; boxes are in pixels of `images`.
        """
        source = self.normalise(images)
        crop = whole_image_boxes(source)  # the region that the current level sees, (B, 4) in pixels of the source
        x = resize_whole(source, self.raw_size)
        seen = self.raw_size  # side in pixels of the input of `features`
        object_logits, object_boxes, found = None, None, None
        if self.localizer is None or (raw_only and not self.localizer.learns):
            features = self.backbone(x)
            raw_logits = self.classifier(features)
        else:
            raw_logits, features, found = self._localize(self.localizer, x, labels)
        pooled = [self.classifier.pooled(features)]  # Ā of each view, (B, K)
        if found is not None and self.localizer is not None and not raw_only:
            object_boxes = compose_boxes(found.boxes[:, None], crop, self.raw_size)[:, 0]
            crop = self._crop_of(object_boxes, source)
            for _ in range(1, self.localizer.zoom_steps):
                object_boxes = self._zoom(self.localizer, source, crop, labels)
                crop = self._crop_of(object_boxes, source)
            if boxes is not None:
                object_boxes = torch.where(boxes[:, 2:3] > boxes[:, :1], boxes.to(object_boxes), object_boxes)
                crop = self._crop_of(object_boxes, source)
            features = self.backbone(crop_and_resize(source, crop[:, None], self.image_size), OBJECT)
            seen = self.image_size
            object_logits = self.classifier(features)
            pooled.append(self.classifier.pooled(features))
        embeddings = None if self.training or raw_only else pooled[-1].detach()

        part_logits, part_boxes = None, None
        if self.parts is not None and not raw_only:
            explained = features
            if self.parts.explains_class:
                logits = raw_logits if object_logits is None else object_logits
                explained = cam_heatmap(features, logits.argmax(1), self.classifier.weight)[:, None]
            windows = self.parts(explained, seen)
            part_boxes = compose_boxes(windows, crop, seen)
            crops = crop_and_resize(source, part_boxes, self.part_size, reach=self.parts.reach)
            of_parts = self.backbone(crops, PARTS)
            part_logits = self.classifier(of_parts).unflatten(0, part_boxes.shape[:2])
            pooled.append(self.classifier.pooled(of_parts).reshape(*part_boxes.shape[:2], -1).mean(1))

        views = torch.stack(pooled, 1)  # (B, V, K)
        joint_logits = None if self.joint is None or raw_only else self.joint(views)
        return TLAAMOutput(
            probabilities=(
                fuse(raw_logits, object_logits, part_logits) if joint_logits is None else joint_logits.softmax(-1)
            ),
            raw_logits=raw_logits,
            object_logits=object_logits,
            part_logits=part_logits,
            heatmaps=None if object_boxes is None or found is None else found.heatmaps,
            object_boxes=object_boxes,
            part_boxes=part_boxes,
            foreground_logits=None if found is None else found.foreground_logits,
            embeddings=embeddings,
            joint_logits=joint_logits,
            views=None if self.training or raw_only else views,
        )

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the classifiers and of channel attention."""
        yield from super().head_parameters()
        if self.joint is not None:
            yield from self.joint.parameters()

    def localizer_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of a trainable localiser."""
        if self.localizer is not None:
            yield from self.localizer.parameters()

    def _localize(
        self, localizer: Localizer, x: Tensor, labels: Tensor | None, view: int = RAW
    ) -> tuple[Tensor, Tensor, Localization]:
        """Return logits ``(B, C)``, features A and the object's location for network inputs ``(B, 3, S, S)``."""
        layer_maps: Tensor | None = None
        pyramid: tuple[Tensor, ...] = ()
        if localizer.layer is not None:
            gradient = localizer.needs_gradient
            with (
                torch.set_grad_enabled(gradient or torch.is_grad_enabled()),
                self.backbone.capture(localizer.layer, x, leaf=gradient) as captured,
            ):
                features = self.backbone(x, view)
                logits = self.classifier(features)
            layer_maps = captured[0]
        else:
            features, pyramid = (
                self.backbone.pyramid(x, view) if localizer.reads_pyramid else (self.backbone(x, view), ())
            )
            logits = self.classifier(features)
        classes = labels if labels is not None and self.training else logits.argmax(1)
        found = localizer(Evidence(features, logits, classes, self.classifier, layer_maps, pyramid), self.raw_size)
        # Explaining an earlier layer enables gradients, which the caller may have switched off.
        if not torch.is_grad_enabled():
            logits, features = logits.detach(), features.detach()
        return logits, features, found

    @torch.no_grad()
    def _zoom(self, localizer: Localizer, source: Tensor, crop: Tensor, labels: Tensor | None) -> Tensor:
        """Locate the object again within a crop ``(B, 4)``; crop and result are in pixels of the source image."""
        x = crop_and_resize(source, crop[:, None], self.raw_size)
        was_training = localizer.training
        localizer.eval()  # a trainable localiser's normalisation statistics are those of raw images
        try:
            *_, found = self._localize(localizer, x, labels, view=OBJECT)
        finally:
            localizer.train(was_training)
        return compose_boxes(found.boxes[:, None], crop, self.raw_size)[:, 0]

    def _crop_of(self, boxes: Tensor, source: Tensor) -> Tensor:
        """Return the crops for object boxes ``(B, 4)``: the boxes with a margin around them."""
        return widen_boxes(boxes, self.box_margin, (source.shape[2], source.shape[3]))
