"""Near strangers: a kind that is missing among kinds that look alike, by folds of training images.

    python benchmarks/near_strangers.py ../shared/data --work runs/teaching

Of cub10 two classes and of flowers17 three are left out in turn; the detector is that of two thirds of the training
images of the others. Asked are their other images, those of the classes left out, and all of the other data set: far
strangers. Features are those of one probe of all classes, whose backbone is as it was pretrained; its finder of objects
has seen the classes that are left out, without their names. No test split is opened.

By cosine: the similarity to the nearest class mean alone. With contrast: what `tlaam.reference.thresholds` makes of the
same images. Beside them, other measures by the order that they put images in.

Written to benchmarks/results/near-strangers.json.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.special import log_softmax, logsumexp  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from teaching import data_sets, kept_features  # noqa: E402

from tlaam.data.folds import stratified_folds  # noqa: E402
from tlaam.probe.linear import Scaling  # noqa: E402
from tlaam.probe.solver import solve  # noqa: E402
from tlaam.reference.contrast import Contrast  # noqa: E402
from tlaam.reference.ood_detector import quantile  # noqa: E402
from tlaam.reference.similarity import similarity_left_out, unit  # noqa: E402
from tlaam.reference.thresholds import by_training_images  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402

Rows = dict[str, list[float]]


def asked(
    pooled: NDArray[np.float32], labels: NDArray[np.int64], names: list[str], group: tuple[int, ...], side: int,
    far: NDArray[np.float32],
) -> dict[str, Rows]:  # fmt: skip
    """Return of each way of telling strangers its figures, for one group left out and one fold."""
    out = stratified_folds(labels.tolist(), names, 3, seed=7) == side
    new = np.isin(labels, group)
    learnt, own, near = ~out & ~new, out & ~new, out & new
    directions = unit(pooled[:, 1])
    present, of_learnt = np.unique(labels[learnt], return_inverse=True)
    detector = by_training_images(directions[learnt], of_learnt, len(present), sure_from=0.5, chosen_on="")
    left_out = similarity_left_out(directions[learnt], of_learnt, len(present))
    cosines = replace(detector, near=None, threshold=quantile(left_out, 0.05))
    found: dict[str, Rows] = {}
    for name, which in (("cosine", cosines), ("with contrast", detector)):
        of_own, of_near, of_far = (which.similarity(each) for each in (directions[own], directions[near], unit(far)))
        found[name] = {
            "near AUROC": [_auroc(of_own, of_near)],
            "far AUROC": [_auroc(of_own, of_far)],
            **{
                f"{kind} called strangers": [float((each < which.threshold).mean())]
                for kind, each in zip(("own", "near", "far"), (of_own, of_near, of_far), strict=True)
            },
        }
    contrast = Contrast.fit(directions[learnt], of_learnt)
    assert contrast is not None
    contrast_of_far = contrast.of(unit(far))
    flat = pooled.reshape(len(pooled), -1)
    probe = solve(flat[learnt], of_learnt, len(present), 1e-2, Scaling((1.0,) * pooled.shape[1], 0.3))
    logits = probe.logits(flat)
    nearest = np.sort(directions @ directions[learnt].T, 1)[:, ::-1]
    for name, values in (
        ("contrast alone", contrast.of(directions)),
        ("third nearest image", nearest[:, 2]),
        ("largest probability", log_softmax(logits, 1).max(1)),
        ("energy", logsumexp(logits, 1)),
        ("cosine, all branches", _all_branches(pooled, learnt, of_learnt)),
    ):
        told = values[near] < np.quantile(values[own], 0.05, method="lower")
        found[name] = {
            "near AUROC": [_auroc(values[own], values[near])],
            "near told at 5 % of own": [float(told.mean())],
        }
        if name == "contrast alone":
            found[name]["far AUROC"] = [_auroc(values[own], contrast_of_far)]
    for name, which in (("cosine", cosines), ("with contrast", detector)):
        values = which.similarity(directions)
        told = values[near] < np.quantile(values[own], 0.05, method="lower")
        found[name]["near told at 5 % of own"] = [float(told.mean())]
    return found


def _all_branches(
    pooled: NDArray[np.float32], learnt: NDArray[np.bool_], labels: NDArray[np.int64]
) -> NDArray[np.floating]:
    together = unit(np.concatenate([unit(pooled[:, view]) for view in range(pooled.shape[1])], 1))
    means = np.stack([together[learnt][labels == label].mean(0) for label in range(labels.max() + 1)])
    best: NDArray[np.floating] = (together @ unit(means).T).max(1)
    return best


def _auroc(own: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    return float(roc_auc_score(np.repeat([1, 0], [len(own), len(others)]), np.concatenate([own, others])))


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/teaching"), help="a folder to keep features in")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/near-strangers.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    sets = list(data_sets(given.data))
    features = {birds.name: kept_features(birds, given.work) for birds in sets}
    results = {}
    for birds, other in zip(sets, sets[::-1], strict=True):
        tally: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for group in birds.groups:
            for side in range(3):
                for name, rows in asked(*features[birds.name], group, side, features[other.name][0][:, 1]).items():
                    for what, values in rows.items():
                        tally[name][what] += values
        results[birds.name] = {
            name: {what: round(float(np.mean(values)), 4) for what, values in rows.items()}
            for name, rows in tally.items()
        }
        print(birds.name, results[birds.name], flush=True)
    write_json(
        given.out,
        {"command": shlex.join(["python", *sys.argv]), "environment": environment(), "results": results},
    )


if __name__ == "__main__":
    main()
