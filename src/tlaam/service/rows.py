"""An answer as JSON; `openapi.json` beside this file is the contract."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tlaam.prediction import Prediction
from tlaam.runtime.answers import Floats
from tlaam.service.refusal import Refusal


def answered(prediction: Prediction, *, top_k: int, heatmap: bool) -> dict[str, Any]:
    """Return the row of an image that was answered: that of ``tlaam predict --json``, and what a page draws."""
    row = prediction.to_dict(top_k) | {"code": None, "size": list(prediction.size), **_seen_before(prediction)}
    if heatmap:
        row["heatmap"] = None if prediction.heatmap is None else _levels(prediction.heatmap)
    return row


def refused(path: str, refusal: Refusal) -> dict[str, Any]:
    """Return the row of an image that was not."""
    return Prediction(path, error=refusal.message).to_dict() | {"code": refusal.code, "size": None}


def _seen_before(prediction: Prediction) -> dict[str, Any]:
    """THE SEAM for a gallery kept with the model: how sure the answer is, and which training images look like this one.

    A prediction that has the attributes `confidence` (``sure``, ``unsure`` or ``stranger``) and `look_alikes` (each
    with `label`, `similarity` and `thumbnail`, the bytes of a JPEG file) gets both keys; the page then shows them.
    """
    found: dict[str, Any] = {}
    if (confidence := getattr(prediction, "confidence", None)) is not None:
        found["confidence"] = confidence
    if (alike := getattr(prediction, "look_alikes", None)) is not None:
        found["look_alikes"] = [
            {
                "label": each.label,
                "similarity": round(float(each.similarity), 4),
                "thumbnail": f"data:image/jpeg;base64,{base64.b64encode(each.thumbnail).decode('ascii')}",
            }
            for each in alike
        ]
    return found


def _levels(heatmap: Floats) -> list[list[float]]:
    """Stretch a map to 0..1, by rows; a flat one is 0 everywhere, as in `tlaam.drawing.overlay_heatmap`."""
    values = np.nan_to_num(heatmap, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    stretched = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels: list[list[float]] = stretched.round(3).tolist()
    return levels
