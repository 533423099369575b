"""What is kept of one file: its objects with their names, and when, where and by which camera it was taken."""

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
        rank: deepest taxonomic rank that is sure enough; empty where there is none, or nothing is promised.
        box: xyxy in pixels of the photograph, x1 and y1 exclusive; None where no object was looked for.
        verdict: of this object, as of `Answer`; None for that of the answer.
        similarity: likewise.
        taxon: what it is at `rank`; empty likewise.
        lineage: the taxa by rank, from `rank` upwards.
    """

    names: tuple[tuple[str, float], ...]
    rank: str = ""
    box: Box | None = None
    verdict: str | None = None
    similarity: float | None = None
    taxon: str = ""
    lineage: tuple[tuple[str, str], ...] = ()

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
    """What is said of one file, or why nothing is.

    Attributes:
        file: the path, as it was asked for or found in a folder.
        objects: what was found, the clearest first; none with an error.
        verdict: ``sure``, ``unsure`` or ``stranger``, of the first object; ``nothing found`` where objects were looked
            for and there is none; empty where the model cannot tell.
        similarity: as of `tlaam.inference.prediction.Prediction`.
        size: ``(width, height)`` in pixels; None where it is not known.
        shot: when, where and by which camera.
        error: why there is no answer; empty where there is one.
    """

    file: str
    objects: tuple[FoundObject, ...] = ()
    verdict: str = ""
    similarity: float | None = None
    size: tuple[int, int] | None = None
    shot: Shot = field(default_factory=Shot)
    error: str = ""

    @property
    def label(self) -> str:
        """The name of the clearest object; empty where there is none."""
        return self.objects[0].label if self.objects else ""

    def verdict_of(self, found: FoundObject) -> str:
        """Return the verdict of one of the objects."""
        return self.verdict if found.verdict is None else found.verdict

    def similarity_of(self, found: FoundObject) -> float | None:
        """Return how much one of the objects looks like what the model learnt from."""
        return self.similarity if found.verdict is None else found.similarity


def described(prediction: Prediction) -> dict[str, Any]:
    """Return what a line of JSON holds besides, so that it is still known when the photograph has gone elsewhere."""
    width, height = prediction.size
    shot = Shot() if prediction.error is not None else read_shot(prediction.path)
    return {"photo": {"width": width or None, "height": height or None, **asdict(shot)}}


def answer_of(record: Mapping[str, Any]) -> Answer:
    """Return the answer that a line of ``predict --json`` or ``--into`` holds.

    A line with ``objects``, each of the form of a line's own answer, holds several, or none. Where it lacks ``photo``,
    as those that were written for no table, the photograph is looked at.
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
        similarity=record["similarity"],
        size=size,
        shot=shot,
        error=record["error"] or "",
    )


def _object(found: Mapping[str, Any]) -> FoundObject:
    box = found.get("object_box")
    return FoundObject(
        tuple((row["label"], float(row["probability"])) for row in found["predictions"]),
        found.get("rank") or "",
        None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        found.get("verdict"),
        found.get("similarity"),
        found.get("taxon") or "",
        tuple((found.get("lineage") or {}).items()),
    )


def _size(path: str) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except DataError:
        return None
