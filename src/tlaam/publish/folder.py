"""A run as a folder for the Hugging Face hub: weights, description, model card and a few example pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from tlaam.config.schema import Config
from tlaam.config.sections import MACHINE_OPTIONS
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.errors import DataError, ModelError, RunError
from tlaam.evaluation.evaluate import evaluate, trained_on
from tlaam.evaluation.report import EvaluationReport
from tlaam.hub.names import hub_name
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.inference.store import DESCRIPTION, WEIGHTS
from tlaam.publish.card import Facts, card
from tlaam.reference.file import FILE, write_index
from tlaam.reports.evaluation_report import in_turns, measured_in
from tlaam.reports.run_report import measured_on
from tlaam.runs.folder import RunFolder
from tlaam.runs.splits import held_out_split, with_the_runs_splits
from tlaam.utils.atomic import full_disk_named, write_atomically, write_json, write_text
from tlaam.utils.checksums import with_checksum
from tlaam.utils.text import per_cent

CARD, PICTURES = "README.md", "pictures"
SHOWN = 4
"""Default number of example pictures on a card."""

_NAMED_WEIGHTS = ("auto", "none", "hub", "package")


def save_pretrained(
    model: Engine | str | Path,
    folder: str | Path,
    data: LabelledImages | str | Path | None = None,
    *,
    split: Split | None = None,
    pictures: int = SHOWN,
    repo_id: str | None = None,
    license: str | None = None,
    look_alikes: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Write a run's model for the Hugging Face hub, and return the folder.

    The folder holds ``model.safetensors``, ``config.json``, the model card ``README.md`` with a new evaluation, and a
    few pictures. They contain no path or name of this machine, but do contain the names of the data set and its
    classes.

    Args:
        model: the run folder, or any folder with a model, or its engine.
        folder: a new or empty folder.
        data: the data to evaluate on; by default the data that the run was trained on, at its original location. If
            that is unavailable or has no images to evaluate on, the card says that nothing was measured.
        split: the images to use; by default those that the run held out for validation, else a test split.
        pictures: number of evaluated images to show on the card. They are published with it; 0 shows none.
        repo_id: ``owner/name``, used in the card's instructions.
        license: the hub's identifier of the model's licence, such as ``apache-2.0``; by default the card states none.
        look_alikes: publish the complete reference index, with thumbnails, file names and embeddings of training
            images. By default only the part that recognises out-of-distribution images is published, which holds
            nothing of a single image.
        progress: called with (images done, images in all) while evaluating.
        **options: see `tlaam.inference.engine.load_engine`.

    Raises:
        RunError: the folder is not empty, or the disk is full.
        ModelError: the run holds no usable model, `repo_id` is not a valid name, or `look_alikes` is set without a
            reference index.
        DataError: the given data cannot be read, does not fit the model or has no such split.
    """
    target, source = Path(folder), _folder_of(model)
    repository = hub_name(repo_id).repository if repo_id is not None else None
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} is not empty; choose a new or empty folder.")
    # Find a damaged model before evaluating anything.
    engine = model if isinstance(model, Engine) else load_engine(source, **options)
    if look_alikes and engine.index is None:
        raise ModelError(f"{source} holds no reference index to publish; write it with tlaam index.")
    description = json.loads((source / DESCRIPTION).read_text(encoding="utf-8"))
    description["model"] = _without_paths(description["model"])
    images, chosen, missing = _to_measure(engine, source, data, split)
    answers = PredictionCache(engine)
    report: EvaluationReport | None = None
    if images is not None and chosen is not None:
        report = evaluate(engine, images, split=chosen, skip_unreadable=True, progress=progress, answers=answers)
    with full_disk_named(target, "try again."):
        target.mkdir(parents=True, exist_ok=True)
        shown = []
        if images is not None and report is not None:
            shown = _write_pictures(target, answers, images, report, pictures)
        facts = Facts(
            description=description,
            training=_training(source, description),
            data=_recorded(source).get("name"),
            report=report,
            measured=missing if report is None else _measured_on(source, report),
            pictures=shown,
            tells_strangers=engine.index is not None and engine.tells_strangers,
            repository=repository,
            license=license,
        )
        write_text(target / CARD, card(facts))
        write_atomically(target / WEIGHTS, (source / WEIGHTS).read_bytes())
        if engine.index is not None:
            write_index(engine.index if look_alikes else engine.index.without_images(), target / FILE)
        write_json(
            target / DESCRIPTION, with_checksum(description)
        )  # written last, so that its presence means a complete model
    return target


