"""Figures of several objects in the docs are those of the results file."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_shows_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "objects-cub10.json").read_text())
    page = " ".join((ROOT / "docs" / "field.md").read_text().split())
    several = [results[f"composites_{ground}"] for ground in ("photograph", "drawn")]
    for ground, found in zip(("photograph", "drawn"), several, strict=True):
        assert (
            f"| {ground} | {found['pictures']} | {found['birds']} | {found['recall_0.5']:.1%} |"
            f" {found['false_a_picture_0.5']:.2f} | {found['top1_of_found']:.1%} | {found['top1_given_boxes']:.1%} |"
        ).replace("%", " %") in page
    birds, pictures = (sum(found[name] for found in several) for name in ("birds", "pictures"))
    recall = sum(found["recall_0.5"] * found["birds"] for found in several) / birds
    false = sum(found["false_a_picture_0.5"] * found["pictures"] for found in several) / pictures
    both = f"{recall:.0%} of the birds are found at {false:.2f} false detections per composite"
    assert both.replace("%", " %") in page
    for ground in ("photograph", "drawn"):
        assert f"{results[f'nothing_{ground}']['nothing_found']:.1%}".replace("%", " %") in page
    if "single" in results:
        assert results["single"]["same_answer_of_one"] == 1
        assert f"{results['single']['lost']:.1%} of {results['single']['images']}".replace("%", " %") in page
    if "true_boxes" in results:
        boxes = results["true_boxes"]
        shares = f"{boxes['top1_true_boxes']:.1%} in true boxes, {boxes['top1_found_boxes']:.1%} in those found"
        assert shares.replace("%", " %") in page


def test_the_page_shows_what_a_webcam_gave() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "objects-feeder5.json").read_text())
    page = " ".join((ROOT / "docs" / "field.md").read_text().split())
    named, found, first = (results[name] for name in ("names_to_fold_1", "found_to_fold_1", "found_to_fold_0"))
    assert f"{found['birds']} birds in {found['frames']} frames" in page
    seen = {name: part["recall_0.3"] * part["birds"] for name, part in (("all", found), ("first", first))}
    shares = (
        named["top1_given_boxes"], named["top1_whole_frame_of_each_bird"],
        named["top1_whole_frame_of_the_largest_bird"], found["recall_0.3"], first["recall_0.3"],
        (seen["all"] - seen["first"]) / (found["birds"] - first["birds"]),
    )  # fmt: skip
    for share in shares:
        assert f"{share:.1%}".replace("%", " %") in page
    assert f"at {found['false_a_frame_0.3']:.2f} false detections per frame" in page
