"""Measure whether a promise is kept: on simulated score sets, and on held-out answers cut in parts.

    python benchmarks/promise.py [--sets 10000] [--source SOURCE TAXONOMY.csv ...] [--out FILE.json]

Simulated: answers for classes in a tree of genera and families are drawn from a large population, thresholds are chosen
on them, and of the whole population is counted how many answers are right: in how many of the sets fewer than promised.
SOURCE is a probe's run folder (`tlaam train DATA --epochs 0`), or a .npz file of features with `views` (N, V, K),
`labels` and `names`, on which probes are solved out of fold. Thresholds are chosen on one part of its answers and
measured on the other, over and over; no image of a test split is seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.data.folds import stratified_folds
from tlaam.probe.solver import Scaling, fit_probe
from tlaam.runs.environment import environment
from tlaam.runs.out_of_fold import out_of_fold_of
from tlaam.taxonomy.answers import Answering, RankScores, rank_scores
from tlaam.taxonomy.files import read_taxonomy
from tlaam.taxonomy.promise import CONFIDENCE, least_answers, upper_end
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.atomic import write_json

PROMISES = (0.9, 0.95, 0.99)
REPEATS = 200
POPULATION = 20_000
SIZES = (60, 150, 300, 1000)


class Population(NamedTuple):
    """Answers, and what they are worth at each rank."""

    taxonomy: Taxonomy
    held_out: HeldOutAnswers
    scores: RankScores
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, taxonomy: Taxonomy, held_out: HeldOutAnswers) -> Population:
        scores = rank_scores(taxonomy, held_out.answers)
        labels = held_out.labels
        right = np.array([codes[m] == codes[labels] for codes, m in zip(taxonomy.codes, scores.members, strict=True)])
        return cls(taxonomy, held_out, scores, right)

    def depths(self, thresholds: tuple[int, ...], of: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return at which rank each of some images is answered; -1 where at none."""
        reached = self.scores.shares[:, of] >= np.array(thresholds)[:, None]
        return np.where(reached.any(0), reached.argmax(0), -1)


def main() -> None:
    """Measure and print; write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--source", nargs=2, action="append", default=[], metavar=("SOURCE", "TAXONOMY"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sources = "".join(f" --source {Path(source).name} {Path(table).name}" for source, table in given.source)
    command = f"python benchmarks/promise.py --sets {given.sets} --seed {given.seed}{sources}"
    found: dict[str, Any] = {"command": command, "confidence": CONFIDENCE, "machine": environment()}
    if given.sets:
        found["simulated"] = list(simulated(given.sets, given.seed))
    for source, taxonomy in given.source:
        population = population_of(Path(source), Path(taxonomy))
        found[Path(taxonomy).stem] = measured(population, given.seed)
    print(json.dumps(found, indent=2))
    if given.out is not None:
        write_json(given.out, found)


def simulated(sets: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield, for populations, sizes and promises, in how many sets the promise was broken."""
    rng = np.random.default_rng(seed)
    kinds = {"calibrated": (1.0, 0.0), "too sure of itself": (1.6, 0.0), "2 % mislabelled": (1.0, 0.02)}
    runs = [(kind, size, promise) for kind in kinds for size in SIZES for promise in PROMISES]
    runs = [(kind, size, promise) for kind, size, promise in runs if size >= least_answers(promise)]
    populations = {kind: drawn_population(rng, *how) for kind, how in kinds.items()}
    everything = np.arange(POPULATION)
    for kind, size, promise in runs:
        population, broken, deep_broken, answered, used = populations[kind], 0, 0, 0.0, 0
        for _ in range(sets // len(runs)):
            some = population.held_out.of(rng.integers(POPULATION, size=size))
            depths = population.depths(_thresholds(population, some, promise), everything)
            kept = _kept(population, depths, everything)
            broken += kept is not None and kept < promise
            deepest = population.right[0][depths == 0]
            deep_broken += bool(len(deepest)) and deepest.mean() < promise
            answered += float((depths >= 0).mean())
            used += 1
        yield {
            "population": kind,
            "answers": size,
            "promise": promise,
            "sets": used,
            "broken": broken / used,
            "broken_at_deepest": deep_broken / used,
            "answered": answered / used,
        }


def drawn_population(rng: np.random.Generator, sharpness: float, mislabelled: float) -> Population:
    """Return answers for 12 classes of 5 genera and 3 families, which are confused within these more than without."""
    genus = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4])
    family = np.array([0, 0, 1, 2, 2])[genus]
    classes = [f"c{number}" for number in range(12)]
    taxonomy = Taxonomy.of_rows(
        classes, ("genus", "family"), {c: (f"g{g}", f"f{f}") for c, g, f in zip(classes, genus, family, strict=True)}
    )
    near = 1.2 * (genus[:, None] == genus) + 0.8 * (family[:, None] == family)
    logits = rng.normal(0, 1.2, (POPULATION, 12)) + near[rng.integers(12, size=POPULATION)]
    logits[np.arange(POPULATION), rng.integers(12, size=POPULATION)] += rng.gamma(2.0, 2.5, POPULATION)
    chances = _softmax(logits)
    labels = (chances.cumsum(1) < rng.random((POPULATION, 1))).sum(1).clip(0, 11)
    other = rng.random(POPULATION) < mislabelled
    labels[other] = rng.integers(12, size=int(other.sum()))
    return Population.of(taxonomy, HeldOutAnswers(labels, SharedAnswers.of(_softmax(sharpness * logits))))


