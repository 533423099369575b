"""The probe's view of all images of a data set: out-of-fold answers, embeddings, boxes, near copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from tlaam.cleaning.near_copies import near_copies_of
from tlaam.cleaning.neighbours import Neighbours, directions, nearest
from tlaam.cleaning.quality import Measured
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.near_copies import Match, sets_of
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import ConfigError, ModelError
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM
from tlaam.training.launch import launched
from tlaam.training.probe_first import FittedProbe, fit_probe_model
from tlaam.training.seeds import derive
from tlaam.training.workers import spare_cores

_NEIGHBOURS = 10
_LOOK_ALIKES = 24


class Looked(NamedTuple):
    """What the probe computed for N images.

    Attributes:
        probe: its out-of-fold answers, folds and boxes.
        near: pairs of near copies.
        whole: nearest neighbours by embeddings of the whole images.
        look_alikes: nearest neighbours by embeddings of the objects.
        vectors: embeddings of the objects, of unit length, ``(N, K)``.
        fabric: the device that was computed on.
        network: the network with the fitted localiser.
        config: resolved settings.
    """

    probe: FittedProbe
    near: list[Match]
    whole: Neighbours
    look_alikes: Neighbours
    vectors: NDArray[np.float32]
    fabric: Fabric
    network: TLAAM
    config: Config


def probe_settings(settings: Mapping[str, Any]) -> Config:
    """Return the settings of the probe that examines the images.

    Raises:
        ConfigError: a setting is unknown or invalid, or asks for something other than a probe.
    """
    if settings.get("epochs", 0) != 0:
        raise ConfigError("cleaning looks with a probe, which has no epochs; leave the setting epochs out.")
    return Config.from_flat({**settings, "epochs": 0, "devices": settings.get("devices", "1")})


def looked(images: LabelledImages, found: Measured, settings: Config, *, progress: bool) -> Looked:
    """Examine the images of all splits, and answer for each with a probe that did not see it.

    Near copies are kept in the same fold.

    Args:
        images: the data set; all images must be readable.
        found: measurements of its images.
        settings: see `probe_settings`.
        progress: show progress bars if standard error is a terminal.

    Raises:
        DataError: an image cannot be read.
        ModelError: the network or its weights cannot be loaded.
    """
    samples = images.samples
    as_training = images.with_samples([_for_training(sample) for sample in samples])
    config = resolve(settings, as_training)
    if config.training.workers is None:
        config = config.with_options(workers=spare_cores())
    fabric = launched(config)
    with torch.random.fork_rng():
        torch.manual_seed(derive(config.training.seed, "weights"))
        network = build_model(config.model, len(images.classes))
        if not isinstance(network, TLAAM):
            raise ModelError(f"cleaning looks with architecture=tlaam, and not {config.model.architecture}.")
        made: list[tuple[list[Match], Neighbours, Neighbours, NDArray[np.float32]]] = []

        def tied(views: NDArray[np.float32]) -> Sequence[int | None]:
            if not made:
                whole = nearest(directions(views[:, 0]), _NEIGHBOURS)
                vectors = directions(views[:, min(1, views.shape[1] - 1)])
                near = near_copies_of(found.greys, found.hashes, whole)
                made.append((near, whole, nearest(vectors, _LOOK_ALIKES), vectors))
            ties: list[int | None] = [None] * len(samples)
            for number, members in enumerate(sets_of(len(samples), [match[:2] for match in made[0][0]])):
                for place in members:
                    ties[place] = number
            return ties

        probe = fit_probe_model(fabric, network, as_training.samples, config, ties=tied, progress=progress)
    near, whole, look_alikes, vectors = made[0]
    return Looked(probe, near, whole, look_alikes, vectors, fabric, network, config)


def _for_training(sample: Sample) -> Sample:
    from dataclasses import replace

    return sample if sample.split == "train" else replace(sample, split="train")
