"""The tables of the README and of the docs' pages, row by row, are those of the results files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def record(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def rows(page: str, head: str) -> list[list[str]]:
    """Return the cells of the only table of a page that begins so, without bold type."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(head))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in body]


def table(page: str, head: str) -> dict[str, list[str]]:
    """Return the same by each row's first cell."""
    found = rows(page, head)
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row[1:] for row in found}


def spread(summary: dict[str, Any], measure: str) -> str:
    """Return "mean ± standard deviation", in percent; a dash where it was not measured."""
    if measure not in summary:
        return "–"
    return f"{100 * summary[measure]['mean']:.1f} ± {100 * summary[measure]['std']:.1f} %"


STRANGERS = {
    "default-12-epochs": "default, 12 epochs",
    "default-12-epochs-again": "the same, trained again",
    "validated-6-epochs-seed0": "6 epochs, seed 0",
    "validated-6-epochs-seed1": "6 epochs, seed 1",
}


def test_the_page_on_strangers_shows_what_was_measured() -> None:
    shown = table("docs/strangers.md", "| run | thresholds from |")
    runs = record("strangers-cub10")["runs"]
    assert list(shown) == [STRANGERS[name] for name in runs]
    for name, run in runs.items():
        flowers, cars, test = run["strangers"]["flowers17"], run["strangers"]["cars196"], run["test"]
        shares = [flowers["stranger"], cars["stranger"], test["stranger"], test["unsure"]]
        areas = [f"{of['auroc_familiarity']:.3f} ({of['auroc_probability']:.3f})" for of in (flowers, cars)]
        chosen_on = run["judge"]["chosen_on"].partition(",")[0]
        cells = [*(f"{100 * share:.1f} %" for share in shares), *areas, f"{100 * test['look_alike_recall_at_1']:.1f} %"]
        assert shown[STRANGERS[name]] == [chosen_on, *cells]


BRANCHES = ("raw", "object", "parts", "fused")
OLDER = {  # rows whose figures are of an earlier measurement: file and system
    "TL-AAM, boxes by OAAM, six smaller parts, shared statistics": ("cub10-cpu-224", "tlaam"),
    "TL-AAM, boxes by the foreground head (threshold 0.35)": ("cub10-foreground-224", "tlaam12"),
}
NOW = {
    "plain backbone": "plain",
    "plain backbone, pretrained statistics, gentler rate": "plain-gentle",
    "plain backbone at 320 pixels, 20 epochs: about TL-AAM's compute": "plain-320",
    "MMAL-Net's modules": "mmal",
    "TL-AAM, boxes by the foreground head (default)": "tlaam",
}


def test_the_page_of_results_shows_what_was_right() -> None:
    shown, now = table("docs/results.md", "| top-1 on the test split |"), record("cub10-default-224")
    assert shown.keys() == OLDER.keys() | NOW.keys()
    for label, cells in shown.items():
        file, system = OLDER.get(label, ("cub10-default-224", NOW.get(label, "")))
        summary = record(file)["summary"][system]
        branches = BRANCHES if "object.top1" in summary else ("raw",)
        assert cells == [spread(summary, f"{branch}.top1") if branch in branches else "–" for branch in BRANCHES], label
    text = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    over = {one["second"]: one for one in now["differences"] if one["first"] == "tlaam"}
    plain, gentle, large = (over[name] for name in ("plain", "plain-gentle", "plain-320"))
    assert (
        f"{100 * plain['mean']:.1f} points above the plain backbone (95 % interval {100 * plain['low']:.1f} to "
        f"{100 * plain['high']:.1f}), {100 * gentle['mean']:.1f} above its gentler recipe ({100 * gentle['low']:.1f} "
        f"to {100 * gentle['high']:.1f}), {100 * large['mean']:.1f} above the one with about the same compute "
        f"({100 * large['low']:.1f} to {100 * large['high']:.1f}) and {-100 * over['mmal']['mean']:.1f} below"
    ) in text


FINE_TUNED = {
    "ten birds": ("cub10-1", "cub10-2", "cub10-3"),
    "thirty car models": ("cars30",),
    "seventeen flowers": ("flowers170",),
}


