"""Measure what verdicts and probabilities of new models are worth, on parts of the training images held out in turn.

    python benchmarks/verdicts.py --data DATA --strangers OTHER_DATA [--strangers ...] [--out FILE.json]

The training images of DATA are cut into `--cuts` parts; without each of them a model is trained as `tlaam train` does
it (by default a probe, `--epochs 0`; `--set OPTION=VALUE` changes settings), and asked for that part, whose images are
of its classes, and for `--count` images of each of OTHER_DATA's training splits, drawn by `--seed`. Test splits are not
opened. `--per-class N` takes fewer images, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strangers import VERDICTS, auroc, drawn, probabilities_of, similarities_of, verdicts_of

from tlaam.cli.settings import setting_of
from tlaam.data.folds import stratified_folds
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.evaluation.classification import expected_calibration_error, squared_calibration_error
from tlaam.inference.engine import load_engine
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json
from tlaam.workflows.fit import fit

PROBE = {"epochs": 0, "val_fraction": 0.0, "pretrained": "package"}


def main() -> None:
    """Measure and print; write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--strangers", action="append", required=True)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    settings = PROBE | {name: setting_of(name, value) for name, _, value in (text.partition("=") for text in given.set)}
    images = _training_images(open_dataset(given.data), given.per_class)
    folds = stratified_folds(
        [sample.label for sample in images.samples], [s.name for s in images.samples], given.cuts, seed=given.seed
    )
    others = {other.name: _strangers(other, given.count, given.seed) for other in map(open_dataset, given.strangers)}
    cuts = [measured(images, folds == cut, others, settings) for cut in range(given.cuts)]
    named = " ".join(f"--strangers {Path(other).name}" for other in given.strangers)
    found = {
        "command": (
            f"python benchmarks/verdicts.py --data {Path(given.data).name} {named} --cuts {given.cuts} "
            f"--count {given.count} --seed {given.seed}"
            + "".join(f" --set {text}" for text in given.set)
            + (f" --per-class {given.per_class}" if given.per_class else "")
        ),
        "settings": settings,
        "mean": mean_of(cuts),
        "cuts": cuts,
        "machine": environment(),
    }
    print(json.dumps(found, indent=2))
    if given.out is not None:
        write_json(given.out, found)


def measured(
    images: LabelledImages,
    held_out: Sequence[bool],
    others: Mapping[str, Sequence[Sample]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the figures of a model that was trained without the images held out."""
    marked = [
        replace(sample, split="test" if held else "train")
        for sample, held in zip(images.samples, held_out, strict=True)
    ]
    cut = images.with_samples(marked)
    with tempfile.TemporaryDirectory() as folder:
        run = fit(cut, Path(folder) / "run", settings, report=False, progress=False).run
        engine = load_engine(run, precision="32-true", device="cpu")
    detector = engine.detector
    if detector is None:
        raise SystemExit("The model has no reference index: it cannot tell strangers.")
    samples = cut.split("test")
    answers = list(engine.predict(samples))
    right = np.array([a.label == images.classes[s.label] for s, a in zip(samples, answers, strict=True)])
    scores = torch.tensor(probabilities_of(answers)), torch.tensor(right)
    said = np.array([answer.verdict for answer in answers])
    found: dict[str, Any] = {
        "trained_on": len(cut.split("train")),
        "detector": detector.facts(),
        "images": len(answers),
        "top1": float(right.mean()),
        "ece": expected_calibration_error(*scores),
        "squared_calibration_error": squared_calibration_error(*scores),
        **{f"called_{verdict}": float((said == verdict).mean()) for verdict in VERDICTS},
        **{f"top1_of_{verdict}": _share(right[said == verdict]) for verdict in VERDICTS},
    }
    for name, strangers in others.items():
        of_strangers = list(engine.predict(strangers))
        found[f"strangers.{name}"] = {
            **verdicts_of(of_strangers),
            "auroc_similarity": auroc(similarities_of(answers), similarities_of(of_strangers)),
            "auroc_probability": auroc(probabilities_of(answers), probabilities_of(of_strangers)),
        }
    return found


def mean_of(cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over cuts of what is asked of a model; the calibration error is the root of the mean square."""

    def mean(*path: str) -> float | None:
        values = []
        for cut in cuts:
            value: Any = cut
            for name in path:
                value = value[name]
            values.append(value)
        return float(np.mean(values)) if None not in values else None

    squared = mean("squared_calibration_error")
    assert squared is not None
    return {
        "top1": mean("top1"),
        "false_strangers": mean("called_stranger"),
        "strangers_found": {
            name.removeprefix("strangers."): mean(name, "stranger") for name in cuts[0] if name.startswith("strangers.")
        },
        "debiased_calibration_error": max(0.0, squared) ** 0.5,
        "ece": mean("ece"),
        "sure": mean("called_sure"),
        "top1_of_sure": mean("top1_of_sure"),
    }


def _training_images(images: LabelledImages, per_class: int | None) -> LabelledImages:
    """Return the training images alone, at most so many of each class."""
    seen: Counter[int] = Counter()
    kept = []
    for sample in images.split("train"):
        seen[sample.label] += 1
        if per_class is None or seen[sample.label] <= per_class:
            kept.append(sample)
    return images.with_samples(kept)


def _strangers(images: LabelledImages, count: int, seed: int) -> list[Sample]:
    return drawn(images.split("train"), count, seed)


def _share(right: Any) -> float | None:
    return float(right.mean()) if len(right) else None


if __name__ == "__main__":
    main()
