"""What predicting with an exported file does without: the packages of the extras ``train`` and ``serve``."""

from __future__ import annotations

from importlib.util import find_spec

from tlaam.errors import MissingPackageError

TRAIN = {
    "torch": "PyTorch",
    "torchvision": "torchvision",
    "timm": "timm",
    "lightning": "Lightning",
    "torchmetrics": "torchmetrics",
    "scipy": "SciPy",
    "sklearn": "scikit-learn",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface-hub",
    "tensorboard": "TensorBoard",
    "jinja2": "Jinja2",
}
"""What to call a module's package in a message, by the module's name."""

SERVE = {
    "starlette": "Starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
"""The same of the extra ``serve``, which goes without PyTorch."""

CLEAN = {**TRAIN, "imagehash": "imagehash", "faiss": "FAISS"}
"""The same of the extra ``clean``."""

TEACH = {"onnx": "onnx", "scipy": "SciPy", "sklearn": "scikit-learn"}
"""The same of the extra ``teach``, which goes without PyTorch."""

_MODULES = {"serve": SERVE, "clean": CLEAN, "teach": TEACH, "wandb": {"wandb": "wandb"}, "mlflow": {"mlflow": "MLflow"}}
"""What of an extra is looked for; of those that are not named here, what they share with ``train``."""


def install_hint(extra: str) -> str:
    """Return how an extra is installed from where the package itself was: it has no release on any registry."""
    return f"pip install '.[{extra}]' in a copy of tlaam's repository"


def require_extra(what: str, extra: str = "train") -> None:
    """Check that PyTorch and all that goes with it is installed, or for the extras ``serve``, ``wandb`` and ``mlflow``
    what they bring.

    Args:
        what: needs it, as the message's subject.
        extra: brings it.

    Raises:
        MissingPackageError: some of it is not.
    """
    missing = [title for module, title in _MODULES.get(extra, TRAIN).items() if find_spec(module) is None]
    if missing:
        needed = missing[0] if "PyTorch" in missing else ", ".join(missing)  # without it, the others say nothing new
        raise MissingPackageError(f"{what} needs {needed}: {install_hint(extra)}")
