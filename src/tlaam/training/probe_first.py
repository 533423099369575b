"""The probe: a whole model whose backbone stays as it was pretrained (``--epochs 0``).

The localiser is fitted first, then every image's pooled features are computed once, and the classifiers are solved on
them: V, which all branches share, on all views; W, the joint classifier, on the views together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from tlaam.config.schema import Config
from tlaam.data.folds import stratified_folds
from tlaam.data.sample import Sample
from tlaam.inference.pytorch import infer, prepared
from tlaam.models.network import TLAAM
from tlaam.probe.solver import L2_GRID, L2_STEP, LinearProbe, ProbeFit, fit_probe, negative_log_likelihood
from tlaam.training.dataset import EvaluationImages, Item
from tlaam.training.finder import fit_localizer
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.masks import PseudoMasks
from tlaam.utils.checksums import checksum

_FOLDS = 5
_BATCH = 16
_VIEW_WEIGHTS: dict[int, list[tuple[float, ...]]] = {
    1: [(1.0,)],
    2: [(1.0, 1.0), (0.5, 1.0)],
    3: [(1.0, 1.0, 1.0), (0.5, 1.0, 0.5)],
}
"""Of raw image, object and parts in the joint classifier's problem; one is chosen by folds."""

Labels = NDArray[np.int64]
Views = NDArray[np.float32]


class ProbeFacts(NamedTuple):
    """What is known of a probe from images that it did not see.

    Attributes:
        images: that it was solved on.
        views: branches whose features it sees.
        out_of_fold_top1: share of the images that a probe which had not seen them got right; the only image of a class
            is never right. None where there are too few images to hold any out.
        out_of_fold_loss: mean negative log-likelihood, at the model's temperature, of images whose class has others.
        l2_shared: λ of V.
        l2_joint: λ of W; None where the branches' answers are averaged.
        view_weights: how much each branch's features weigh in W's problem, chosen by folds; None likewise.
        seconds: wall-clock time from the first image to the classifiers.
    """

    images: int
    views: int
    out_of_fold_top1: float | None
    out_of_fold_loss: float | None
    l2_shared: float
    l2_joint: float | None
    view_weights: tuple[float, ...] | None
    seconds: float


def fit_probe_model(
    fabric: Fabric, network: TLAAM, samples: Sequence[Sample], config: Config, masks: PseudoMasks | None
) -> ProbeFacts:
    """Fit localiser and classifiers in place; the backbone stays as it is.

    Args:
        fabric: already launched; only the process that calls works.
        network: its backbone's weights are the pretrained ones.
        samples: the training images.
        config: resolved settings.
        masks: pseudo masks of the samples, for a localiser that learns.

    Raises:
        DataError: an image cannot be read.
        ModelError: the localiser is one that learns in epochs.
    """
    began = time.monotonic()
    labels = np.array([sample.label for sample in samples])
    classes = network.classifier.out_features
    network.to(fabric.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    if masks is not None:
        fit_localizer(network, _batches(fabric, samples, config), len(samples), masks, config.training.seed)
        network.eval()
    views, pixels = _views(fabric, network, samples, config)
    names = [sample.name for sample in samples]
    folds = stratified_folds(
        labels.tolist(), names, min(_FOLDS, len(samples)), seed=config.training.seed, groups=pixels
    )
    if network.localizer is not None and masks is None:  # it may explain the class that V says: V comes before it
        _set(network.classifier, fit_probe(views[:, 0], labels, classes, folds).probe)
        views, _ = _views(fabric, network, samples, config)
    count = views.shape[1]
    candidates = _VIEW_WEIGHTS[count]
    joint: ProbeFit | None = None
    l2s = L2_GRID
    if network.joint is not None:
        weights = [np.repeat(weight, views.shape[2]) for weight in candidates]
        joint = fit_probe(views.reshape(len(views), -1), labels, classes, folds, weights=weights)
        _set(network.joint, joint.probe.cooled(joint.temperature))
        l2s = tuple(joint.l2 * step for step in (L2_STEP, 1.0, 1 / L2_STEP))  # the same images: λ is not far
    shared = fit_probe(views.reshape(-1, views.shape[2]), labels.repeat(count), classes, folds.repeat(count), l2s)
    _set(network.classifier, shared.probe.cooled(shared.temperature))
    log_probabilities = _mean_of_views(shared, count) if joint is None else joint.out_of_fold / joint.temperature
    known = shared.known[::count]
    right = (log_probabilities.argmax(1) == labels) & known
    return ProbeFacts(
        images=len(samples),
        views=count,
        out_of_fold_top1=float(right.mean()) if known.any() else None,
        out_of_fold_loss=negative_log_likelihood(log_probabilities[known], labels[known]) if known.any() else None,
        l2_shared=shared.l2,
        l2_joint=None if joint is None else joint.l2,
        view_weights=None if joint is None else candidates[joint.weights],
        seconds=round(time.monotonic() - began, 1),
    )


def _mean_of_views(shared: ProbeFit, count: int) -> NDArray[np.float64]:
    """Return the logarithm ``(N, C)`` of the mean of the views' probabilities."""
    scores = shared.out_of_fold / shared.temperature
    logits = torch.from_numpy(scores.reshape(-1, count, scores.shape[1]))
    mean: NDArray[np.float64] = logits.softmax(-1).mean(1).clamp(min=1e-300).log().numpy()
    return mean


def _batches(fabric: Fabric, samples: Sequence[Sample], config: Config) -> Iterator[Item]:
    """Yield all images as they are, in order, on the device."""
    assert config.model.source_size is not None
    images = EvaluationImages(samples, config.model.source_size)
    places = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
    for batch in with_plain_errors(batch_loader(images, places, config.training.workers or 0, pin=False)):
        yield fabric.to_device(batch)


def _views(fabric: Fabric, network: TLAAM, samples: Sequence[Sample], config: Config) -> tuple[Views, list[str]]:
    """Return the pooled features of all branches, ``(N, V, K)``, and a checksum of each image's pixels.

    Images of the same pixels must not stand on two sides of a fold: the one would be known from the other.
    """
    ready = prepared(network, fabric.device)  # float32: what is solved on should not be rounded
    found: list[Views] = []
    pixels: list[str] = []
    for batch in _batches(fabric, samples, config):
        views = infer(ready, batch.input_image).views
        assert views is not None
        found.append(views.float().cpu().numpy())
        pixels += [checksum(image.tobytes()) for image in batch.input_image.cpu().numpy()]
    return np.concatenate(found), pixels


@torch.no_grad()
def _set(layer: nn.Linear, probe: LinearProbe) -> None:
    layer.weight.copy_(torch.from_numpy(probe.weight))
    layer.bias.copy_(torch.from_numpy(probe.bias))


def said(facts: dict[str, Any]) -> str:
    """Return what a run says of its probe, in a line."""
    if facts["out_of_fold_top1"] is None:
        return f"Probe: after {facts['seconds']:.0f} s; there are too few images to say how often it is right"
    return (
        f"Probe: after {facts['seconds']:.0f} s, {facts['out_of_fold_top1']:.1%} of the {facts['images']} training "
        "images right by probes that had not seen them (out of fold)"
    )
