"""Turn the ``results.json`` of `tlaam compare` into what docs show of it: Markdown tables, and a picture.

    python benchmarks/glance.py RESULTS.json [--pooled OTHER.json] [--picture FILE.svg]

tests/test_results.py holds the docs to what this prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.evaluation.bootstrap import drawn_differences, interval
from tlaam.visualization.charts import spread_chart

COLUMNS = {
    "raw.top1": "whole image",
    "object.top1": "object",
    "parts.top1": "parts",
    "fused.top1": "**fused**",
    "box.mean_iou": "box: mean IoU",
    "box.gt_known_0.3": "IoU ≥ 0.3",
    "box.gt_known_0.5": "IoU ≥ 0.5",
    "box.gt_known_0.7": "IoU ≥ 0.7",
    "minutes": "minutes",
    "memory": "GiB",
}
"""Measures of the table, and what they are called there; all but the last two are shares, shown in per cent."""


def table(results: Mapping[str, Any]) -> str:
    """Return a row a system: means ± standard deviations over its seeds."""
    rows = [["system", "seeds", *COLUMNS.values()]]
    seeds = {name: sum(run["system"] == name for run in results["runs"]) for name in results["summary"]}
    for system, measures in results["summary"].items():
        cells = [_cell(name, measures.get(name)) for name in COLUMNS]
        rows.append([results["systems"][system]["title"], str(seeds[system]), *cells])
    return _markdown(rows)


def _cell(name: str, spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "–"
    factor = 1 if name in ("minutes", "memory") else 100
    deviation = "" if spread["std"] is None else f" ± {factor * spread['std']:.1f}"
    return f"{factor * spread['mean']:.1f}{deviation}"


BOX_COLUMNS = {
    "box.top1_loc_0.5": "box (IoU ≥ 0.5) and name right",
    "box.max_box_acc": "MaxBoxAcc (oracle)",
    "box.max_box_acc_v2": "MaxBoxAccV2 (oracle)",
    "box.box_acc_val_threshold": "BoxAcc (val. threshold)",
    "box.box_acc_v2_val_threshold": "BoxAccV2 (val. threshold)",
    "box.pointing_game": "pointing game",
    "parts.hit": "part windows that hit",
    "parts.hit_random": "windows at random that hit",
    "parts.recall": "parts in windows",
    "parts.recall_random": "parts in windows at random",
}
"""Measures of the table of maps and parts; those that no system has are left out."""


def box_table(results: Mapping[str, Any]) -> str:
    """Return a row for each system whose maps or parts were measured, as `table` does."""
    summary = results["summary"]
    columns = [name for name in BOX_COLUMNS if any(name in measures for measures in summary.values())]
    rows = [["system", *(BOX_COLUMNS[name] for name in columns)]]
    for system, measures in summary.items():
        if any(name in measures for name in columns):
            rows.append([results["systems"][system]["title"], *(_cell(name, measures.get(name)) for name in columns)])
    return _markdown(rows)


WORTH = {
    "whole image": ("probe", "plain"),
    "whole image, larger input at the default's cost": ("probe-larger", "plain-larger"),
    "MMAL-Net's modules": (None, "mmal"),
    "image and object": ("probe-object", "no-parts"),
    "image, object and parts (default)": ("tlaam-probe", "tlaam"),
}
"""What a system looks at, and the names of its probe and of its fine-tuned network."""


def worth(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what object, parts and fine-tuning are each worth: mean fused top-1 over the seeds, in per cent.

    Args:
        measured: results by what their images show.
    """
    rows = [["looks at", *(cell for images in measured for cell in (f"{images}: probe", "fine-tuned"))]]
    for looks_at, systems in WORTH.items():
        cells = []
        for results in measured.values():
            spreads = [results["summary"].get(system, {}).get("fused.top1") for system in systems]
            cells += ["–" if spread is None else f"{100 * spread['mean']:.1f}" for spread in spreads]
        rows.append([looks_at, *(f"**{cell}**" if "default)" in looks_at else cell for cell in cells)])
    return _markdown(rows)


