"""The probe: a whole model whose backbone is as it was pretrained; all of a training without epochs, else its start.

The localiser is fitted first, then every image's pooled features are computed once, and the classifiers are solved on
them: V, which all branches share, on all views; W, the joint classifier, on the views together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from tlaam.config.schema import Config
from tlaam.data.folds import stratified_folds
from tlaam.data.groups import groups_of
from tlaam.data.sample import Sample
from tlaam.errors import ModelError
from tlaam.models.build import memory_format
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.probe.curve import CurvePoint, few_images_curve
from tlaam.probe.solver import (
    ENOUGH,
    L2_GRID,
    L2_STEP,
    LinearProbe,
    ProbeFit,
    Scaling,
    fit_probe,
    negative_log_likelihood,
)
from tlaam.runs.out_of_fold import OutOfFold
from tlaam.taxonomy.shares import SharedAnswers
from tlaam.training.balance import log_priors
from tlaam.training.eye import Eye
from tlaam.training.finder import fit_localizer
from tlaam.training.pseudo_masks import taught_masks, taught_places

_FOLDS = 5
_VIEW_WEIGHTS: dict[int, list[tuple[float, ...]]] = {
    1: [(1.0,)],
    2: [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5)],
    3: [(1.0, 1.0, 1.0), (0.5, 1.0, 0.5), (1.0, 0.5, 0.25)],
}
"""Of raw image, object and parts in the joint classifier's problem; one is chosen by folds."""

_FLOORS: tuple[float, ...] = (0.3, 1.0)
"""Least deviation that a feature is divided by, in medians of its view's deviations; one is chosen by folds."""

Labels = NDArray[np.int64]


class ProbeFacts(NamedTuple):
    """What is known of a probe from images that it did not see.

    Attributes:
        images: that it was solved on.
        held_out: how many of them were held out once.
        views: branches whose features it sees.
        out_of_fold_top1: share of the held-out images that a probe which had not seen them got right; the only image
            of a class is never right. None where there are too few images to hold any out.
        out_of_fold_loss: mean negative log-likelihood, at the model's temperature, of images whose class has others.
        l2_shared: λ of V.
        l2_joint: λ of W; None where the branches' answers are averaged.
        view_weights: how much each branch's features weigh in W's problem, chosen by folds; None likewise.
        floor: least deviation that features are divided by, in medians of all, chosen by folds.
        seconds: wall-clock time from the first image to the classifiers.
        curve: images a class and share of the held-out ones named right, of probes of fewer images, and of the probe
            itself as the last (`tlaam.probe.curve`); empty where it was not drawn.
    """

    images: int
    held_out: int
    views: int
    out_of_fold_top1: float | None
    out_of_fold_loss: float | None
    l2_shared: float
    l2_joint: float | None
    view_weights: tuple[float, ...] | None
    floor: float
    seconds: float
    curve: tuple[CurvePoint, ...] = ()


class FittedProbe(NamedTuple):
    """What comes of a probe beside the network's weights.

    Attributes:
        facts: what is known of it.
        answers: for the images it was solved on, out of fold.
        masks: of a localiser that learns, pseudo masks of all images by what was fitted, ``(N, 64, 64)`` in the order
            of their names; else None.
        probabilities: out of fold, ``(N, C)`` in the images' order; of images that `answers` knows nothing of they
            say nothing.
        folds: which fold each image was held out in, ``(N,)``.
        object_boxes: where the object was seen, ``(N, 4)`` in shares of the picture's sides; None without a localiser.
        part_boxes: its parts, ``(N, P, 4)`` likewise; None without parts.
    """

    facts: ProbeFacts
    answers: OutOfFold
    masks: NDArray[np.uint8] | None
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int64]
    object_boxes: NDArray[np.float32] | None
    part_boxes: NDArray[np.float32] | None


Ties = Callable[[NDArray[np.float32]], Sequence[Hashable | None]]
"""Says of features ``(N, V, K)`` which images belong together: those of equal values; None ties to nothing."""


