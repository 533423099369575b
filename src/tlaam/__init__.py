"""tlaam tells apart things that look alike, from labelled photographs alone.

It implements TL-AAM, the two-level attention activation model. Five verbs cover most uses:

    classifier = tlaam.fit("photos", epochs=20)     # train
    classifier = tlaam.load("runs/photos")          # or "model.onnx", or "hf://owner/name"
    classifier.predict("a.jpg").plot()              # the class, and what the model looked at
    classifier.evaluate("photos").table()           # measure
    classifier.export("model.onnx")                 # one file, for machines without PyTorch

The public names below are imported on first use. Importing the package, or predicting with an exported file, therefore
does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tlaam._version import __version__ as __version__

if TYPE_CHECKING:
    from tlaam.api.classifier import Classifier, fit, load
    from tlaam.cleaning.clean import clean
    from tlaam.config.registry import (
        register_architecture,
        register_attention,
        register_localizer,
        register_parts,
    )
    from tlaam.config.schema import Config
    from tlaam.config.sections import ModelConfig, TrainingConfig
    from tlaam.data.check import check
    from tlaam.data.open import open_dataset
    from tlaam.errors import TlaamError
    from tlaam.inference.prediction import Prediction, Predictions
    from tlaam.models.build import build_model
    from tlaam.models.network import TLAAM
    from tlaam.models.output import TLAAMOutput
    from tlaam.training.run import resume
    from tlaam.workflows.quickstart import quickstart

_HOMES = {
    "Classifier": "tlaam.api.classifier",
    "Config": "tlaam.config.schema",
    "ModelConfig": "tlaam.config.sections",
    "Prediction": "tlaam.inference.prediction",
    "Predictions": "tlaam.inference.prediction",
    "TLAAM": "tlaam.models.network",
    "TLAAMOutput": "tlaam.models.output",
    "TlaamError": "tlaam.errors",
    "TrainingConfig": "tlaam.config.sections",
    "build_model": "tlaam.models.build",
    "check": "tlaam.data.check",
    "clean": "tlaam.cleaning.clean",
    "fit": "tlaam.api.classifier",
    "load": "tlaam.api.classifier",
    "open_dataset": "tlaam.data.open",
    "quickstart": "tlaam.workflows.quickstart",
    "register_architecture": "tlaam.config.registry",
    "register_attention": "tlaam.config.registry",
    "register_localizer": "tlaam.config.registry",
    "register_parts": "tlaam.config.registry",
    "resume": "tlaam.training.run",
}
_FORMER = (
    "Predictor",
    "evaluate",
    "from_pretrained",
    "load_model",
    "open_images",
    "predict",
    "push_to_hub",
    "save_pretrained",
    "train",
)
"""Names from version 0.1.0, see `tlaam.api.deprecated`."""
_OF_TRAINING = ("clean", "fit", *(name for name in _FORMER if name not in ("Predictor", "open_images", "predict")))
"""Names whose modules can be imported without PyTorch but that need PyTorch when they are used."""

__all__ = [
    "TLAAM",
    "Classifier",
    "Config",
    "ModelConfig",
    "Prediction",
    "Predictions",
    "TLAAMOutput",
    "TlaamError",
    "TrainingConfig",
    "build_model",
    "check",
    "clean",
    "fit",
    "load",
    "open_dataset",
    "quickstart",
    "register_architecture",
    "register_attention",
    "register_localizer",
    "register_parts",
    "resume",
]


def __getattr__(name: str) -> Any:
    home = "tlaam.api.deprecated" if name in _FORMER else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tlaam' has no attribute '{name}'")
    from tlaam.errors import MissingAttributeError, MissingPackageError
    from tlaam.utils.extras import require_extra

    try:
        if name in _OF_TRAINING:
            require_extra(f"tlaam.{name}")
        try:
            return getattr(import_module(home), name)
        except ModuleNotFoundError:
            require_extra(f"tlaam.{name}")
            raise
    except MissingPackageError as missing:
        raise MissingAttributeError(str(missing)) from missing  # makes `hasattr` return False


def __dir__() -> list[str]:
    return __all__
