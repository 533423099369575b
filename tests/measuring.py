"""Measuring a model by where it lies, as tests do again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlaam.evaluation.evaluate import evaluate
from tlaam.evaluation.report import EvaluationReport
from tlaam.inference.engine import load_engine

_OF_EVALUATE = ("split", "skip_unreadable", "progress")


def measured(model: Path | str, data: Any, **options: Any) -> EvaluationReport:
    """Return `evaluate` of a model that is loaded for it; options are those of both."""
    own = {name: value for name, value in options.items() if name in _OF_EVALUATE}
    others = {name: value for name, value in options.items() if name not in _OF_EVALUATE}
    return evaluate(load_engine(model, **others), data, **own)
