"""The threshold of a foreground head that fine-tuning has changed, chosen again after each epoch.

The head learns from masks that were cut at the previous head's threshold, so its probabilities shift: what was a
quarter there becomes a half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor

from tlaam.config.schema import Config
from tlaam.data.sample import Sample
from tlaam.models.architecture import Architecture
from tlaam.models.crops import resize_whole
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import RAW, TLAAM
from tlaam.training.dataset import EvaluationImages
from tlaam.training.finder import Pyramid, agreeing_threshold
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.masks import PseudoMasks

IMAGES = 128
"""Number of training images, evenly spaced, whose boxes decide; it bounds the time."""
_BATCH = 16


class ThresholdChooser:
    """Chooses a network's threshold by the pseudo masks of some training images, without augmentation.

    Args:
        fabric: already launched; only the calling process works.
        samples: the training images.
        masks: their pseudo masks.
        config: resolved settings.
    """

    def __init__(self, fabric: Fabric, samples: Sequence[Sample], masks: PseudoMasks, config: Config) -> None:
        count = min(IMAGES, len(samples))
        self.places = [number * len(samples) // count for number in range(count)]
        self.fabric, self.samples, self.masks, self.config = fabric, samples, masks, config

    def threshold_of(self, model: Architecture) -> float | None:
        """Return the threshold for a network on the device; None if there is no threshold to choose."""
        if not isinstance(model, TLAAM) or not isinstance(model.localizer, Foreground):
            return None
        if not model.localizer.chooses_threshold:
            return None
        was_training = model.training
        model.eval()
        try:
            return agreeing_threshold(model.localizer, self._batches(model))
        finally:
            model.train(was_training)

    def _batches(self, model: TLAAM) -> Iterator[tuple[Pyramid, Tensor]]:
        size = self.config.model.source_size
        assert size is not None
        images = EvaluationImages([self.samples[place] for place in self.places], size)
        batches = [list(range(start, min(start + _BATCH, len(images)))) for start in range(0, len(images), _BATCH)]
        for batch in with_plain_errors(batch_loader(images, batches, self.config.training.workers or 0, pin=False)):
            with torch.no_grad(), self.fabric.autocast():
                source = model.normalise(batch.input_image.to(self.fabric.device))
                maps = model.backbone.pyramid(resize_whole(source, model.raw_size), RAW)[1]
            masks = [torch.from_numpy(self.masks[self.places[int(number)]]) for number in batch.position]
            yield [level.float() for level in maps], torch.stack(masks)
