"""Labels learned from the background: images classified correctly only while their object is hidden."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlaam.cleaning.looking import Looked
from tlaam.cleaning.suspects import Finding
from tlaam.data.sample import Sample
from tlaam.models.crops import resize_whole
from tlaam.probe.linear import Scaling
from tlaam.probe.solver import fit_probe
from tlaam.training.eye import Eye
from tlaam.training.pasting import filled
from tlaam.utils.progress import progress_bar

_MARGIN = 0.1
"""Margin around the object that is hidden, too, as a fraction of its sides."""
_MOST = 0.6
"""Maximum share of the picture to hide; beyond it, too little background is left to classify."""
_SURE = 0.5
"""Minimum probability of the label given the background alone."""


def background_findings(
    samples: tuple[Sample, ...], labels: NDArray[np.int64], classes: int, looked: Looked, *, progress: bool
) -> tuple[list[Finding], float | None]:
    """Return images that only their background classifies correctly, and how often backgrounds alone are right.

    Objects are filled in from their surroundings. Then a probe is fitted to the remaining images with the same folds.
    Images whose object fills the picture are not reported, and nothing is without a localiser.

    Args:
        samples: N images.
        labels: ``(N,)``.
        classes: C.
        looked: what the probe computed for them.
        progress: show a progress bar.
    """
    boxes = looked.probe.object_boxes
    if boxes is None:
        return [], None
    holes = _holes(boxes)
    sizes = (holes[:, 2] - holes[:, 0]) * (holes[:, 3] - holes[:, 1])
    features = _hidden(samples, holes, looked, progress)
    fit = fit_probe(features, labels, classes, looked.probe.folds, scalings=[Scaling(floor=1.0)])
    usable = fit.known & (sizes <= _MOST)
    if not usable.any():
        return [], None
    scores = fit.out_of_fold / fit.temperature
    scores = np.exp(scores - scores.max(1, keepdims=True))
    scores /= scores.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    right, whole = scores.argmax(1) == labels, looked.probe.probabilities
    found = []
    for place in np.flatnonzero(
        usable & right & (scores[rows, labels] >= _SURE) & (whole.argmax(1) != labels)
    ).tolist():
        alone, with_object = float(scores[place, labels[place]]), float(whole[place, labels[place]])
        reason = f"named as labelled by {alone:.0%} while its object is hidden, by {with_object:.0%} when it is seen"
        found.append(
            Finding(place, "background", 0.4 + 0.2 * (alone - with_object), reason, (), int(whole[place].argmax()))
        )
    return found, float(right[usable].mean())


def _holes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1).clip(0, 1)


def _hidden(
    samples: tuple[Sample, ...], holes: NDArray[np.float32], looked: Looked, progress: bool
) -> NDArray[np.float32]:
    """Return the raw branch's pooled features ``(N, K)`` of images with the regions ``holes`` ``(N, 4)`` filled in."""
    eye = Eye(looked.fabric, looked.network, looked.config)
    network, made = eye.network, list[NDArray[np.float32]]()
    done = 0
    with progress_bar("looking at backgrounds", hidden=not progress) as show:
        for batch in eye.batches(samples):
            images = batch.input_image.float()
            known = _known(holes[done : done + len(images)], images.shape[-1]).to(images.device)
            with torch.no_grad(), eye.open():
                hidden = resize_whole(
                    network.normalise(filled(images, known).round().to(torch.uint8)), network.raw_size
                )
                pooled = network.classifier.pooled(network.backbone(hidden))
            made.append(pooled.float().cpu().numpy())
            done += len(images)
            show(done, len(samples))
    return np.concatenate(made)


def _known(holes: NDArray[np.float32], side: int) -> Tensor:
    """Return a weight ``(B, 1, P, P)`` for each pixel: 0 within a hole, else 1."""
    known = torch.ones(len(holes), 1, side, side)
    for row, (x0, y0, x1, y1) in enumerate((holes * side).round().astype(int).tolist()):
        known[row, :, y0:y1, x0:x1] = 0
    return known