def fit_probe_model(
    fabric: Fabric,
    network: TLAAM,
    samples: Sequence[Sample],
    config: Config,
    *,
    fit_finder: bool = True,
    ties: Ties | None = None,
    progress: bool = False,
) -> FittedProbe:
    """Fit localiser and classifiers in place; the backbone stays as it is.

    The foreground head learns from pseudo masks of a few images, which the backbone makes at a larger input
    (`tlaam.training.pseudo_masks`); what it then marks in all images is what training goes on with. Images are looked
    at in the arithmetic and at the speed of `tlaam predict`.

    Args:
        fabric: already launched; only the process that calls works.
        network: its backbone's weights are the pretrained ones.
        samples: the training images.
        config: resolved settings.
        fit_finder: fit a localiser that learns; one of a trained model is left as it is.
        ties: which images stand in one fold, beside those of one group and those of equal pixels.
        progress: show bars where standard error is a terminal.

    Raises:
        DataError: an image cannot be read, or its features have no room.
        ModelError: the localiser is one that learns in epochs.
    """
    began = time.monotonic()
    labels = np.array([sample.label for sample in samples])
    classes = network.classifier.out_features
    network.to(fabric.device, memory_format=memory_format(fabric.device)).eval()  # type: ignore[call-overload]
    eye = Eye(fabric, network, config)
    localizer = network.localizer
    learns = localizer is not None and localizer.learns
    if learns and fit_finder:
        if not isinstance(localizer, Foreground):
            raise ModelError(
                f"a probe fits the foreground head, and not {type(localizer).__name__}, which learns in epochs."
            )
        taught = [samples[place] for place in taught_places(samples)]
        masks = taught_masks(fabric, eye.network, taught, config, context=eye.open, progress=progress)
        fit_localizer(localizer, eye.pyramids(taught), masks, config.training.seed)
        eye.update(network)
    with ExitStack() as stack:
        seen = stack.enter_context(eye.look(samples, progress))
        tied = [] if ties is None else [ties(seen.features.array)]
        folds = stratified_folds(
            labels.tolist(),
            [sample.name for sample in samples],
            min(_FOLDS, len(samples)),
            seed=config.training.seed,
            groups=groups_of(samples, seen.pixels, *tied),
        )
        explains = network.parts is not None and network.parts.explains_class
        if explains or (localizer is not None and not learns):  # what explains the class that V says needs V before
            raw = seen.features.array[:, :1]
            scalings = [Scaling(floor=floor) for floor in _FLOORS]
            _set(network.classifier, fit_probe(raw[:, 0], labels, classes, folds, scalings=scalings).probe)
            eye.update(network)
            seen = stack.enter_context(eye.look(samples, progress))
        offsets = np.zeros(classes) if config.training.balance == "none" else log_priors(labels, classes)
        facts, scores, known = solve_classifiers(network, seen.features.array, labels, folds, offsets)
        facts = facts._replace(curve=_curve(facts, seen.features.array, labels, folds, offsets, config.training.seed))
    probabilities = np.exp(scores).clip(0, 1)
    answers = OutOfFold(
        tuple(sample.name for sample in samples),
        labels,
        scores.argmax(1),
        probabilities.max(1).astype(np.float32),
        known,
        SharedAnswers.of(probabilities),
    )
    marks = None
    if seen.marks is not None:
        marks = seen.marks[sorted(range(len(samples)), key=lambda place: samples[place].name)]
    facts = facts._replace(seconds=round(time.monotonic() - began, 1))
    return FittedProbe(
        facts, answers, marks, probabilities.astype(np.float32), folds, seen.object_boxes, seen.part_boxes
    )  # fmt: skip


