"""Run a network in its current state on all images of a data set, as `tlaam predict` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from tlaam.config.schema import Config
from tlaam.data.sample import Sample
from tlaam.inference.pytorch import asked_in, best_precision, infer, prepared
from tlaam.models.crops import resize_whole
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.probe.features import FeatureStore
from tlaam.training.dataset import EvaluationImages, Item
from tlaam.training.input_cache import InputCache
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.pseudo_masks import marked
from tlaam.utils.checksums import checksum
from tlaam.utils.progress import progress_bar

_BATCH = 16


class Seen(NamedTuple):
    """The network's results for N images.

    Attributes:
        features: pooled features of all branches, ``(N, V, K)``.
        pixels: a checksum of each image's pixels: images with equal pixels must not be on two sides of a fold.
        marks: if the localiser is trainable, its foreground as pseudo masks ``(N, 64, 64)``.
        object_boxes: ``(N, 4)``, in shares of the image's sides, if there is a localiser.
        part_boxes: ``(N, P, 4)`` likewise, if there are parts.
    """

    features: FeatureStore
    pixels: list[str]
    marks: NDArray[np.uint8] | None
    object_boxes: NDArray[np.float32] | None
    part_boxes: NDArray[np.float32] | None


class Eye:
    """Processes images as `tlaam predict` does, with the network in its current state."""

    def __init__(self, fabric: Fabric, network: TLAAM, config: Config) -> None:
        self.fabric, self.config = fabric, config
        self.precision = best_precision(fabric.device)
        self.network = prepared(network, fabric.device, self.precision)

    def update(self, network: TLAAM) -> None:
        """Take over the fitted localiser and classifier."""
        self.network.classifier.load_state_dict(network.classifier.state_dict())
        if network.localizer is not None and self.network.localizer is not None:
            self.network.localizer.load_state_dict(network.localizer.state_dict())

    def open(self) -> torch.autocast:
        """Return the context in which the network runs."""
        return asked_in(self.fabric.device, self.precision)

    def batches(self, samples: Sequence[Sample]) -> Iterator[Item]:
        """Yield all images without augmentation, in order, on the device."""
        training, source_size = self.config.training, self.config.model.source_size
        assert source_size is not None
        cache = None if training.cache is None else InputCache(training.cache, source_size)
        images = EvaluationImages(samples, source_size, cache)
        places = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
        for batch in with_plain_errors(batch_loader(images, places, training.workers or 0, pin=False)):
            yield self.fabric.to_device(batch)

    def pyramids(self, samples: Sequence[Sample]) -> Iterator[tuple[Tensor, ...]]:
        """Yield the backbone's maps of raw images, as the localiser reads them."""
        network = self.network
        for batch in self.batches(samples):
            with torch.no_grad(), self.open():
                images = resize_whole(network.normalise(batch.input_image), network.raw_size)
                maps = network.backbone.pyramid(images)[1]
            yield maps

    @contextmanager
    def look(self, samples: Sequence[Sample], progress: bool) -> Iterator[Seen]:
        """Yield the results for images; features that do not fit into memory are in a file until the context ends."""
        pixels: list[str] = []
        marks: list[NDArray[np.uint8]] = []
        boxes: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
        store: FeatureStore | None = None
        try:
            with progress_bar("looking at the images", hidden=not progress) as show:
                for batch in self.batches(samples):
                    with self.open():
                        output = infer(self.network, batch.input_image)
                    assert output.views is not None
                    views = output.views.cpu().numpy()
                    store = store or FeatureStore(len(samples), *views.shape[1:])
                    store.append(views)
                    pixels += [checksum(image.tobytes()) for image in batch.input_image.cpu().numpy()]
                    if output.foreground_logits is not None:
                        assert isinstance(self.network.localizer, Foreground)
                        probabilities = output.foreground_logits.sigmoid()
                        marks.append(marked(probabilities, float(self.network.localizer.threshold)).cpu().numpy())
                    for found, of_batch in zip(boxes, (output.object_boxes, output.part_boxes), strict=True):
                        if of_batch is not None:
                            found.append((of_batch / batch.input_image.shape[-1]).cpu().numpy().astype(np.float32))
                    show(len(pixels), len(samples))
            assert store is not None
            objects, parts = (np.concatenate(found) if found else None for found in boxes)
            yield Seen(store, pixels, np.concatenate(marks) if marks else None, objects, parts)
        finally:
            if store is not None:
                store.close()
