"""What the ways of answering fast do to answers: those of each on a run's test images, beside the network as trained.

    python benchmarks/agreement.py RUN --out benchmarks/results/agreement-cub10.json [--way "32-true, compiled" ...]

The reference is the trained network itself in float32: nothing folded, fused or compiled. Every way is asked through
`TorchModel.answer`, as `tlaam predict` asks, in batches of its size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from tlaam.data.input_image import to_input
from tlaam.data.sample import Sample
from tlaam.evaluation.localization import box_iou
from tlaam.export.parity import images_to_compare, photograph
from tlaam.inference.backend import Answers, Precision
from tlaam.inference.pytorch import TorchModel
from tlaam.inference.store import load_model
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

WAYS = ("32-true", "bf16-mixed", "32-true, compiled", "bf16-mixed, compiled")
BATCH_SIZE = 16
"""As `tlaam predict` has it by itself."""
PIXEL = 1.0
"""Largest difference of two boxes' edges that counts as the same, in pixels of the input image."""


def main() -> None:
    """Measure and print; write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--way", action="append", choices=WAYS, help="all by default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    ways = tuple(given.way or WAYS)
    model = load_model(given.run)
    samples = [image for image in images_to_compare(given.run, [], 10**6, "test") if isinstance(image, Sample)]
    inputs = [to_input(photograph(sample, model.source_size), model.source_size) for sample in samples]
    labels = np.array([sample.label for sample in samples])
    reference = together(model.answer, inputs, "as trained")
    found: dict[str, Any] = {
        "command": " ".join(["python benchmarks/agreement.py RUN", *(f'--way "{way}"' for way in given.way or ())]),
        "model": model.config.model_dump(mode="json"),
        "images": len(samples),
        "top1": right(reference, labels),
        "ways": {},
        "machine": environment(),
    }
    for way in ways:
        answers = together(answering(model, way), inputs, way)
        found["ways"][way] = beside(reference, answers, labels)
        print(way, found["ways"][way], flush=True)
        if given.out is not None:
            write_json(given.out, found)


def answering(model: TorchModel, way: str) -> Callable[[NDArray[np.uint8]], Answers]:
    precision, _, compiled = way.partition(", ")
    ready = model.ready("cpu", cast(Precision, precision))
    return (ready.compiled(BATCH_SIZE) if compiled else ready).answer


def together(
    answer: Callable[[NDArray[np.uint8]], Answers], inputs: Sequence[NDArray[np.uint8]], title: str
) -> Answers:
    """Return the answers for all input images ``(3, P, P)``, as `tlaam predict` batches them."""
    batches = [np.stack(inputs[at : at + BATCH_SIZE]) for at in range(0, len(inputs), BATCH_SIZE)]
    parts = [answer(batch) for batch in tqdm(batches, desc=title)]
    return Answers(
        {name: np.concatenate([part.probabilities[name] for part in parts]) for name in parts[0].probabilities},
        *(
            None if getattr(parts[0], field) is None else np.concatenate([getattr(part, field) for part in parts])
            for field in ("heatmaps", "object_boxes", "part_boxes", "embeddings")
        ),
    )


def beside(reference: Answers, answers: Answers, labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return how far answers are from those of the reference."""
    expected, fused = reference.probabilities["fused"], answers.probabilities["fused"]
    best = expected.argmax(1)
    other = np.flatnonzero(fused.argmax(1) != best)
    leads = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2]
    figures: dict[str, Any] = {
        "same_top1": 1 - len(other) / len(best),
        "top1": right(answers, labels),
        "largest_change_of_a_probability": float(np.abs(fused - expected).max()),
        "mean_change_of_the_best_probability": float(np.abs(fused - expected)[np.arange(len(best)), best].mean()),
        "leads_where_top1_changed": [round(float(lead), 4) for lead in leads[other]],
    }
    if reference.object_boxes is not None and answers.object_boxes is not None:
        moved = np.abs(answers.object_boxes - reference.object_boxes).max(1)
        iou = box_iou(torch.from_numpy(answers.object_boxes), torch.from_numpy(reference.object_boxes))
        figures |= {"object_boxes_within_a_pixel": float((moved <= PIXEL).mean()), "object_iou": float(iou.mean())}
    return figures


def right(answers: Answers, labels: NDArray[np.int64]) -> float:
    return float((answers.probabilities["fused"].argmax(1) == labels).mean())


if __name__ == "__main__":
    main()
