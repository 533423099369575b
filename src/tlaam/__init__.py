"""tlaam tells apart things that look alike, from labelled photographs alone.

It implements TL-AAM, the two-level attention activation model. The public names below are loaded on first use, so
that importing the package, or predicting with an exported file, does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from tlaam.extras import require_extra

if TYPE_CHECKING:
    from tlaam.config import Config, ModelConfig, TrainingConfig
    from tlaam.data.check import check
    from tlaam.data.open import open_images
    from tlaam.errors import TlaamError
    from tlaam.evaluation.evaluate import evaluate
    from tlaam.first_steps import quickstart
    from tlaam.hub.download import from_pretrained
    from tlaam.hub.folder import save_pretrained
    from tlaam.hub.upload import push_to_hub
    from tlaam.model.build import build_model
    from tlaam.model.network import TLAAM
    from tlaam.model.output import TLAAMOutput
    from tlaam.model.store import load_model
    from tlaam.prediction import Prediction, Predictor, predict
    from tlaam.training.run import resume, train

_HOMES = {
    "Config": "tlaam.config",
    "ModelConfig": "tlaam.config",
    "Prediction": "tlaam.prediction",
    "Predictor": "tlaam.prediction",
    "TLAAM": "tlaam.model.network",
    "TLAAMOutput": "tlaam.model.output",
    "TlaamError": "tlaam.errors",
    "TrainingConfig": "tlaam.config",
    "build_model": "tlaam.model.build",
    "check": "tlaam.data.check",
    "evaluate": "tlaam.evaluation.evaluate",
    "from_pretrained": "tlaam.hub.download",
    "load_model": "tlaam.model.store",
    "open_images": "tlaam.data.open",
    "predict": "tlaam.prediction",
    "push_to_hub": "tlaam.hub.upload",
    "quickstart": "tlaam.first_steps",
    "resume": "tlaam.training.run",
    "save_pretrained": "tlaam.hub.folder",
    "train": "tlaam.training.run",
}

__all__ = [
    "TLAAM",
    "Config",
    "ModelConfig",
    "Prediction",
    "Predictor",
    "TLAAMOutput",
    "TlaamError",
    "TrainingConfig",
    "build_model",
    "check",
    "evaluate",
    "from_pretrained",
    "load_model",
    "open_images",
    "predict",
    "push_to_hub",
    "quickstart",
    "resume",
    "save_pretrained",
    "train",
]

try:
    __version__ = version("tlaam")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError:
            require_extra(f"tlaam.{name}")
            raise
    raise AttributeError(f"module 'tlaam' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
