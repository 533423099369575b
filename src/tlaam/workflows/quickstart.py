"""The quick start: train on the built-in data set, compare with the plain backbone, and show pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tlaam.config.presets import preset
from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import RunError
from tlaam.evaluation.evaluate import evaluate
from tlaam.evaluation.report import EvaluationReport
from tlaam.inference.engine import load_engine
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.reports.evaluation_report import (
    VIEWS,
    figures_of,
    gain_of,
    in_turns,
    measured_in,
    picture_beside_truth,
    right_of,
    tables_of,
)
from tlaam.reports.page import Gallery, write_page
from tlaam.runs.environment import environment
from tlaam.training.run import resume, train
from tlaam.utils.atomic import write_json, write_text

SETTINGS: dict[str, object] = {
    "backbone": "tf_efficientnet_lite0",
    "image_size": 128,
    "source_size": 384,
    "epochs": 10,
}
"""Settings of both models, small enough for two CPU cores and a few minutes."""

OWN: dict[str, dict[str, object]] = {
    "plain": {
        "optimizer": "sgd", "lr": 0.02, "weight_decay": 1e-4, "layer_decay": 1.0, "gradient_clip": 0.0,
        "norm_statistics": "own", "label_smoothing": 0.0, "start_share": 0.0, "patience": 0,
    },
    "tlaam": {},
}  # fmt: skip
"""Settings that suit each model: the defaults for TL-AAM, larger steps for the plain backbone (docs/decisions.md)."""

_PICTURES, _LEAD = 12, 3


def quickstart(out: Path | str = Path("runs/quickstart"), *, seed: int = 0, say: Callable[[str], None] = print) -> Path:
    """Train TL-AAM and the plain backbone on the same synthetic creatures, evaluate both, and draw pictures.

    Args:
        out: folder for the runs ``tlaam/`` and ``plain/``, ``results.json``, ``predictions.jsonl`` and the page
            ``index.html``. An interrupted quick start is resumed; a finished one is shown again.
        seed: seed of data and training.
        say: called with one line per stage.

    Returns:
        The path of the page.

    Raises:
        RunError: the folder holds something else, or a quick start with another seed.
    """
    folder = Path(out)
    _claim(folder, {"seed": seed, **SETTINGS, "own": OWN})
    options = SyntheticOptions(classes=6, images_per_class=36, val_per_class=8, test_per_class=20, seed=seed)
    say(f"Drawing {options.classes} kinds of creatures that differ only in bill, crest, wing bars and tail ...")
    images = synthetic_images(options)

    reports: dict[str, EvaluationReport] = {}
    answers: dict[str, PredictionCache] = {}
    for name, start in (("plain", "plain"), ("tlaam", "default")):
        say(f"Training {_TITLES[name]} on {len(images.split('train'))} images ...")
        run = folder / name
        if (run / "config.yaml").exists():
            resume(run)
        else:
            train(images, run, Config.from_flat({**preset(start), **SETTINGS, **OWN[name], "seed": seed}))
        engine = load_engine(run)
        answers[name] = PredictionCache(engine)
        reports[name] = evaluate(engine, images, split="test", answers=answers[name])
        say(f"{_TITLES[name]}: {reports[name].classification['fused'].top1:.1%} of the test images right")
    say(reports["tlaam"].table())

    results = {name: report.to_dict() for name, report in reports.items()}
    command = f"tlaam quickstart --seed {seed}"
    record = {
        "command": command,
        "seed": seed,
        "settings": SETTINGS,
        "machine": environment(),
        **results,
    }
    write_json(folder / "results.json", record)
    return _page(folder, images, reports, answers["tlaam"])


def _claim(folder: Path, settings: dict[str, object]) -> None:
    """Claim the folder for this quick start, or check that it holds the same one."""
    mark = folder / "quickstart.json"
    if mark.exists():
        if json.loads(mark.read_text(encoding="utf-8")) != settings:
            raise RunError(f"{folder} holds a quick start with other settings; give another folder (--out).")
        return
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; give another folder (--out).")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, settings)


_TITLES = {"plain": "the plain backbone", "tlaam": "TL-AAM"}


def _page(folder: Path, images: LabelledImages, reports: dict[str, EvaluationReport], answers: PredictionCache) -> Path:
    samples = in_turns(images.split("test"), _PICTURES)
    predictions = answers.of(samples)
    lines = [json.dumps(prediction.to_dict(), ensure_ascii=True) + "\n" for prediction in predictions]
    write_text(folder / "predictions.jsonl", "".join(lines))
    pictures = [picture_beside_truth(*pair, images.classes) for pair in zip(samples, predictions, strict=True)]
    return write_page(
        folder / "index.html",
        title="tlaam: what it saw",
        intro=(
            f"Two models were trained on {len(images.split('train'))} drawn creatures of {len(images.classes)} kinds "
            f"that differ only in small parts, and measured on {len(images.split('test'))} others; "
            f"{len(images.split('val'))} more decided which epoch is kept. Both have the same "
            "backbone and begin with a probe; each then learns in the way that serves it better. TL-AAM also looks at "
            "the object it finds, and at parts of it.\n\n"
            f"{measured_in(reports['tlaam'])}."
        ),
        figures=[
            *(right_of(reports[name], f"right: {_TITLES[name]}") for name in ("tlaam", "plain")),
            gain_of(reports["tlaam"], reports["plain"], "points over the plain backbone"),
            *figures_of(reports["tlaam"])[2:],
        ],
        lead=Gallery("", pictures[:_LEAD], f"What TL-AAM saw. {VIEWS}"),
        sections=[
            *tables_of(reports, _TITLES),
            Gallery("More pictures", pictures[_LEAD:], "The first test images, right or wrong."),
        ],
    )