def differences(results: Mapping[str, Any], than: str) -> str:
    """Return how many points of fused top-1 each system has more than `than`, with intervals; bold where decided."""
    rows = [[f"fused top-1 minus that of {results['systems'][than]['title']}", "points", "95 % interval"]]
    for row in results["differences"]:
        if row["first_branch"] == row["second_branch"] and than in (row["first"], row["second"]):
            sign = 1 if row["second"] == than else -1
            other = row["first"] if sign == 1 else row["second"]
            low, high = sorted((sign * row["low"], sign * row["high"]))
            points = f"{100 * sign * row['mean']:+.1f}"
            decided = low > 0 or high < 0
            interval = f"{_points(low)} to {_points(high)}"
            rows.append([results["systems"][other]["title"], f"**{points}**" if decided else points, interval])
    return _markdown(rows)


def pooled(files: Sequence[Mapping[str, Any]], first: str, second: str) -> tuple[float, float, float]:
    """Return how many points of fused top-1 one system has more than another on the images of several files together.

    The files have no image in common. Within each, images and seeds are drawn as for its own differences; each image
    counts once, however many seeds answered for it.

    Returns:
        The difference, and the ends of its 95 % interval, in points.
    """
    means, draws, images = [], [], []
    for number, results in enumerate(files):
        one, other = (right(results, system) for system in (first, second))
        means.append(one.mean() - other.mean())
        draws.append(drawn_differences(one, other, seed=number))
        images.append(one.shape[1])
    shares = np.array(images) / sum(images)
    low, high = interval(shares @ np.array(draws))
    return 100 * float(shares @ np.array(means)), 100 * low, 100 * high


def pooled_table(files: Sequence[Mapping[str, Any]], than: str) -> str:
    """Return how many points each system of all files has more than `than`, as `differences` does for one file."""
    titles = files[0]["systems"]
    rows = [[f"fused top-1 minus that of {titles[than]['title']}, {len(files)} files", "points", "95 % interval"]]
    for system in titles:
        if system != than and all(system in results["systems"] for results in files):
            mean, low, high = pooled(files, system, than)
            points = f"{mean:+.1f}"
            interval = f"{_points(low / 100)} to {_points(high / 100)}"
            rows.append([titles[system]["title"], f"**{points}**" if low > 0 or high < 0 else points, interval])
    return _markdown(rows)


def right(results: Mapping[str, Any], system: str) -> NDArray[np.bool_]:
    """Return for each of S seeds which of the N images a system has right by its fused answer, ``(S, N)``."""
    rows = [run["right"]["fused"] for run in results["runs"] if run["system"] == system]
    return np.array([[cell == "1" for cell in row] for row in rows])


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return text if float(text) or not share else f"{100 * share:+.2f}"  # an end next to zero shows its side


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


_SHOWN = {"fused.top1": "fused top-1", "box.gt_known_0.5": "boxes with IoU ≥ 0.5"}


def picture(results: Mapping[str, Any]) -> str:
    """Return an SVG: a block a system, with a dot for its top-1 and one for its boxes, and bars of ± one deviation."""
    rows = [
        (
            results["systems"][system]["title"],
            {title: (measures[n]["mean"], measures[n]["std"]) for n, title in _SHOWN.items() if n in measures},
        )
        for system, measures in results["summary"].items()
    ]
    return spread_chart(rows, list(_SHOWN.values()), alone=640)


def main() -> None:
    """Print the tables of a results file, and draw its picture where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--pooled", type=Path, help="results on other images, counted with these")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    results = json.loads(given.results.read_text(encoding="utf-8"))
    if "tlaam-probe" in results["systems"]:
        print(worth({results["data"]: results}))
    print(table(results))
    print(box_table(results))
    for than in dict.fromkeys((results["first"], *(name for name in ("plain",) if name in results["systems"]))):
        print(differences(results, than))
    if given.pooled is not None:
        print(pooled_table([results, json.loads(given.pooled.read_text(encoding="utf-8"))], results["first"]))
    if given.picture is not None:
        given.picture.write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
