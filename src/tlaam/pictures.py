"""The picture of one prediction: what was found, where the network looked, and the crops that it saw."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from tlaam.atomic import write_atomically
from tlaam.data.sample import Box
from tlaam.drawing import prediction_panel, prediction_views
from tlaam.gallery import Confidence
from tlaam.images import load_image
from tlaam.prediction import Prediction

VERDICTS: dict[Confidence, str] = {
    "sure": "sure",
    "unsure": "unsure",
    "stranger": "unlike what the model learnt from",
}
"""What people read of `Prediction.confidence`."""


def doubt_of(prediction: Prediction) -> str:
    """Return what people read of an answer that is not sure; nothing of one that is, or where nothing is known."""
    confidence = prediction.confidence
    return "" if confidence is None or confidence == "sure" else VERDICTS[confidence]


def picture_of(
    prediction: Prediction, *, label: str | None = None, true_box: Box | None = None, height: int = 320
) -> Image.Image:
    """Draw the image with boxes, its heat map, the object's crop and the parts' crops, with names and probabilities.

    Args:
        prediction: a prediction without error.
        label: the true class, where it is known.
        true_box: the true box in pixels of the image, drawn dashed.
        height: of the pictures in pixels.

    Raises:
        DataError: the image cannot be read any more.
    """
    image = load_image(Path(prediction.path), banner=prediction.banner)
    (name, probability), *others = prediction.top(3)
    # Doubt comes before the name: this is what is read first, and often alone.
    doubt = f"{said}: " if (said := doubt_of(prediction)) else ""
    subtitle = " · ".join(f"{other} {share:.0%}" for other, share in others)
    if label is not None:
        verdict = "right" if label == name else f"wrong, it is {label}"
        subtitle = f"{verdict} · {subtitle}" if subtitle else verdict
    return prediction_panel(
        image,
        prediction.heatmap,
        *_boxes(prediction),
        title=f"{doubt}{name} {probability:.0%}",
        subtitle=subtitle,
        true_box=true_box,
        height=height,
    )


def views_of(prediction: Prediction, *, true_box: Box | None = None, side: int = 320) -> dict[str, Image.Image]:
    """Return the image with boxes, its heat map, the object and the parts as pictures of their own, by name.

    Args:
        prediction: a prediction without error.
        true_box: the true box in pixels of the image, drawn dashed.
        side: pixels of a picture's longer side.

    Raises:
        DataError: the image cannot be read any more.
    """
    return prediction_views(
        load_image(Path(prediction.path), banner=prediction.banner),
        prediction.heatmap,
        *_boxes(prediction),
        true_box=true_box,
        side=side,
    )


def write_picture(prediction: Prediction, path: Path) -> None:
    """Write `picture_of` a prediction as a PNG file that is whole or not there; an older one is replaced.

    Raises:
        DataError: the image cannot be read any more.
        RunError: the disk is full.
        OSError: the file cannot be written.
    """
    buffer = BytesIO()
    picture_of(prediction).save(buffer, "PNG")
    write_atomically(path, buffer.getbuffer())


def _boxes(prediction: Prediction) -> tuple[Box | None, list[Box]]:
    """Return the object box and the part boxes."""
    parts = [] if prediction.part_boxes is None else [_box(box) for box in prediction.part_boxes]
    return None if prediction.object_box is None else _box(prediction.object_box), parts


def _box(values: object) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)  # type: ignore[attr-defined]
    return x0, y0, x1, y1