def _folder_of(model: Engine | str | Path) -> Path:
    if not isinstance(model, Engine):
        return Path(model)
    if model.origin is None or not model.origin.is_dir():
        raise ModelError("what is sent to the hub is a folder with weights; this model was not loaded from one.")
    return model.origin


def _to_measure(
    engine: Engine, run: Path, data: LabelledImages | str | Path | None, split: Split | None
) -> tuple[LabelledImages | None, Split | None, str]:
    """Return the images and the split to evaluate on, or why there are none."""
    nothing = "there were no validation or test images."
    if data is not None:
        images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
        images = with_the_runs_splits(images, trained_on(engine), run)
        return images, split or held_out_split(images), nothing
    recorded = _recorded(run)
    if "source" not in recorded:
        return None, None, "what it was trained on is not recorded with it."
    try:
        images = with_the_runs_splits(open_dataset(recorded["source"], strict=False), trained_on(engine), run)
        return images, split or held_out_split(images), nothing
    except DataError:  # its message names folders of this machine, which are private
        return None, None, "the images of its training were not at hand, or had changed, when this was written."


def _write_pictures(
    target: Path, answers: PredictionCache, images: LabelledImages, report: EvaluationReport, count: int
) -> list[tuple[str, str]]:
    """Write the example pictures and return their paths within the folder, with captions."""
    measured = {image.name for image in report.per_image}
    samples = in_turns([sample for sample in images.samples if sample.name in measured], count)
    shown = []
    for number, (sample, answer) in enumerate(zip(samples, answers.of(samples), strict=True), start=1):
        if answer.error is not None:  # the file was still there when it was evaluated
            continue
        label, (found, probability) = images.classes[sample.label], answer.top(1)[0]
        name = f"{PICTURES}/example-{number:02d}.jpg"
        buffer = BytesIO()  # drawn anew, so that none of the file's metadata (camera, place) is in it
        true_box = sample.box_in_picture(answer.size[1])
        answer.plot(label=label, true_box=true_box, height=240).save(buffer, "JPEG", quality=85)
        (target / PICTURES).mkdir(exist_ok=True)
        write_atomically(target / name, buffer.getbuffer())
        verdict = "right" if found == label else f"wrong, it is {label}"
        shown.append((name, f"{found} {per_cent(probability, 0)}: {verdict}"))
    return shown


def _measured_on(run: Path, report: EvaluationReport) -> str:
    config = RunFolder(run).config
    if config.is_file():
        return measured_on(report, Config.from_yaml(config))
    return f"{measured_in(report)}. Whether they were seen in training is not recorded."


def _recorded(run: Path) -> dict[str, Any]:
    """Return the record of a run's data; empty if the folder has none."""
    folder = RunFolder(run)
    return folder.read_json(folder.data) if folder.data.is_file() else {}


def _training(run: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings and versions by name, without those that reveal something about the machine."""
    folder = RunFolder(run)
    versions = description.get("versions", {})
    if folder.status.is_file():
        versions = folder.read_json(folder.status).get("versions", versions)
    settings = description["model"]
    if folder.config.is_file():
        sections: Sequence[Mapping[str, Any]] = tuple(Config.from_yaml(folder.config).to_nested().values())
        settings = {name: value for section in sections for name, value in section.items()}
    kept = {name: value for name, value in _without_paths(settings).items() if name not in MACHINE_OPTIONS}
    if isinstance(before := description.get("started_from"), Mapping):
        kept["started_from"] = str(before.get("name"))
    return {**kept, **{f"version of {name}": value for name, value in versions.items()}}


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which a weights file is named without its folder."""
    pretrained = settings.get("pretrained")
    if not isinstance(pretrained, str) or pretrained in _NAMED_WEIGHTS:
        return dict(settings)
    return {**settings, "pretrained": re.split(r"[\\/]", pretrained)[-1]}
