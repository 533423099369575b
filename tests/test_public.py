"""The public names: a snapshot, loaded lazily, each documented."""

from __future__ import annotations

import subprocess
import sys

import tlaam


def test_the_public_names_are_these() -> None:
    assert tlaam.__all__ == [
        "TLAAM", "Classifier", "Config", "ModelConfig", "Prediction", "Predictions", "TLAAMOutput", "TlaamError",
        "TrainingConfig", "build_model", "check", "clean", "fit", "load", "open_dataset", "quickstart",
        "register_architecture", "register_attention", "register_localizer", "register_parts", "resume",
    ]  # fmt: skip
    for name in tlaam.__all__:
        assert (getattr(tlaam, name).__doc__ or "").strip(), name


def test_importing_the_package_does_not_import_torch() -> None:
    modules = "tlaam, tlaam.config.schema, tlaam.data.open, tlaam.inference.engine, tlaam.inference.onnx"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