def test_the_page_of_fine_tuning_shows_what_the_levels_are_worth() -> None:
    runs, shown = record("finetuning")["runs"], table("docs/fine-tuning.md", "| training images |")
    assert len(shown) == len(FINE_TUNED)
    for (data, tasks), (label, cells) in zip(FINE_TUNED.items(), shown.items(), strict=True):
        (images,) = {runs[f"{task}-0-probe"]["images"] for task in tasks}
        assert label == f"{data}, {images}"
        for cell, candidate, share, branch in (
            (cells[0], "probe", "0.0", "raw"),
            (cells[1], "probe", "0.0", "joint"),
            (cells[2], "pasted", "0.25", "raw"),
            (cells[3], "pasted", "0.25", "joint"),
        ):
            right = "".join(runs[f"{task}-0-{candidate}"]["measured"][share][branch]["right"] for task in tasks)
            assert cell == f"{100 * right.count('1') / len(right):.1f}", (label, candidate)


IOUS = ("box.mean_iou", "box.gt_known_0.3", "box.gt_known_0.5", "box.gt_known_0.7")


def unrounded(file: str, system: str) -> dict[str, dict[str, float]]:
    """Return means of runs whose summary was rounded to four digits, and the standard deviations as they are."""
    of = record(file)
    runs = [run["localization"] for run in of["runs"] if run["system"] == system and run.get("localization")]
    if not runs:  # these were not rounded
        return {}
    return {
        f"box.{name}": {"mean": sum(run[name] for run in runs) / len(runs), "std": value["std"]}
        for key, value in of["summary"][system].items()
        if key.startswith("box.") and (name := key.removeprefix("box.")) in runs[0]
    }


@pytest.mark.parametrize(("page", "head", "now", "earlier", "by_gradient", "measures"), [
    ("docs/results.md", "| box, same images |", "foreground head (default)", "foreground head (threshold 0.35)", "OAAM",
     IOUS),
    ("docs/localization.md", "| box | mean IoU |", "foreground head, 0.25", "foreground head, 0.35",
     "OAAM as stated, on a 7×7 map", (*IOUS, "box.top1_loc_0.5")),
])  # fmt: skip
def test_boxes_are_those_that_were_measured(
    page: str, head: str, now: str, earlier: str, by_gradient: str, measures: tuple[str, ...]
) -> None:
    shown = table(page, head)
    for label, file, system in (
        (now, "cub10-default-224", "tlaam"),
        (earlier, "cub10-foreground-224", "tlaam12"),
        (by_gradient, "cub10-cpu-224", "tlaam"),
    ):
        summary = record(file)["summary"][system] | unrounded(file, system)
        assert shown[label] == [spread(summary, measure) for measure in measures], label


def test_the_page_of_results_shows_the_quick_start_s_three_seeds() -> None:
    shown = table("docs/results.md", "| seed | plain |")
    assert list(shown) == ["31", "32", "33"]
    for seed, cells in shown.items():
        of = record(f"synthetic-quickstart-seed{seed}")
        top1 = [of[system]["classification"]["fused"]["top1"] for system in ("plain", "tlaam")]
        box = of["tlaam"]["localization"]
        boxes = [[one["mean_iou"], one["gt_known_0.5"]] for one in
                 (box, box["trivial"]["center_0.7"], box["trivial"]["full"])]  # fmt: skip
        assert cells == [
            *(f"{100 * share:.1f} %" for share in top1),
            *(", ".join(f"{100 * share:.1f} %" for share in both) for both in boxes),
        ]
    of_each = [record(f"synthetic-quickstart-seed{seed}")["tlaam"]["classification"] for seed in shown]
    mean = {name: sum(of[name]["top1"] for of in of_each) / len(of_each) for name in of_each[0]}
    assert (
        f"The mean of the fused answers is {100 * mean['fused']:.1f} %, of the whole image alone "
        f"{100 * mean['raw']:.1f}, of the object {100 * mean['object']:.1f}, of the parts {100 * mean['parts']:.1f}."
    ) in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_page_on_localization_shows_the_finders_sizes() -> None:
    measured = {(row["raw_size"], row["pseudo_mask_size"]): row for row in record("finder-cub_200_2011")["rows"]}
    shown = rows("docs/localization.md", "| raw image | pseudo masks made at |")
    assert len(shown) == 6
    for raw, made_at, *cells in shown:
        row = measured[int(raw.removesuffix(" px")), int(made_at.removesuffix(" px"))]
        assert cells == [f"{row[name]:.3f}" for name in ("mean_iou", "gt_known_0.5", "gt_known_0.7")]


