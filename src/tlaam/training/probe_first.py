"""The probe: a complete model with an unchanged pretrained backbone; the start of training, or all of it with 0 epochs.

The localiser is fitted first. Then the pooled features of every image are computed once, and the classifiers are solved
on them: V, which all branches share, on all views; W, the joint classifier, on the concatenated views.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from tlaam.config.schema import Config
from tlaam.data.folds import stratified_folds
from tlaam.data.groups import groups_of
from tlaam.data.sample import Sample
from tlaam.data.skew import log_priors
from tlaam.errors import ModelError
from tlaam.models.build import memory_format
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.probe.classifiers import FLOORS, FOLDS, Classifiers, solve_classifiers
from tlaam.probe.curve import CurvePoint, few_images_curve
from tlaam.probe.solver import LinearProbe, Scaling, fit_probe
from tlaam.runs.out_of_fold import OutOfFold
from tlaam.taxonomy.shares import SharedAnswers
from tlaam.training.eye import Eye
from tlaam.training.finder import fit_localizer
from tlaam.training.pseudo_masks import taught_masks, taught_places

Labels = NDArray[np.int64]


class ProbeFacts(NamedTuple):
    """Performance of a probe on images that it did not see, and how it was chosen.

    Attributes:
        images: number of images that it was solved on.
        held_out: number of these images that were held out once.
        views: number of branches whose features it uses.
        out_of_fold_top1: out-of-fold accuracy on the held-out images; the only image of a class is never right. None
            if there are too few images to hold any out.
        out_of_fold_loss: mean negative log-likelihood, at the model's temperature, of images whose class has others.
        l2_shared: λ of V.
        l2_joint: λ of W; None if the branches' probabilities are averaged.
        view_weights: weight of each branch's features in W's problem, chosen by folds; None likewise.
        floor: smallest standard deviation that features are divided by, in multiples of the median, chosen by folds.
        seconds: wall-clock time from the first image to the classifiers.
        curve: images per class and accuracy on the held-out ones, for probes with fewer images, and last for the probe
            itself (`tlaam.probe.curve`); empty if it was not computed.
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
    """The results of fitting a probe, besides the network's weights.

    Attributes:
        facts: performance and settings of the probe.
        answers: out-of-fold predictions for the images that it was solved on.
        masks: for a trainable localiser, pseudo masks of all images by the fitted localiser, ``(N, 64, 64)`` in the
            order of their names; else None.
        probabilities: out-of-fold probabilities, ``(N, C)`` in the images' order; meaningless for images without a
            known answer in `answers`.
        folds: the fold in which each image was held out, ``(N,)``.
        object_boxes: object boxes, ``(N, 4)`` in shares of the image's sides; None without a localiser.
        part_boxes: part boxes, ``(N, P, 4)`` likewise; None without parts.
    """

    facts: ProbeFacts
    answers: OutOfFold
    masks: NDArray[np.uint8] | None
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int64]
    object_boxes: NDArray[np.float32] | None
    part_boxes: NDArray[np.float32] | None


Ties = Callable[[NDArray[np.float32]], Sequence[Hashable | None]]
"""Maps features ``(N, V, K)`` to a value per image; images with equal values belong together, None belongs to none."""


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
    """Fit localiser and classifiers in place; the backbone is left unchanged.

    The foreground head learns from pseudo masks of a few images, which the backbone computes at a larger input size
    (`tlaam.training.pseudo_masks`). The foreground that it then predicts for all images is used in further training.
    Images are processed with the precision and at the speed of `tlaam predict`.

    Args:
        fabric: already launched; only the calling process works.
        network: the network, with the backbone's pretrained weights.
        samples: the training images.
        config: resolved settings.
        fit_finder: fit a trainable localiser; the one of a trained model is left as it is.
        ties: images to keep in one fold, besides those of one group and those with equal pixels.
        progress: show bars if standard error is a terminal.

    Raises:
        DataError: an image cannot be read, or there is no room for its features.
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
            min(FOLDS, len(samples)),
            seed=config.training.seed,
            groups=groups_of(samples, seen.pixels, *tied),
        )
        explains = network.parts is not None and network.parts.explains_class
        if explains or (localizer is not None and not learns):  # explaining V's predicted class needs V first
            raw = seen.features.array[:, :1]
            scalings = [Scaling(floor=floor) for floor in FLOORS]
            _set(network.classifier, fit_probe(raw[:, 0], labels, classes, folds, scalings=scalings).probe)
            eye.update(network)
            seen = stack.enter_context(eye.look(samples, progress))
        offsets = np.zeros(classes) if config.training.balance == "none" else log_priors(labels, classes)
        features: NDArray[np.float32] = seen.features.array
        solved = solve_classifiers(
            features, labels, classes, folds, joint=network.joint is not None, offsets=offsets
        )  # fmt: skip
        set_classifiers(network, solved)
        facts = _facts(solved, labels, features.shape[1])
        facts = facts._replace(curve=_curve(facts, features, labels, folds, offsets, config.training.seed))
    probabilities = np.exp(solved.scores).clip(0, 1)
    answers = OutOfFold(
        tuple(sample.name for sample in samples),
        labels,
        solved.scores.argmax(1),
        probabilities.max(1).astype(np.float32),
        solved.known,
        SharedAnswers.of(probabilities),
    )
    marks = None
    if seen.marks is not None:
        marks = seen.marks[sorted(range(len(samples)), key=lambda place: samples[place].name)]
    facts = facts._replace(seconds=round(time.monotonic() - began, 1))
    return FittedProbe(
        facts, answers, marks, probabilities.astype(np.float32), folds, seen.object_boxes, seen.part_boxes
    )  # fmt: skip


def set_classifiers(network: TLAAM, solved: Classifiers) -> None:
    """Copy solved classifiers into the network, in place."""
    _set(network.classifier, solved.shared)
    if network.joint is not None and solved.joint is not None:
        _set(network.joint, solved.joint)


def _facts(solved: Classifiers, labels: Labels, views: int) -> ProbeFacts:
    return ProbeFacts(
        images=len(labels),
        held_out=int(solved.held_out.sum()),
        views=views,
        out_of_fold_top1=solved.top1(labels),
        out_of_fold_loss=solved.loss(labels),
        l2_shared=solved.l2_shared,
        l2_joint=solved.l2_joint,
        view_weights=None if solved.joint is None else solved.scaling.weights,
        floor=solved.scaling.floor,
        seconds=0.0,
    )


def _curve(
    facts: ProbeFacts,
    views: NDArray[np.float32],
    labels: Labels,
    folds: NDArray[np.int64],
    offsets: NDArray[np.float64],
    seed: int,
) -> tuple[CurvePoint, ...]:
    """Return the few-images curve of the joint classifier; empty without one, or if its accuracy is unknown."""
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


@torch.no_grad()
def _set(layer: nn.Linear, probe: LinearProbe) -> None:
    layer.weight.copy_(torch.from_numpy(probe.weight))
    layer.bias.copy_(torch.from_numpy(probe.bias))


def said(facts: ProbeFacts) -> str:
    """Return the line that a run prints about its probe."""
    if facts.out_of_fold_top1 is None:
        return f"Probe: after {facts.seconds:.0f} s; there are too few images to say how often it is right"
    asked = f"the {facts.images}" if facts.held_out == facts.images else f"{facts.held_out} of {facts.images}"
    return (
        f"Probe: after {facts.seconds:.0f} s, {facts.out_of_fold_top1:.1%} of {asked} training images right by probes "
        "that had not seen them (out of fold)"
    )
