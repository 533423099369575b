"""Predictions as JSON rows; the contract is `openapi.json` in this folder."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlaam.inference.backend import Floats
from tlaam.inference.prediction import Prediction
from tlaam.reference.index import LookAlike
from tlaam.service.refusal import Refusal


def answered(
    prediction: Prediction,
    *,
    top_k: int,
    heatmap: bool,
    look_alikes: Callable[[Prediction], Sequence[LookAlike]] | None = None,
) -> dict[str, Any]:
    """Return the row of an answered image: the row of ``tlaam predict --json`` plus what a page needs to draw it.

    Args:
        prediction: the prediction for the image.
        top_k: number of classes to list.
        heatmap: include the heat map.
        look_alikes: finds training images that look like the image; None if they were not requested.
    """
    row = prediction.to_dict(top_k) | {"code": None, "size": list(prediction.size)}
    if look_alikes is not None:
        row["look_alikes"] = [_alike(each) for each in look_alikes(prediction)]
        for named, found in zip(row.get("objects", ()), prediction.objects or (), strict=True):
            named["look_alikes"] = [_alike(each) for each in look_alikes(found)]
    if heatmap:
        row["heatmap"] = None if prediction.heatmap is None else _levels(prediction.heatmap)
    return row


def refused(path: str, refusal: Refusal) -> dict[str, Any]:
    """Return the row of an image that was refused."""
    return Prediction(path, error=refusal.message).to_dict() | {"code": refusal.code, "size": None}


def _alike(each: LookAlike) -> dict[str, Any]:
    picture = None if each.thumbnail is None else base64.b64encode(each.thumbnail).decode("ascii")
    return {
        "label": each.label,
        "similarity": round(each.similarity, 4),
        "thumbnail": None if picture is None else f"data:image/jpeg;base64,{picture}",
    }


def _levels(heatmap: Floats) -> list[list[float]]:
    """Stretch a heat map to 0..1, as rows; a flat one becomes 0, see `tlaam.visualization.annotate.overlay_heatmap`."""
    values = np.nan_to_num(heatmap, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    stretched = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels: list[list[float]] = stretched.round(3).tolist()
    return levels
