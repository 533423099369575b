"""Deprecated names from version 0.1.0. They still work and warn with the name to use instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tlaam.data.sample import LabelledImages
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.inputs import find_images
from tlaam.inference.prediction import Prediction

if TYPE_CHECKING:
    import torch

    from tlaam.config.schema import Config
    from tlaam.data.sample import Split
    from tlaam.evaluation.report import EvaluationReport
    from tlaam.inference.pytorch import TorchModel


def _warn(old: str, new: str) -> None:
    warnings.warn(f"tlaam.{old} is now {new}", DeprecationWarning, stacklevel=3)


class Predictor(Engine):
    """Former name of what `tlaam.load` returns; for the arguments see `tlaam.inference.engine.load_engine`."""

    def __init__(self, model: Any, *, gallery: Any = None, **options: Any) -> None:
        _warn("Predictor", "tlaam.load(model), whose predict takes paths, images and lists")
        vars(self).update(vars(load_engine(model, index=gallery, **options)))

    @property
    def gallery(self) -> Any:
        """Former name of `index`."""
        return self.index

    @property
    def judge(self) -> Any:
        """Former name of `detector`."""
        return self.detector

    def predict(self, images: Any) -> Iterator[Prediction]:
        """Yield one prediction per image; a single path is one image."""
        return super().predict([images] if isinstance(images, (str, Path)) else images)

    def predict_images(self, images: Sequence[Image.Image], names: Sequence[str] | None = None) -> list[Prediction]:
        """Predict images in memory; `names` become the paths of the predictions."""
        found = list(super().predict(images))
        return [replace(p, path=name) for p, name in zip(found, names, strict=True)] if names else found


def predict(model: Path | str, images: str | Path | Iterable[str | Path], **options: Any) -> list[Prediction]:
    """Former way to predict files, folders and patterns."""
    _warn("predict", "tlaam.load(model).predict(images)")
    return list(load_engine(model, **options).predict(find_images(images)))


def train(
    source: str | Path | LabelledImages,
    out: str | Path | None = None,
    config: Config | Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Former way to train, without reference index and report; for the arguments see `tlaam.training.run.train`."""
    _warn("train", "tlaam.fit(data), which also writes the reference index and the report")
    from tlaam.training.run import train

    return train(source, out, config, **options)


def evaluate(
    run: Any,
    data: LabelledImages | Path | str,
    *,
    split: Split | None = None,
    skip_unreadable: bool = False,
    progress: Any = None,
    **options: Any,
) -> EvaluationReport:
    """Former way to measure a run."""
    _warn("evaluate", "tlaam.load(run).evaluate(data)")
    from tlaam.evaluation.evaluate import evaluate

    engine = load_engine(run, **options)
    return evaluate(engine, data, split=split, skip_unreadable=skip_unreadable, progress=progress)


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> TorchModel:
    """Former way to load a run's network."""
    _warn("load_model", "tlaam.load(folder); the network alone is tlaam.inference.store.load_model(folder).network")
    from tlaam.inference.store import load_model

    return load_model(folder, device)


def open_images(source: str | Path, *, strict: bool = True) -> LabelledImages:
    """Former name of `open_dataset`."""
    _warn("open_images", "tlaam.open_dataset")
    from tlaam.data.open import open_dataset

    return open_dataset(source, strict=strict)


def from_pretrained(
    name_or_folder: str | Path, revision: str | None = None, *, device: torch.device | str = "cpu"
) -> TorchModel:
    """Former way to load a model from the hub; for the arguments see `tlaam.hub.download.model_folder`."""
    _warn("from_pretrained", "tlaam.load('hf://owner/name')")
    from tlaam.hub.download import model_folder
    from tlaam.inference.store import load_model
    from tlaam.reference.file import FILE, read_index

    folder = model_folder(name_or_folder, revision)
    kept = folder / FILE
    return replace(load_model(folder, device), index=read_index(kept) if kept.exists() else None)


def save_pretrained(run: str | Path, folder: str | Path, data: Any = None, **options: Any) -> Path:
    """Former place of `tlaam.publish.folder.save_pretrained`."""
    _warn("save_pretrained", "tlaam.publish.folder.save_pretrained")
    from tlaam.publish.folder import save_pretrained

    return save_pretrained(run, folder, data, **options)


def push_to_hub(run: str | Path, repo_id: str, data: Any = None, **options: Any) -> str:
    """Former way to upload a run to the Hugging Face hub."""
    _warn("push_to_hub", "tlaam.load(run).push_to_hub('owner/name')")
    from tlaam.publish.upload import push_to_hub

    return push_to_hub(run, repo_id, data, **options)
