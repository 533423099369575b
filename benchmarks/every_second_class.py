"""Write a manifest of every second class of another one, in the order of their names; ``val`` images become ``test``.

python benchmarks/every_second_class.py ../shared/data/cars196/annotations.csv runs/cars98-data/annotations.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main() -> None:
    """Read one manifest and write the other."""
    source, target = map(Path, sys.argv[1:])
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = set(sorted({row["label"] for row in rows})[::2])
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", "label", "split"])
        writer.writeheader()
        for row in rows:
            if row["label"] in kept:
                writer.writerow({**row, "split": "test" if row["split"] == "val" else "train"})


if __name__ == "__main__":
    main()