def test_the_page_on_localization_shows_the_differences() -> None:
    of = record("cub10-default-224")
    over = {one["second"]: one for one in of["differences"] if one["first"] == "tlaam"}
    shown = rows("docs/localization.md", "| minus | top-1 |")
    for system, (_, *cells) in zip(("plain", "plain-gentle", "plain-320", "mmal"), shown, strict=True):
        one = over[system]
        assert cells == [
            spread(of["summary"][system], "fused.top1"),
            f"{100 * one['mean']:+.1f}", f"{100 * one['low']:.1f} to {100 * one['high']:.1f}",
        ]  # fmt: skip


def test_the_page_on_serving_shows_what_was_measured() -> None:
    of, shown = record("serving-cpu"), table("docs/serving.md", "| | median | 90 %")
    crowd = of["overloaded: 80 clients, 8 places"]
    expected = {f"ONNX Runtime alone, {name}": times for name, times in of["onnxruntime"].items()}
    for name, times in of["served"].items():
        expected["served, 1 client" if name == "1 clients" else f"served, {name}"] = times
    statuses = crowd["statuses"]
    expected[f"served, 80 clients for 8 places: {statuses['200']} answered, {statuses['503']} refused"] = crowd
    assert shown == {
        label: [*(f"{times[f'p{part}_ms']:.0f}" for part in (50, 90, 99)), f"{times['images_a_second']:.1f}"]
        for label, times in expected.items()
    }


def test_the_page_on_speed_shows_times_and_ratios() -> None:
    of = record("speed-cpu")

    def setting(row: dict[str, Any]) -> list[str]:
        return [row["backbone"], f"{row['side']} px, {row['batch']}", row["precision"], row["branches"]]

    def answered(row: dict[str, Any]) -> list[str]:
        model, parts = (
            row["model"],
            [row[name]["of ideal"] for name in ("normalising and cutting", "component and box")],
        )
        times = [f"{1000 * model['seconds'] / row['batch']:.0f}", f"{model['of ideal']:.2f}"]
        return [*setting(row), *times, *(f"{100 * part:.1f} %" for part in parts)]

    def learnt(row: dict[str, Any]) -> list[str]:
        model, kept = row["model"], row["kept activations, MiB"]
        times = [f"{1000 * model['seconds'] / row['batch']:.0f}", f"{model['of ideal']:.2f}"]
        return [*setting(row), *times, f"{kept['model']:.0f}", f"{kept['ideal']:.0f}"]

    page = "docs/speed.md"
    answering = rows(page, "| backbone | input, batch | arithmetic | branches | ms an image | of the ideal | normal")
    assert answering == [answered(row) for row in of["answering"]]
    training = rows(page, "| backbone | input, batch | arithmetic | branches | ms an image | of the ideal | kept")
    assert training == [learnt(row) for row in of["training"]]
    for head, kind in (
        ("| answering | ms an image |", "mmal answering"),
        ("| training | ms an image |", "mmal training"),
    ):
        public = of[kind]["public code, float32"]
        assert table(page, head) == {
            way: [f"{250 * times['seconds']:.0f}", f"{1 / times['of public code, float32']:.2f}"]  # of four images
            for way, times in of[kind].items()
        }
        assert public["of public code, float32"] == 1


def test_the_page_on_speed_shows_how_the_cost_grows() -> None:
    of = record("speed-cpu")
    shown = rows("docs/speed.md", "| | | ms an image | of the ideal |")
    axes = {"images a batch": "batch", "input, pixels": "image_size", "classes": "classes", "backbone": "backbone"}
    measured = {(row["axis"], str(row["value"])): row for row in of["scaling"]}
    assert len(shown) == len(measured)
    for axis, value, *cells in shown:
        row = measured[axes.get(axis, "part_channels"), value.replace(",", "")]
        images = int(value) if axis == "images a batch" else of["scaling base"]["batch"]
        assert cells == [f"{1000 * row['seconds'] / images:.1f}", f"{row['of ideal']:.2f}"], (axis, value)


def test_the_page_on_speed_shows_how_fast_images_load() -> None:
    of = record("loading-cpu")
    assert table("docs/speed.md", "| | images a second | times torchvision's |") == {
        way: [f"{rate:.0f}", f"{of['times as many as torchvision'][way]:.2f}"]
        for way, rate in of["images a second and core"].items()
    }
