"""Predictions: names, probabilities, and what the network looked at."""

from __future__ import annotations

import base64
import csv
import html
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.container import Member
from tlaam.data.depth import Depth
from tlaam.data.images import ImageBytes, load_image
from tlaam.data.sample import Box, Sample
from tlaam.errors import DataError, MissingPackageError
from tlaam.inference.backend import Floats
from tlaam.reference.ood_detector import Verdict
from tlaam.taxonomy.answers import TaxonAnswer
from tlaam.utils.atomic import write_atomically
from tlaam.utils.text import per_cent, safe_cell
from tlaam.visualization.panels import prediction_panel, prediction_views

VERDICTS: dict[Verdict, str] = {
    "sure": "sure",
    "unsure": "unsure",
    "stranger": "unlike what the model learnt from",
}
"""The text shown for `Prediction.verdict` if there is an answer."""

NOTHING: Verdict = "nothing found"
"""`Prediction.verdict` if several objects were looked for and none is large and sure enough; there is then no
answer."""

TELLS_NO_STRANGERS = (
    "this model cannot tell images of something else: of whatever image, it names the most probable of its classes"
)
"""The text shown if there is no verdict, so that a high probability is not taken for one."""

COLUMNS = ("path", "label", "score", "verdict", "similarity", "x0", "y0", "x1", "y1", "second", "second_score", "error")
"""Columns of a table of predictions. ``x0`` to ``y1`` are the object box in pixels of the image; ``second`` is the
second most probable class."""