def solve_classifiers(
    network: TLAAM,
    views: NDArray[np.float32],
    labels: Labels,
    folds: NDArray[np.int64],
    offsets: NDArray[np.float64],
) -> tuple[ProbeFacts, NDArray[np.float64], NDArray[np.bool_]]:
    """Set the network's classifiers by features ``(N, V, K)``; offsets ``(C,)`` are taken from their scores.

    Returns:
        What is known of them; logarithms of the fused probabilities ``(N, C)``, out of fold; and of which images they
        are known.
    """
    classes, count = network.classifier.out_features, views.shape[1]
    joint: ProbeFit | None = None
    l2s, floors = L2_GRID, _FLOORS
    if network.joint is not None:
        scalings = [Scaling(weights, floor) for floor in _FLOORS for weights in _VIEW_WEIGHTS[count]]
        joint = fit_probe(views.reshape(len(views), -1), labels, classes, folds, scalings=scalings)
        _set(network.joint, joint.probe.cooled(joint.temperature).shifted(offsets))
        l2s = tuple(joint.l2 * step for step in (L2_STEP, 1.0, 1 / L2_STEP))  # the same images: λ is not far
        floors = (joint.scaling.floor,)
    shared = fit_probe(
        views.reshape(-1, views.shape[2]), labels.repeat(count), classes, folds.repeat(count), l2s,
        [Scaling(floor=floor) for floor in floors], ENOUGH * count,
    )  # fmt: skip
    _set(network.classifier, shared.probe.cooled(shared.temperature).shifted(offsets))
    if joint is None:
        scores = _mean_of_views(shared, count, offsets)
    else:
        scores = _log_softmax(joint.out_of_fold / joint.temperature - offsets)
    known = (shared.known[::count] if joint is None else joint.known).copy()
    held_out = shared.held_out[::count] if joint is None else joint.held_out  # of very many images one fold alone
    right = (scores.argmax(1) == labels) & known  # of a class's only image no fold knows the class: it is wrong
    facts = ProbeFacts(
        images=len(labels),
        held_out=int(held_out.sum()),
        views=count,
        out_of_fold_top1=float(right[held_out].mean()) if known.any() else None,
        out_of_fold_loss=negative_log_likelihood(scores[known], labels[known]) if known.any() else None,
        l2_shared=shared.l2,
        l2_joint=None if joint is None else joint.l2,
        view_weights=None if joint is None else joint.scaling.weights,
        floor=shared.scaling.floor,
        seconds=0.0,
    )
    return facts, scores, known


def _curve(
    facts: ProbeFacts,
    views: NDArray[np.float32],
    labels: Labels,
    folds: NDArray[np.int64],
    offsets: NDArray[np.float64],
    seed: int,
) -> tuple[CurvePoint, ...]:
    """Return the few-images curve of the joint classifier; nothing without one, or where nothing is known of it."""
    if facts.l2_joint is None or facts.view_weights is None or facts.out_of_fold_top1 is None:
        return ()
    features, classes = views.reshape(len(views), -1), len(offsets)
    scaling = Scaling(facts.view_weights, facts.floor)
    found = few_images_curve(features, labels, classes, folds, facts.l2_joint, scaling, offsets, seed)
    if not found:
        return ()
    count = len(np.unique(folds))
    whole = CurvePoint(round(len(labels) * (count - 1) / count / len(np.unique(labels)), 1), facts.out_of_fold_top1)
    return (*found, whole)


def _mean_of_views(shared: ProbeFit, count: int, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm ``(N, C)`` of the mean of the views' probabilities."""
    scores = shared.out_of_fold / shared.temperature - offsets
    logits = torch.from_numpy(scores.reshape(-1, count, scores.shape[1])).double()
    mean: NDArray[np.float64] = logits.softmax(-1).mean(1).clamp(min=1e-300).log().numpy()
    return mean


def _log_softmax(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = torch.from_numpy(scores).double().log_softmax(-1).numpy()
    return logarithms


@torch.no_grad()
def _set(layer: nn.Linear, probe: LinearProbe) -> None:
    layer.weight.copy_(torch.from_numpy(probe.weight))
    layer.bias.copy_(torch.from_numpy(probe.bias))


def said(facts: ProbeFacts) -> str:
    """Return what a run says of its probe, in a line."""
    if facts.out_of_fold_top1 is None:
        return f"Probe: after {facts.seconds:.0f} s; there are too few images to say how often it is right"
    asked = f"the {facts.images}" if facts.held_out == facts.images else f"{facts.held_out} of {facts.images}"
    return (
        f"Probe: after {facts.seconds:.0f} s, {facts.out_of_fold_top1:.1%} of {asked} training images right by probes "
        "that had not seen them (out of fold)"
    )
