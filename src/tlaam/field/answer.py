"""The answer kept for each file: its objects with their names, and when, where and with which camera it was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tlaam.data.images import image_size
from tlaam.errors import DataError
from tlaam.field.exif import Shot, read_shot
from tlaam.inference.prediction import Prediction

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FoundObject:
    """One object in a photograph.

    Attributes:
        names: most probable names with their probabilities, best first; at least one.
        rank: deepest taxonomic rank that is sure enough; empty if there is none or nothing is promised.
        box: xyxy in pixels of the photograph, x1 and y1 exclusive; None if no object was looked for.
        verdict: verdict of this object, see `Answer`; None to use the answer's verdict.
        similarity: of this object to the training data, see `tlaam.inference.prediction.Prediction`.
        taxon: the taxon at `rank`; empty if `rank` is.
        taxon_probability: its probability; None if there is no taxon.
        lineage: the taxa as pairs of rank and name, from `rank` upwards.
        is_promised: whether answers are given at the deepest rank that is sure enough; without a rank there is then no
            answer.
        outside: the name with more than half of the probability that does not live where the photograph was taken,
            and its probability; None if there is none.
    """

    names: tuple[tuple[str, float], ...]
    rank: str = ""
    box: Box | None = None
    verdict: str | None = None
    similarity: float | None = None
    taxon: str = ""
    taxon_probability: float | None = None
    lineage: tuple[tuple[str, str], ...] = ()
    is_promised: bool = False
    outside: tuple[str, float] | None = None

    @property
    def label(self) -> str:
        """The most probable name."""
        return self.names[0][0]

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return self.names[0][1]


@dataclass(frozen=True)
class Answer:
    """The answer for one file, or the error that prevented it.

    Attributes:
        file: the path as given or as found in a folder.
        objects: the objects found, clearest first; empty if there is an error.
        verdict: ``sure``, ``unsure`` or ``stranger``, of the first object; ``nothing found`` if objects were looked for
            and there is none; empty if the model cannot tell.
        size: ``(width, height)`` in pixels; None if unknown.
        shot: when, where and with which camera the photograph was taken.
        error: why there is no answer; empty if there is one.
    """

    file: str
    objects: tuple[FoundObject, ...] = ()
    verdict: str = ""
    size: tuple[int, int] | None = None
    shot: Shot = field(default_factory=Shot)
    error: str = ""

    @property
    def label(self) -> str:
        """The name of the clearest object; empty if there is none."""
        return self.objects[0].label if self.objects else ""

    def verdict_of(self, found: FoundObject) -> str:
        """Return the verdict of one of the objects."""
        return self.verdict if found.verdict is None else found.verdict


def described(prediction: Prediction) -> dict[str, Any]:
    """Return the photograph's own data for a JSON line, so that it stays known after the photograph has been moved."""
    width, height = prediction.size
    shot = Shot() if prediction.error is not None else read_shot(prediction.path)
    return {"photo": {"width": width or None, "height": height or None, **asdict(shot)}}


def answer_of(record: Mapping[str, Any]) -> Answer:
    """Return the answer stored in a line of ``predict --json`` or ``--into``.

    A line with ``objects`` holds several objects or none; each has the same form as a line's own answer. If a line
    lacks ``photo``, as do lines that were not written for a table, the photograph itself is read.
    """
    several = record.get("objects")
    objects = [{**record, "verdict": None}] if several is None else several
    photo = record.get("photo")
    if photo is None:
        shot, size = (Shot(), None) if record["error"] else (read_shot(record["path"]), _size(record["path"]))
    else:
        shot = Shot(**{name: photo[name] for name in ("time", "camera", "latitude", "longitude")})
        size = (photo["width"], photo["height"]) if photo["width"] and photo["height"] else None
    return Answer(
        file=record["path"],
        objects=tuple(_object(found) for found in objects if found["predictions"]),
        verdict=record["verdict"] or "",
        size=size,
        shot=shot,
        error=record["error"] or "",
    )


def _object(found: Mapping[str, Any]) -> FoundObject:
    box, lineage, outside = found.get("object_box"), found.get("lineage"), found.get("outside")
    return FoundObject(
        names=tuple((row["label"], float(row["probability"])) for row in found["predictions"]),
        rank=found.get("rank") or "",
        box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        verdict=found.get("verdict"),
        similarity=found.get("similarity"),
        taxon=found.get("taxon") or "",
        taxon_probability=found.get("taxon_probability"),
        lineage=tuple((lineage or {}).items()),
        is_promised=lineage is not None,
        outside=None if outside is None else (outside["label"], float(outside["probability"])),
    )


def _size(path: str) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except DataError:
        return None
