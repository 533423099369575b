"""Differences on those of 98 car models that the recipe was not chosen on, added to the file of results.

    python benchmarks/other_classes.py RESULTS.json ../shared/data/cars196/annotations.csv

Thirty of them, every sixth model of the 196, were among the data of benchmarks/finetuning.py.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import glance
import numpy as np

from tlaam.evaluation.bootstrap import paired_bootstrap
from tlaam.utils.atomic import write_json


def main() -> None:
    """Read the results, and write them again with one more entry."""
    file, manifest = map(Path, sys.argv[1:])
    results = json.loads(file.read_text(encoding="utf-8"))
    with manifest.open(newline="", encoding="utf-8") as stream:
        label_of = {row["image"]: row["label"] for row in csv.DictReader(stream)}
    chosen_on = set(sorted(set(label_of.values()))[::6][:30])
    others = np.array([label_of[name] not in chosen_on for name in results["images"]])
    first = glance.right(results, "tlaam")[:, others]
    found = {}
    for system in results["systems"]:
        if system != "tlaam":
            gain = paired_bootstrap(first, glance.right(results, system)[:, others])
            found[system] = [round(100 * value, 1) for value in (gain.mean, gain.low, gain.high)]
    top1 = round(100 * float(first.mean()), 1)
    results["on other classes"] = {"images": int(others.sum()), "tlaam.top1": top1, "tlaam minus": found}
    write_json(file, results)
    print(results["on other classes"])


if __name__ == "__main__":
    main()
