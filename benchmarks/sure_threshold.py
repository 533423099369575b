"""Simulate what it is worth that the model's own estimate counts as 20 images when `unsure` gets its threshold.

    python benchmarks/sure_threshold.py [--draws 300] [--out FILE.json]

Probabilities of the most probable class are drawn from a beta distribution of mean 0.82, and each answer is right as
often as its probability says. A model that is too sure of itself shows the same answers with logits times 1.6. The
threshold is chosen on 30 or 300 held-out answers by `tlaam.reference.ood_detector.sure_from`; of a large population at
or above it, the share that is right is counted. It should be 95 %.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.reference import ood_detector
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

SHAPE = 2.05, 0.45
"""Of the beta distribution; its mean is 0.82."""
POPULATION = 100_000
MODELS = {"calibrated": 1.0, "too sure of itself (scores times 1.6)": 1.6}
COUNTED = {"held-out images alone": 0, "20 more": ood_detector.ENOUGH}


def shown(probabilities: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return probabilities with their logits multiplied by a factor."""
    odds = (probabilities / (1 - probabilities)) ** factor
    return odds / (1 + odds)


def simulate(held_out: int, draws: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean and lowest tenth of the share that is right, for each model and each way to count."""
    generator = np.random.default_rng(0)
    population = np.sort(np.clip(generator.beta(*SHAPE, POPULATION), 1e-9, 1 - 1e-9))
    right_above = population[::-1].cumsum()[::-1] / np.arange(POPULATION, 0, -1)
    shares: dict[tuple[str, str], list[float]] = {(m, c): [] for m in MODELS for c in COUNTED}
    for _ in range(draws):
        drawn = np.clip(generator.beta(*SHAPE, held_out), 1e-9, 1 - 1e-9)
        right = generator.random(held_out) < drawn
        for model, factor in MODELS.items():
            for counted, more in COUNTED.items():
                ood_detector.ENOUGH = more
                threshold = ood_detector.sure_from(shown(drawn, factor), right)
                first = int(np.searchsorted(shown(population, factor), threshold))
                shares[model, counted].append(float(right_above[min(first, POPULATION - 1)]))
    ood_detector.ENOUGH = COUNTED["20 more"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (model, counted), values in shares.items():
        row = {"mean": float(np.mean(values)), "lowest_tenth": float(np.quantile(values, 0.1))}
        found.setdefault(model, {})[counted] = row
    return found


def table(found: dict[str, Any]) -> str:
    """Return a simulation as a table in Markdown."""
    rows = ["| model | images counted | mean | worst tenth of the draws |", "|---|---|---|---|"]
    for model, ways in found.items():
        for counted, row in ways.items():
            rows.append(f"| {model} | {counted} | {100 * row['mean']:.1f} % | {100 * row['lowest_tenth']:.1f} % |")
    return "\n".join(rows)


def main() -> None:
    """Simulate, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sure-threshold.json"))
    given = parser.parse_args()
    found = {str(count): simulate(count, given.draws) for count in (30, 300)}
    facts = {"command": shlex.join(["python", *sys.argv]), "draws": given.draws, "environment": environment()}
    write_json(given.out, {**facts, "held_out": found})
    for count, simulated in found.items():
        print(f"{count} images held out\n{table(simulated)}")


if __name__ == "__main__":
    main()
