"""What a model says of an image: names, probabilities, and what the network looked at."""

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
"""What people read of `Prediction.verdict`, where there is an answer."""

NOTHING: Verdict = "nothing found"
"""`Prediction.verdict` where objects were looked for and none is large and sure enough: then there is no answer."""

TELLS_NO_STRANGERS = (
    "this model cannot tell images of something else: of whatever image, it names the most probable of its classes"
)
"""What people read where there is no verdict, so that a high probability is not taken for one."""

COLUMNS = ("path", "label", "score", "verdict", "similarity", "x0", "y0", "x1", "y1", "second", "second_score", "error")
"""Of a table of predictions: ``x0`` to ``y1`` are the object box in pixels of the image, ``second`` the next class."""

Source = Sample | Path | Member | ImageBytes | Image.Image
"""What an image was given as."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """What the model says of one image, or why it says nothing.

    Attributes:
        path: the image, as it was asked for; of one in memory its number or the file it was opened from.
        error: why there is no answer; None when there is one. Then every other field below is empty.
        size: ``(width, height)`` of the image in pixels.
        classes: class names, by index.
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``), each ``(C,)``; branches that the model
            does not have are absent.
        heatmap: the localiser's map on the whole image, ``(h, w)``, not normalised; None without an object level.
        object_box: ``(4,)`` xyxy in pixels of the image, x1 and y1 exclusive; None without an object level.
        part_boxes: ``(N, 4)`` xyxy likewise; None without a part level.
        similarity: how much the image looks like those that the model learnt from, the cosine to the nearest class;
            None without a reference index (docs/strangers.md).
        verdict: whether the answer is ``sure`` or ``unsure``, or the image a ``stranger``; None without an index, or
            with one that cannot tell strangers. ``nothing found`` of an image without an object, where objects were
            looked for (docs/field.md): then there are no probabilities and no boxes.
        answer: at the deepest rank that is sure enough for the promise; None where nothing is promised
            (docs/field-taxonomy.md).
        outside: the class that was more probable than all others together and does not live here, and its probability
            before the others shared it out; None without one.
        objects: where several were looked for, a prediction for each, the largest first or as their boxes were given;
            the fields above are those of the first. None where one object was taken to be there.
        embedding: ``(E,)``, what look-alikes are found by; None without an index, unless it was asked for.
        pooled: features of its V branches, ``(V, K)``; None unless they were asked for.
        source: the image itself, or where it lies.
        depth: black and white that it was read by, where it has more than 8 bits and does not declare them.
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
        """The deepest rank that is sure enough for the promise; None where none is, or nothing is promised."""
        return None if self.answer is None else self.answer.rank

    @property
    def taxon(self) -> str | None:
        """What the image shows at `rank`; None likewise."""
        return None if self.answer is None else self.answer.taxon

    @property
    def lineage(self) -> dict[str, str]:
        """The taxa by rank from `rank` upwards; empty likewise."""
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
        """What people read of an answer that is not sure; nothing of one that is, or where nothing is known."""
        return "" if self.verdict in (None, "sure") else VERDICTS.get(self.verdict, self.verdict)

    @property
    def is_unjudged(self) -> bool:
        """Whether there is an answer of which nothing says that it can be relied on (`TELLS_NO_STRANGERS`)."""
        return self.error is None and self.verdict is None

    def top(self, k: int = 5, branch: str = "fused") -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, best first.

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
        """Return one line of ``predict --json``: plain values, boxes as ``[x0, y0, x1, y1]`` in pixels of the file.

        ``confidence`` and ``familiarity`` are former names of ``verdict`` and ``similarity``.

        >>> answer = tlaam.load("runs/birds").predict("photos/jay/1.png")
        >>> sorted(answer.to_dict(1)["predictions"][0])
        ['label', 'probability']
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
        """Return what stands in the list of objects for one of them."""
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
        """Return what is said by ranks and of classes that do not live here, where it was asked for."""
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
        """Return the rows of a table, by `COLUMNS`: one an object, where several were looked for and there are some.

        >>> answer = tlaam.load("runs/birds").predict("photos/jay/1.png")
        >>> answer.to_rows() == [answer.to_row()]
        True
        """
        return [found.to_row() for found in self.objects or (self,)]

    def to_row(self) -> dict[str, Any]:
        """Return one row of a table, by `COLUMNS`; None where there is nothing.

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
        """Return the image, RGB and upright; one that lies in a file is decoded again.

        Raises:
            DataError: it cannot be read any more, or this prediction does not know it.

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
            label: the true class, where it is known.
            true_box: the true box in pixels of the image, drawn dashed.
            height: of the pictures in pixels.

        Raises:
            DataError: there is an error instead of an answer, or the image cannot be read any more.

        >>> tlaam.load("runs/birds").predict("photos/jay/1.png").plot(label="jay").mode
        'RGB'
        """
        self._require_answer()
        (name, probability), *others = self.top(3)
        # Doubt comes before the name: this is what is read first, and often alone.
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
        """Return the image with boxes, its heat map, the object and the parts as pictures of their own, by name.

        Args:
            true_box: the true box in pixels of the image, drawn dashed.
            side: pixels of a picture's longer side.

        Raises:
            DataError: as of `plot`.

        >>> sorted(tlaam.load("runs/birds").predict("photos/jay/1.png").views())
        ['boxes', 'heat map', 'object', 'parts']
        """
        self._require_answer()
        image, object_box, part_boxes, true_box = self._drawn_on(true_box)
        return prediction_views(
            image, self.heatmap, object_box, part_boxes, true_box=true_box, others=self._others_on(image), side=side
        )

    def save_plot(self, path: str | Path) -> None:
        """Write `plot` as a PNG file that is whole or not there; an older one is replaced.

        Raises:
            DataError: as of `plot`.
            RunError: the disk is full.
            OSError: the file cannot be written.

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
        """Show itself in a notebook: the plot, or the error."""
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
        """Return boxes in an image's pixels, and names, of the objects behind the first."""
        x, y = image.width / self.size[0], image.height / self.size[1]
        found = []
        for other in (self.objects or ())[1:]:
            if other.object_box is not None:
                x0, y0, x1, y1 = other.object_box.tolist()
                found.append(((x0 * x, y0 * y, x1 * x, y1 * y), f"{other.label} {per_cent(other.score or 0, 0)}"))
        return found

    def _drawn_on(self, true_box: Box | None) -> tuple[Image.Image, Box | None, list[Box], Box | None]:
        """Return the image, the object box, the part boxes and the true box in the pixels that it has."""
        image = self.image()
        # An image that was kept from prediction may have been decoded at a reduced size.
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
    """Predictions in the order of the images asked for."""

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a table as CSV, a row an image or object under `COLUMNS`.

        With a path, write it there, whole or not at all.

        Text that a spreadsheet program would compute gets an apostrophe (`tlaam.utils.text.safe_cell`).

        Raises:
            RunError: the disk is full.
            OSError: the file cannot be written.

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
        """Return a `pandas.DataFrame`, a row an image or object under `COLUMNS`.

        Raises:
            MissingPackageError: pandas is not installed.

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
        """Show itself in a notebook: a table."""
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in row.values()) + "</tr>"
            for prediction in self
            for row in prediction.to_rows()
        )
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in COLUMNS)}</tr>{rows}</table>{_unjudged(self)}"


def _unjudged(predictions: Iterable[Prediction]) -> str:
    """Return a paragraph that says so where there are answers without a verdict."""
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
