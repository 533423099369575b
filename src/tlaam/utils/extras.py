"""Optional packages: those of the extras, which prediction with an exported file does not need."""

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
"""Display names of packages, by module name."""

SERVE = {
    "starlette": "Starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
"""The same for the extra ``serve``, which does not need PyTorch."""

CLEAN = {**TRAIN, "imagehash": "imagehash", "faiss": "FAISS"}
"""The same for the extra ``clean``."""

TEACH = {"onnx": "onnx", "scipy": "SciPy", "sklearn": "scikit-learn"}
"""The same for the extra ``teach``, which does not need PyTorch."""

_MODULES = {"serve": SERVE, "clean": CLEAN, "teach": TEACH, "wandb": {"wandb": "wandb"}, "mlflow": {"mlflow": "MLflow"}}
"""The modules to look for by extra; for extras not listed here, those of ``train``."""


def install_hint(extra: str) -> str:
    """Return how to install an extra from a copy of the repository: the package is not on any registry."""
    return f"pip install '.[{extra}]' in a copy of tlaam's repository"


def require_extra(what: str, extra: str = "train") -> None:
    """Check that PyTorch and the other packages of ``train`` are installed, or those of ``serve``, ``clean``,
    ``teach``, ``wandb`` or ``mlflow``.

    Args:
        what: what needs the extra, as the subject of the message.
        extra: the name of the extra.

    Raises:
        MissingPackageError: a package is missing.
    """
    missing = [title for module, title in _MODULES.get(extra, TRAIN).items() if find_spec(module) is None]
    if missing:
        needed = missing[0] if "PyTorch" in missing else ", ".join(missing)  # PyTorch stands for all the others
        raise MissingPackageError(f"{what} needs {needed}: {install_hint(extra)}")