def population_of(source: Path, table: Path) -> Population:
    """Return the answers of a run or of features, out of fold, with their taxonomy."""
    classes = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    if source.is_dir():
        answers = out_of_fold_of(source)
        held_out = None if answers is None else answers.held_out()
        assert held_out is not None, "no run of a probe with probabilities"
        classes = json.loads((source / "config.json").read_text())["classes"]
    else:
        with np.load(source) as arrays:
            views, labels, names = arrays["views"], arrays["labels"].astype(np.int64), arrays["names"].tolist()
        folds = stratified_folds(labels.tolist(), names, 5, seed=0)
        weights = (0.5, 1.0, 0.5) if views.shape[1] == 3 else (1.0,) * views.shape[1]
        features = views.reshape(len(views), -1)
        fit = fit_probe(features, labels, int(labels.max()) + 1, folds, scalings=[Scaling(weights, 0.3)])
        held_out = HeldOutAnswers(labels, SharedAnswers.of(_softmax(fit.out_of_fold / fit.temperature)))
    return Population.of(read_taxonomy(table, classes), held_out)


def measured(population: Population, seed: int) -> dict[str, Any]:
    """Return how often a promise was kept where thresholds were chosen on one part and measured on the other."""
    count = len(population.held_out)
    everything = np.arange(count)
    found: dict[str, Any] = {
        "images": count,
        "accuracy": dict(zip(population.taxonomy.ranks, population.right.mean(1).round(4).tolist(), strict=True)),
    }
    for promise in PROMISES:
        of_all: dict[str, Any] = {"needed": least_answers(promise)}
        if count >= of_all["needed"]:
            answering = Answering.of(population.taxonomy, population.held_out, promise=promise)
            depths = population.depths(answering.thresholds, everything)
            of_all |= {"chosen_on_all": answering.said(), "answered_of_all": _shares(population, depths)}
        for name, chosen in (("halves", count // 2), ("nine tenths", count * 9 // 10)):
            if chosen >= of_all["needed"]:
                of_all[name] = _crossed(population, promise, chosen, seed)
        found[str(promise)] = of_all
    return found


def _crossed(population: Population, promise: float, chosen: int, seed: int) -> dict[str, Any]:
    rng, rows, depths_seen = np.random.default_rng(seed), [], []
    for _ in range(REPEATS):
        order = rng.permutation(len(population.held_out))
        some, others = order[:chosen], order[chosen:]
        depths = population.depths(_thresholds(population, population.held_out.of(some), promise), others)
        answered = depths >= 0
        rows.append((int(_right(population, depths, others).sum()), int(answered.sum())))
        depths_seen.append(depths)
    right, answered_in_all = (sum(column) for column in zip(*rows, strict=True))
    return {
        "kept": right / answered_in_all if answered_in_all else None,
        "upper_end_at_or_above": sum(not n or upper_end(k, n) >= promise for k, n in rows) / len(rows),
        "nothing_answered": sum(not n for _, n in rows) / len(rows),
        **_shares(population, np.concatenate(depths_seen)),
    }


def _shares(population: Population, depths: NDArray[np.int64]) -> dict[str, Any]:
    answered = depths[depths >= 0]
    deepest = float((answered == 0).mean()) if len(answered) else None
    at = {rank: float((depths == depth).mean()) for depth, rank in enumerate(population.taxonomy.ranks)}
    return {"at": at, "none": float((depths < 0).mean()), "deepest_of_answers": deepest}


def _thresholds(population: Population, held_out: HeldOutAnswers, promise: float) -> tuple[int, ...]:
    return Answering.of(population.taxonomy, held_out, promise=promise).thresholds


def _right(population: Population, depths: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.bool_]:
    return population.right[depths, of] & (depths >= 0)


def _kept(population: Population, depths: NDArray[np.int64], of: NDArray[np.int64]) -> float | None:
    answered = int((depths >= 0).sum())
    return float(_right(population, depths, of).sum() / answered) if answered else None


def _softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    softmax: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return softmax


if __name__ == "__main__":
    main()
