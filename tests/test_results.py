"""Figures in the README and the docs are those of the results files, digit for digit."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from tlaam.evaluation.bootstrap import paired_bootstrap

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
MAPS = {"box.max_box_acc": {"mean": 0.25, "std": 0.01}, "parts.hit": {"mean": 0.5, "std": None}}
RESULTS = ROOT / "benchmarks" / "results" / "cub10-systems-224.json"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def glance() -> ModuleType:
    return benchmark("glance")


def test_the_page_of_fine_tuning_shows_its_candidates() -> None:
    results = json.loads((RESULTS.parent / "finetuning.json").read_text())
    finetuning, page = benchmark("finetuning"), (ROOT / "docs" / "fine-tuning.md").read_text()
    assert finetuning.table(results) in page
    again = finetuning.summary(results["runs"], [name for name in finetuning.CANDIDATES if name != "probe"], [0])
    assert again == results["gains"]


def test_the_confirmation_of_fine_tuning_is_what_was_measured() -> None:
    results = json.loads((RESULTS.parent / "finetuning-confirmed.json").read_text())
    finetuning, page = benchmark("finetuning"), (ROOT / "docs" / "fine-tuning.md").read_text()
    again = finetuning.summary(results["runs"], [name for name in finetuning.CANDIDATES if name != "probe"], [0, 1])
    assert again == results["gains"]
    rows = [row for row in finetuning.table(results).splitlines() if ", 25% of the start" in row]
    assert len(rows) == 2 and "\n".join(rows) in page
    beside = results["beside the adopted one"]["pasted, 25% of the start"]["mean"]
    assert "{:.1f} points more on average ({:.1f} to {:.1f})".format(*beside) in page


def test_the_page_on_accuracy_shows_what_balancing_is_worth() -> None:
    results = json.loads((RESULTS.parent / "skew.json").read_text())
    skew, page = benchmark("skew"), " ".join((ROOT / "docs" / "accuracy.md").read_text().split())
    cuts = [cut for key, cut in sorted(results["cuts"].items()) if key.startswith("cub10/skewed/")]
    found = results["gains"]["cub10/skewed"]
    assert len(cuts) == skew.CUTS and found == skew.gain(cuts)
    assert {max(cut["counts"]) for cut in cuts} == {26} and {min(cut["counts"]) for cut in cuts} == {2}
    scores = found["macro_f1"]
    assert f"macro-F1 is {scores['auto']:.1f} % with `auto` and {scores['none']:.1f} % with `none`" in page
    assert "{:.1f} points (95 % interval {:.1f} to {:.1f})".format(*found["gain"]) in page
    assert results["gains"]["cub10/equal"]["gain"] == [0, 0, 0]


@pytest.mark.parametrize("path", sorted(RESULTS.parent.glob("*.json")), ids=lambda path: path.stem)
def test_a_figure_has_a_commit_and_commands(path: Path) -> None:
    record = json.loads(path.read_text())
    commit = record.get("commit") or record.get("machine", record.get("environment", {})).get("commit")
    assert re.fullmatch(r"[0-9a-f]{7,40}\+?", commit or "")
    command = record.get("command") or record.get("commands")
    assert command
    if re.search(r"(?<![=.\w-])RUN\b|birds\.onnx", str(command)) and "--out RUN" not in str(command):
        assert "--out RUN" in record["trained"]  # which makes it


def test_the_page_of_results_shows_the_results(glance: ModuleType) -> None:
    results, page = json.loads(RESULTS.read_text()), PAGE.read_text()
    assert glance.table(results) in page
    assert glance.box_table(results) in page
    assert glance.differences(results, "plain") in page
    assert glance.differences(results, "tlaam") in page
    assert (ROOT / "docs" / "images" / "cub10-systems-224.svg").read_text() == glance.picture(results)


def test_the_page_shows_the_other_networks_and_what_they_learnt_on_drawn_creatures(glance: ModuleType) -> None:
    page = PAGE.read_text()
    papers = json.loads((RESULTS.parent / "cub10-papers-224.json").read_text())
    assert glance.table(papers) in page and glance.differences(papers, "plain") in page
    drawn = json.loads((RESULTS.parent / "synthetic-networks-128.json").read_text())
    for system, seeds in drawn["top1"].items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{system}` |"))
        shown = [cell.strip() for cell in row.split("|")[2:-1] if cell.strip() != "–"]
        assert shown == [f"{100 * branches['fused']:.1f}" for branches in seeds.values()], system


def test_tables_and_picture_say_what_was_measured(glance: ModuleType) -> None:
    results = {
        "first": "b",
        "systems": {"a": {"title": "A & Co"}, "b": {"title": "B"}},
        "runs": [{"system": "a"}, {"system": "b"}, {"system": "b"}],
        "summary": {
            "a": {"fused.top1": {"mean": 0.5, "std": None}, "minutes": {"mean": 2.0, "std": None}},
            "b": {"fused.top1": {"mean": 0.75, "std": 0.05}, "box.gt_known_0.5": {"mean": 1.0, "std": 0.0}},
        },
        "differences": [
            {"first": "b", "first_branch": "fused", "second": "a", "second_branch": "fused", "mean": 0.25,
             "low": 0.0004, "high": 0.4},
            {"first": "b", "first_branch": "object", "second": "b", "second_branch": "raw", "mean": 0.5,
             "low": 0.1, "high": 0.6},
        ],
    }  # fmt: skip
    head, _, first, second = glance.table(results).splitlines()
    assert head.split(" | ")[5] == "**fused**"
    assert first == "| A & Co | 1 | – | – | – | 50.0 | – | – | – | – | 2.0 | – |"
    assert second == "| B | 2 | – | – | – | 75.0 ± 5.0 | – | – | 100.0 ± 0.0 | – | – | – |"
    assert glance.differences(results, "a").splitlines()[2:] == ["| B | **+25.0** | +0.04 to +40.0 |"]
    assert glance.differences(results, "b").splitlines()[2:] == ["| A & Co | **-25.0** | -40.0 to -0.04 |"]
    head, _, row = glance.box_table(results | {"summary": {**results["summary"], "b": MAPS}}).splitlines()
    assert head == "| system | MaxBoxAcc (oracle) | part windows that hit |" and row == "| B | 25.0 ± 1.0 | 50.0 |"
    drawn = ElementTree.fromstring(glance.picture(results))
    said = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert said == [
        "A & Co, fused top-1: 50.0 %", "B, fused top-1: 75.0 ± 5.0 %", "B, boxes with IoU ≥ 0.5: 100.0 ± 0.0 %",
    ]  # fmt: skip


def test_the_page_on_exports_shows_the_measured() -> None:
    results, page = json.loads((RESULTS.parent / "export-cpu.json").read_text()), (ROOT / "docs/export.md").read_text()
    rows = {row[0].strip("` "): row[1:] for line in page.splitlines() if (row := line.strip("| ").split(" | "))[1:]}
    one, eight = (results["milliseconds_an_image"][name] for name in ("batch 1", "batch 8"))
    for label, precision in {"ONNX Runtime, `fp32": "fp32", "fp16": "fp16", "int8": "int8"}.items():
        parity, way = results["parity"][precision], f"onnxruntime, {precision}"
        shares = [parity[name] for name in ("top1", "same_top1", "same_boxes", "object_iou")]
        assert rows[label] == [
            str(one[way]["processor"]), str(eight[way]["processor"]), f"{results['bytes'][precision] / 1e6:.1f}",
            *(f"{share:.1%}".replace("%", " %") for share in shares),
        ]  # fmt: skip
    for arithmetic in ("32-true", "bf16-mixed"):
        way = f"torch, {arithmetic}"
        assert rows[f"PyTorch, `--precision {arithmetic}"][:2] == [
            str(one[way]["processor"]),
            str(eight[way]["processor"]),
        ]
    gains = [
        times["onnxruntime, fp32"]["processor"] / times["onnxruntime, int8"]["processor"] for times in (one, eight)
    ]
    assert f"`int8` is {gains[0]:.2f} times as fast as `fp32` for one image and {gains[1]:.2f} times for eight" in page


def test_the_page_on_speed_shows_what_fast_answers_change() -> None:
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    ways = json.loads((RESULTS.parent / "agreement-cub10.json").read_text())["ways"]
    assert list(ways) == ["32-true", "bf16-mixed", "32-true, compiled", "bf16-mixed, compiled"]
    for way, found in ways.items():
        shares = [found[name] for name in ("same_top1", "top1", "object_boxes_within_a_pixel", "object_iou")]
        changes = [found[f"{name}_probability"] for name in ("mean_change_of_the_best", "largest_change_of_a")]
        cells = [*(f"{100 * share:.1f} %" for share in shares), *(f"{change:.1g}" for change in changes)]
        precision, _, compiled = way.partition(", ")
        assert f"| `--precision {precision}{' --compile' if compiled else ''}` | {' | '.join(cells)} |" in page


def test_the_page_of_speed_shows_what_fusing_buys() -> None:
    rows = json.loads((RESULTS.parent / "fusing-cpu.json").read_text())["rows"]
    page = (ROOT / "docs" / "speed.md").read_text()
    for row in rows:
        times = (row["ms an image, fused"], row["ms an image, folded only"])
        cells = (row["backbone"], row["batch"], row["precision"], *(f"{ms:.1f}" for ms in times))
        assert f"| {' | '.join(map(str, cells))} | {row['folded only, of fused']:.2f} |" in page


def test_pooled_differences_are_those_of_all_images(glance: ModuleType) -> None:
    random = np.random.default_rng(3)

    def file(seeds: int, images: int) -> dict[str, object]:
        rows = {"a": random.random((seeds, images)) < 0.9, "b": random.random((seeds, images)) < 0.7}
        return {
            "runs": [
                {
                    "system": name,
                    "seed": seed,
                    "right": {"fused": "".join("01"[int(cell)] for cell in row)},
                }
                for name, cells in rows.items()
                for seed, row in enumerate(cells)
            ]
        }

    many, few = file(3, 200), file(1, 40)
    alone = paired_bootstrap(glance.right(many, "a"), glance.right(many, "b"))
    assert glance.pooled([many], "a", "b") == pytest.approx((100 * alone.mean, 100 * alone.low, 100 * alone.high))
    mean, low, high = glance.pooled([many, few], "a", "b")
    differences = [100 * (glance.right(f, "a").mean() - glance.right(f, "b").mean()) for f in (many, few)]
    assert mean == pytest.approx((200 * differences[0] + 40 * differences[1]) / 240)
    assert low < mean < high and high - low < 100 * (alone.high - alone.low)


def test_the_page_of_results_shows_what_was_fine_tuned_from_probes(glance: ModuleType) -> None:
    names = ("cub10-finetuned-folds-224.json", "cub10-finetuned-224.json")
    folds, test = (json.loads((RESULTS.parent / name).read_text()) for name in names)
    page = PAGE.read_text()
    cars = json.loads((RESULTS.parent / "cars98-finetuned-224.json").read_text())
    assert glance.worth({"ten birds": test, "98 cars": cars}) in page
    for results in (folds, test, cars):
        assert glance.table(results) in page
        assert glance.differences(results, "tlaam") in page
    assert glance.pooled_table([folds, test], "tlaam") in page
    said = " ".join(page.split())
    others = cars["on other classes"]
    assert (
        "On the {} images of the other 68, TL-AAM has {:.1f} % and is {:.1f} points above the plain backbone ({:.1f} "
        "to {:.1f}) and {:.1f} above the larger input ({:.1f} to {:.1f})".format(
            others["images"], others["tlaam.top1"], *others["tlaam minus"]["plain"],
            *others["tlaam minus"]["plain-larger"],
        )
    ) in said  # fmt: skip
    top1 = {name: 100 * measures["fused.top1"]["mean"] for name, measures in test["summary"].items()}
    gains = (top1["plain-larger"] - top1["probe-larger"], top1["tlaam"] - top1["tlaam-probe"])
    assert "to the whole image at 448 pixels ({:.1f} points) and little to the default ({:.1f})".format(*gains) in said
    objects = (top1["probe-object"] - top1["probe"], top1["no-parts"] - top1["plain"])
    assert "worth {:.1f} points to the probe".format(*objects) in said and f"and {objects[1]:.1f} to the fine" in said
    (parts,) = (row for row in test["differences"] if (row["first"], row["second"]) == ("tlaam", "no-parts"))
    points = (100 * parts[name] for name in ("mean", "low", "high"))
    assert "worth {:.1f} points after fine-tuning (95 % interval {:.1f} to {:.1f})".format(*points) in said


def test_the_readme_shows_what_the_levels_and_fine_tuning_are_worth(glance: ModuleType) -> None:
    names = ("cub10-finetuned-folds-224.json", "cub10-finetuned-224.json")
    folds, birds = (json.loads((RESULTS.parent / name).read_text()) for name in names)
    cars = json.loads((RESULTS.parent / "cars98-finetuned-224.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert glance.worth({"ten birds": birds, "98 cars": cars}) in readme
    said = " ".join(readme.split())
    less = {name: glance.pooled([folds, birds], name, "tlaam") for name in ("plain", "mmal", "plain-larger")}
    points = {name: (-mean, -high, -low) for name, (mean, low, high) in less.items()}
    assert "{:.1f} points above the plain backbone (95 % interval {:.1f} to {:.1f})".format(*points["plain"]) in said
    assert "{:.1f} above MMAL-Net's modules ({:.1f} to {:.1f})".format(*points["mmal"]) in said
    assert "draws no box (+{:.1f}, {:.1f} to {:.1f})".format(*points["plain-larger"]) in said
    (beside,) = (row for row in cars["differences"] if (row["first"], row["second"]) == ("tlaam", "plain-larger"))
    cells = (100 * beside[name] for name in ("mean", "low", "high"))
    assert "On the cars it is {:.1f} points above that one ({:.1f} to {:.1f})".format(*cells) in said
    boxes = 100 * birds["summary"]["tlaam"]["box.gt_known_0.5"]["mean"]
    assert f"finds {boxes:.1f} % of the birds" in said


def test_the_page_on_strangers_shows_what_the_models_own_estimate_is_worth() -> None:
    results = json.loads((RESULTS.parent / "sure-threshold.json").read_text())
    table = benchmark("sure_threshold").table
    assert table(results["held_out"]["30"]) in (ROOT / "docs" / "strangers.md").read_text()
    for row in results["held_out"]["300"].values():  # "hardly a difference"
        assert abs(row["20 more"]["mean"] - row["held-out images alone"]["mean"]) < 0.005


def test_the_page_of_fine_tuning_says_what_pasting_does_to_drawn_creatures() -> None:
    results = json.loads((RESULTS.parent / "pasting-quickstart.json").read_text())
    page = " ".join((ROOT / "docs" / "fine-tuning.md").read_text().split())

    def shown(paste: float, branch: str) -> str:
        runs = [run for run in results["runs"].values() if run["paste"] == paste]
        first, second, third = (f"{100 * run['top1'][branch]:.1f}" for run in sorted(runs, key=lambda run: run["seed"]))
        return f"{first}, {second} and {third} %"

    assert f"It has {shown(0.5, 'fused')}; without pasting {shown(0.0, 'fused')}" in page
    assert f"{shown(0.5, 'raw')}, without pasting {shown(0.0, 'raw')}" in page


def test_the_page_of_fine_tuning_shows_the_divisions_of_the_pixels() -> None:
    results = json.loads((RESULTS.parent / "finetuning-divisions.json").read_text())
    finetuning, page = benchmark("finetuning"), (ROOT / "docs" / "fine-tuning.md").read_text()
    again = finetuning.summary(results["runs"], [name for name in finetuning.CANDIDATES if name != "probe"], [0])
    assert again == results["gains"] and finetuning.table(results) in page
    probes = {name.partition(",")[0].removeprefix("probe-"): row for name, row in again.items() if "probe-" in name}
    best = max(probes, key=lambda name: probes[name]["mean"][0])
    (beside,) = (
        row
        for name, row in finetuning.summary(results["runs"], [f"pasted-{best}"], [0], ("pasted", "0.25")).items()
        if "25%" in name
    )
    birds, flowers, cars = ("{:.1f} {:.1f} {:.1f}".format(*beside[name]) for name in ("cub10", "flowers170", "cars30"))
    said = re.search(
        r"\((\S+)\) was fine-tuned.* (\S+) points better on the birds \(90 % interval (\S+) to (\S+)\) and (\S+) on "
        r"the flowers \((\S+) to (\S+)\), but (\S+) points worse on the cars \((\S+) to (\S+)\)",
        " ".join(page.split()),
    )
    assert said is not None
    assert " ".join(said.groups()) == f"{best} {birds} {flowers} {cars.removeprefix('-')}"