Source = Sample | Path | Member | ImageBytes | Image.Image
"""The forms in which an image can be given."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The model's answer for one image, or the reason why there is none.

    Attributes:
        path: the path of the image as it was given; for an image in memory, its number or the file that it was opened
            from.
        error: why there is no answer; None if there is one. With an error, all fields below except `source` are empty.
        size: ``(width, height)`` of the image in pixels.
        classes: class names, in index order.
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``), each ``(C,)``; branches that the model
            does not have are absent.
        heatmap: the localiser's map of the whole image, ``(h, w)``, not normalised; None without an object level.
        object_box: ``(4,)`` xyxy in pixels of the image, x1 and y1 exclusive; None without an object level.
        part_boxes: ``(N, 4)``, in the same form; None without a part level.
        similarity: how much the image looks like the training images, as the cosine to the nearest class (see
            `OODDetector.similarity`); None without a reference index (docs/strangers.md).
        verdict: ``sure`` or ``unsure`` for the answer, or ``stranger`` if the image is out of distribution; None
            without an index, or with one that cannot detect strangers. ``nothing found`` if several objects were looked
            for and there is none (docs/field.md); there are then no probabilities and no boxes.
        answer: the answer at the deepest rank that is sure enough for the promise; None if nothing is promised
            (docs/field-taxonomy.md).
        outside: the class that was more probable than all others together but does not live here, and its probability
            before it was redistributed to the others; None if there is no such class.
        objects: if several objects were looked for, one prediction per object, the largest first or in the order of the
            given boxes; the fields above are those of the first one. None if one object was assumed.
        embedding: ``(E,)``, the vector that look-alikes are found by; None without an index, unless it was requested.
        pooled: features of its V branches, ``(V, K)``; None unless they were requested.
        source: the image itself, or where it is stored.
        depth: black and white levels that the image was read with, if it has more than 8 bits and does not declare
            them.
    """

    path: str
    error: str | None = None
    size: tuple[int, int] = (0, 0)
    classes: tuple[str, ...] = field(default=(), repr=False)
    probabilities: dict[str, Floats] = field(default_factory=dict, repr=False)
    heatmap: Floats | None = field(default=None, repr=False)
    object_box: Floats | None = None
    part_boxes: Floats | None = field(default=None, repr=False)
    similarity: float | None = None
    verdict: Verdict | None = None
    answer: TaxonAnswer | None = None
    outside: tuple[str, float] | None = None
    objects: tuple[Prediction, ...] | None = field(default=None, repr=False)
    embedding: Floats | None = field(default=None, repr=False)
    pooled: NDArray[np.float32] | None = field(default=None, repr=False)
    source: Source | None = field(default=None, repr=False, compare=False)
    depth: Depth = field(default_factory=Depth, repr=False, compare=False)

    @property
    def label(self) -> str | None:
        """The most probable class; None with an error."""
        return self.top(1)[0][0] if self.probabilities else None

    @property
    def score(self) -> float | None:
        """The probability of `label`; None with an error."""
        return self.top(1)[0][1] if self.probabilities else None

    @property
    def rank(self) -> str | None:
        """The deepest rank that is sure enough for the promise; None if there is none, or if nothing is promised."""
        return None if self.answer is None else self.answer.rank

    @property
    def taxon(self) -> str | None:
        """What the image shows at `rank`; None if `rank` is None."""
        return None if self.answer is None else self.answer.taxon

    @property
    def lineage(self) -> dict[str, str]:
        """The taxa by rank, from `rank` upwards; empty if `rank` is None."""
        return {} if self.answer is None else dict(self.answer.lineage)

    @property
    def confidence(self) -> Verdict | None:
        """Former name of `verdict`."""
        warnings.warn("Prediction.confidence is now Prediction.verdict", DeprecationWarning, stacklevel=2)
        return self.verdict

    @property
    def familiarity(self) -> float | None:
        """Former name of `similarity`."""
        warnings.warn("Prediction.familiarity is now Prediction.similarity", DeprecationWarning, stacklevel=2)
        return self.similarity

    @property
    def doubt(self) -> str:
        """The text shown for an answer that is not sure; empty if the answer is sure or there is no verdict."""
        return "" if self.verdict in (None, "sure") else VERDICTS.get(self.verdict, self.verdict)

    @property
    def is_unjudged(self) -> bool:
        """Whether there is an answer but nothing says whether it can be relied on (`TELLS_NO_STRANGERS`)."""
        return self.error is None and self.verdict is None

    def top(self, k: int = 5, branch: str = "fused") -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, best first.

        Examples:
            >>> answer = tlaam.load("runs/birds").predict("photos/jay/1.png")
            >>> len(answer.top(2)), answer.top(1) == [(answer.label, answer.score)]
            (2, True)
        """
        if branch not in self.probabilities:
            return []
        scores = self.probabilities[branch]
        order = np.argsort(-scores, kind="stable")[:k]
        return [(self.classes[i], float(scores[i])) for i in order]

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Return the object of one line of ``predict --json``: plain values, boxes as ``[x0, y0, x1, y1]`` in pixels.

        Pixels are those of the image file. ``confidence`` and ``familiarity`` are former names of ``verdict`` and
        ``similarity``.

        Examples:
            >>> answer = tlaam.load("runs/birds").predict("photos/jay/1.png")
            >>> (best,) = answer.to_dict(1)["predictions"]
            >>> best["label"] == answer.label
            True
        """
        similarity = None if self.similarity is None else round(self.similarity, 4)
        return {
            "path": self.path,
            **self._named(k),
            "verdict": self.verdict,
            "similarity": similarity,
            "confidence": self.verdict,
            "familiarity": similarity,
            **self._ranked(),
            **self._boxes(),
            "error": self.error,
            **({} if self.objects is None else {"objects": [found._of_object(k) for found in self.objects]}),
        }

    def _of_object(self, k: int) -> dict[str, Any]:
        """Return the entry of this prediction in the list of objects."""
        similarity = None if self.similarity is None else round(self.similarity, 4)
        judged = {"verdict": self.verdict, "similarity": similarity}
        return {**self._named(k), **judged, **self._ranked(), **self._boxes()}

    def _named(self, k: int) -> dict[str, Any]:
        return {
            "predictions": _rows(self.top(k)),
            "branches": {name: _rows(self.top(k, name)) for name in self.probabilities if name != "fused"},
        }

    def _boxes(self) -> dict[str, Any]:
        return {
            "object_box": None if self.object_box is None else _rounded(self.object_box),
            "part_boxes": None if self.part_boxes is None else [_rounded(box) for box in self.part_boxes],
        }

    def _ranked(self) -> dict[str, Any]:
        """Return the answer by ranks and the class that does not live here, if they were requested."""
        values: dict[str, Any] = {}
        if self.answer is not None:
            share = self.answer.probability
            values = {
                "rank": self.rank,
                "taxon": self.taxon,
                "taxon_probability": None if share is None else round(share, 6),
                "lineage": self.lineage,
            }
        if self.outside is not None:
            values["outside"] = _rows([self.outside])[0]
        return values

    def to_rows(self) -> list[dict[str, Any]]:
        """Return rows of a table with `COLUMNS`: one per object if several were looked for and found, else one.

        Examples:
            >>> answer = tlaam.load("runs/birds").predict("photos/jay/1.png")
            >>> answer.to_rows() == [answer.to_row()]
            True
        """
        return [found.to_row() for found in self.objects or (self,)]

    def to_row(self) -> dict[str, Any]:
        """Return one row of a table with `COLUMNS`; missing values are None.

        Examples:
            >>> tlaam.load("runs/birds").predict("photos/jay/1.png").to_row()["label"] in ("crow", "jay", "wren")
            True
        """
        shown = [(label, round(score, 6)) for label, score in self.top(2)]
        top: list[tuple[Any, Any]] = [*shown, (None, None), (None, None)]
        similarity = None if self.similarity is None else round(self.similarity, 4)
        box = (None,) * 4 if self.object_box is None else tuple(_rounded(self.object_box))
        values = (
            self.path, *top[0], self.verdict, similarity, *box, *top[1], self.error,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def image(self) -> Image.Image:
        """Return the image, RGB and upright; an image in a file is decoded again.

        Raises:
            DataError: the image can no longer be read, or this prediction does not know it.

        Examples:
            >>> tlaam.load("runs/birds").predict("photos/jay/1.png").image().size
            (64, 48)
        """
        if isinstance(self.source, Image.Image):
            return self.source
        if isinstance(self.source, Sample):
            return replace(self.source, depth=self.depth).picture()
        return load_image(self.path if self.source is None else self.source, depth=self.depth)

    def plot(self, *, label: str | None = None, true_box: Box | None = None, height: int = 320) -> Image.Image:
        """Draw the image with boxes, its heat map, the object and the parts, with names and probabilities.

        Args:
            label: the true class, if it is known.
            true_box: the true box in pixels of the image, drawn dashed.
            height: height of the pictures in pixels.

        Raises:
            DataError: there is an error instead of an answer, or the image can no longer be read.

        Examples:
            >>> tlaam.load("runs/birds").predict("photos/jay/1.png").plot(label="jay").mode
            'RGB'
        """
        self._require_answer()
        (name, probability), *others = self.top(3)
        # Doubt comes before the name: people read this first, and often nothing else.
        doubt = "most probable: " if self.is_unjudged else f"{self.doubt}: " if self.doubt else ""
        subtitle = " · ".join(f"{other} {per_cent(share, 0)}" for other, share in others)
        if label is not None:
            verdict = "right" if label == name else f"wrong, it is {label}"
            subtitle = f"{verdict} · {subtitle}" if subtitle else verdict
        image, object_box, part_boxes, true_box = self._drawn_on(true_box)
        title = f"{doubt}{name} {per_cent(probability, 0)}"
        return prediction_panel(
            image, self.heatmap, object_box, part_boxes, title=title, subtitle=subtitle, true_box=true_box,
            others=self._others_on(image), height=height,
        )  # fmt: skip

    def views(self, *, true_box: Box | None = None, side: int = 320) -> dict[str, Image.Image]:
        """Return the image with boxes, its heat map, the object and the parts as separate pictures, by name.

        Args:
            true_box: the true box in pixels of the image, drawn dashed.
            side: length of a picture's longer side in pixels.

        Raises:
            DataError: see `plot`.

        Examples:
            >>> sorted(tlaam.load("runs/birds").predict("photos/jay/1.png").views())
            ['boxes', 'heat map', 'object', 'parts']
        """
        self._require_answer()
        image, object_box, part_boxes, true_box = self._drawn_on(true_box)
        return prediction_views(
            image, self.heatmap, object_box, part_boxes, true_box=true_box, others=self._others_on(image), side=side
        )

    def save_plot(self, path: str | Path) -> None:
        """Write `plot` as a PNG file, atomically; an existing file is replaced.

        Raises:
            DataError: see `plot`.
            RunError: the disk is full.
            OSError: the file cannot be written.

        Examples:
            >>> tlaam.load("runs/birds").predict("photos/jay/1.png").save_plot("jay.png")
            >>> Path("jay.png").exists()
            True
        """
        buffer = io.BytesIO()
        self.plot().save(buffer, "PNG")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), buffer.getbuffer())

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Prediction({self.path!r}, error={self.error!r})"
        box = None if self.object_box is None else _rounded(self.object_box)
        score = None if self.score is None else round(self.score, 4)
        return f"Prediction({self.path!r}, {self.label!r}, score={score}, verdict={self.verdict!r}, object_box={box})"

    def _repr_html_(self) -> str:
        """Return HTML for a notebook: the plot, or the error."""
        if self.error is not None:
            return f"<p>{html.escape(self.error)}</p>"
        try:
            buffer = io.BytesIO()
            self.plot().save(buffer, "PNG")
        except DataError as error:
            return f"<p>{html.escape(str(error))}</p>"
        picture = base64.b64encode(buffer.getvalue()).decode("ascii")
        drawn = f'<img src="data:image/png;base64,{picture}" alt="{html.escape(f"{self.label}: {self.path}")}">'
        return drawn + _unjudged([self])

    def _require_answer(self) -> None:
        if self.error is not None:
            raise DataError(f"there is nothing to show of '{self.path}': {self.error}")
        if not self.probabilities:
            raise DataError(f"there is nothing to show of '{self.path}': {self.verdict}")

    def _others_on(self, image: Image.Image) -> list[tuple[Box, str]]:
        """Return the boxes, in pixels of an image, and the names of all objects after the first."""
        x, y = image.width / self.size[0], image.height / self.size[1]
        found = []
        for other in (self.objects or ())[1:]:
            if other.object_box is not None:
                x0, y0, x1, y1 = other.object_box.tolist()
                found.append(((x0 * x, y0 * y, x1 * x, y1 * y), f"{other.label} {per_cent(other.score or 0, 0)}"))
        return found

    def _drawn_on(self, true_box: Box | None) -> tuple[Image.Image, Box | None, list[Box], Box | None]:
        """Return the image, and the object box, the part boxes and the true box in its pixels."""
        image = self.image()
        # An image kept from the prediction may have been decoded at a reduced size.
        x, y = image.width / self.size[0], image.height / self.size[1]

        def scaled(values: Iterable[SupportsFloat]) -> Box:
            x0, y0, x1, y1 = (float(value) for value in values)
            return x0 * x, y0 * y, x1 * x, y1 * y

        return (
            image,
            None if self.object_box is None else scaled(self.object_box),
            [] if self.part_boxes is None else [scaled(box) for box in self.part_boxes],
            None if true_box is None else scaled(true_box),
        )


