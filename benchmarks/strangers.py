"""Measure what a run's reference index is worth: strangers told, others left alone, look-alikes of the right class.

    python benchmarks/strangers.py RUN [RUN ...] --data DATA --strangers OTHER_DATA [--strangers ...] [--out FILE.json]

Each RUN has a reference index (`tlaam index RUN`). DATA are images of its classes, of which the test split is
measured. Of each of OTHER_DATA, `--count` images are drawn by `--seed`, from its test split where it has one.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.data.open import open_dataset
from tlaam.data.sample import Sample
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction import Prediction
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

VERDICTS = ("sure", "unsure", "stranger")


def main() -> None:
    """Measure and print; write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--strangers", action="append", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    others = " ".join(f"--strangers {Path(other).name}" for other in given.strangers)
    runs = {run.name: measured(run, given.data, given.strangers, given.count, given.seed) for run in given.runs}
    found = {
        "command": (
            f"python benchmarks/strangers.py {' '.join(runs)} --data {Path(given.data).name} {others} "
            f"--count {given.count} --seed {given.seed}"
        ),
        "runs": runs,
        "machine": environment(),
    }
    print(json.dumps(found, indent=2))
    if given.out is not None:
        write_json(given.out, found)


def measured(run: Path, data: str, others: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """Return the figures of one run."""
    predictor = load_engine(run, precision="32-true", device="cpu")
    judge = predictor.detector
    if judge is None:
        raise SystemExit(f"{run} has no reference index; write it with tlaam index.")
    images = open_dataset(data)
    samples = images.split("test")
    answers = list(predictor.predict(samples))
    right = [answer.top(1)[0][0] == images.classes[s.label] for s, answer in zip(samples, answers, strict=True)]
    found: dict[str, Any] = {
        "judge": {"threshold": judge.threshold, "sure_from": judge.sure_from, "chosen_on": judge.chosen_on},
        "test": {
            "data": images.name,
            **verdicts_of(answers),
            "top1": float(np.mean(right)),
            "top1_of": {
                verdict: _mean([good for good, a in zip(right, answers, strict=True) if a.verdict == verdict])
                for verdict in VERDICTS
            },
            "look_alike_recall_at_1": _recall(predictor, samples, answers, images.classes, 1),
            "look_alike_recall_at_5": _recall(predictor, samples, answers, images.classes, 5),
        },
        "strangers": {},
    }
    for other in others:
        strangers = open_dataset(other)
        of_strangers = list(predictor.predict(drawn(strangers.split("test") or strangers.samples, count, seed)))
        found["strangers"][strangers.name] = {
            **verdicts_of(of_strangers),
            "auroc_familiarity": auroc(similarities_of(answers), similarities_of(of_strangers)),
            "auroc_probability": auroc(probabilities_of(answers), probabilities_of(of_strangers)),
            "mean_probability": float(probabilities_of(of_strangers).mean()),
        }
    return found


def drawn(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    ordered = sorted(samples, key=lambda sample: sample.name)
    return random.Random(seed).sample(ordered, min(count, len(ordered)))


def verdicts_of(answers: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "images": len(answers),
        **{verdict: float(np.mean([a.verdict == verdict for a in answers])) for verdict in VERDICTS},
    }


def _recall(
    predictor: Engine, samples: Sequence[Sample], answers: Sequence[Prediction], classes: Sequence[str], k: int
) -> float:
    """Return the share of images that have one of their own class among the k training images most like them."""
    hits = []
    for sample, answer in zip(samples, answers, strict=True):
        hits.append(classes[sample.label] in {alike.label for alike in predictor.look_alikes(answer, k)})
    return float(np.mean(hits))


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def similarities_of(answers: Sequence[Prediction]) -> NDArray[np.float64]:
    return np.array([answer.similarity for answer in answers], dtype=np.float64)


def probabilities_of(answers: Sequence[Prediction]) -> NDArray[np.float64]:
    return np.array([answer.top(1)[0][1] for answer in answers], dtype=np.float64)


def auroc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Return how often one of the first is above one of the second; equals count half."""
    difference = higher[:, None] - lower
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


if __name__ == "__main__":
    main()