class Predictions(list[Prediction]):
    """Predictions in the order of the given images."""

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a table with `COLUMNS` as CSV, with one row per image or object.

        If `path` is given, the table is also written there, atomically. Text that a spreadsheet program would evaluate
        gets an apostrophe (`tlaam.utils.text.safe_cell`).

        Raises:
            RunError: the disk is full.
            OSError: the file cannot be written.

        Examples:
            >>> table = tlaam.load("runs/birds").predict(["photos/jay/1.png", "photos/jay/2.png"]).to_csv("answers.csv")
            >>> len(table.splitlines())
            3
        """
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: safe_cell(value) if isinstance(value, str) else value for name, value in row.items()}
            for prediction in self
            for row in prediction.to_rows()
        )
        text = stream.getvalue()
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(Path(path), text.encode("utf-8", "backslashreplace"))
        return text

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with `COLUMNS`, with one row per image or object.

        Raises:
            MissingPackageError: pandas is not installed.

        Examples:
            >>> answers = tlaam.load("runs/birds").predict(["photos/jay/1.png", "photos/jay/2.png"])
            >>> answers.to_pandas()["path"].tolist()
            ['photos/jay/1.png', 'photos/jay/2.png']
        """
        try:
            import pandas  # type: ignore[import-untyped,unused-ignore]
        except ImportError as error:
            raise MissingPackageError("to_pandas needs pandas: pip install pandas; to_csv goes without.") from error
        rows = [row for prediction in self for row in prediction.to_rows()]
        return pandas.DataFrame(rows, columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        """Return HTML for a notebook: a table."""
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in row.values()) + "</tr>"
            for prediction in self
            for row in prediction.to_rows()
        )
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in COLUMNS)}</tr>{rows}</table>{_unjudged(self)}"


def _unjudged(predictions: Iterable[Prediction]) -> str:
    """Return a warning paragraph if some answers have no verdict."""
    if not any(prediction.is_unjudged for prediction in predictions):
        return ""
    return f"<p>{TELLS_NO_STRANGERS[0].upper()}{TELLS_NO_STRANGERS[1:]}.</p>"


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rows(top: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": round(probability, 6)} for label, probability in top]


def _rounded(box: Floats) -> list[float]:
    return [round(float(value), 2) for value in box]
