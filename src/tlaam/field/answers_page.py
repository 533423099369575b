"""A self-contained HTML file for reviewing and correcting answers; it loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from tlaam.field.answer import Answer, FoundObject
from tlaam.field.thumbnails import Where, thumbnail
from tlaam.field.timelapse import relative, shares
from tlaam.utils.atomic import grown_atomically
from tlaam.utils.text import per_cent, valid_text

_SIDE = 150  # maximum side of a picture in pixels


def write_page(
    path: Path,
    answers: Iterable[Answer],
    *,
    base: Path,
    identity: str,
    where: Where = Path,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Write the page atomically, one answer at a time.

    Args:
        path: the file to write.
        answers: the answers to show.
        base: the folder that displayed paths are relative to; corrections use full paths.
        identity: identifies this set of answers; the browser stores corrections under it.
        where: returns the current location of a photograph.
        progress: called after each answer.

    Raises:
        RunError: the disk is full.
        OSError: the file cannot be written.
    """
    before, after = _template().split("ANSWERS")
    labels: set[str] = set()
    with (
        grown_atomically(path, "give the same command again.") as growing,
        growing.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        stream.write(before + '{"id": ' + _json(identity) + ', "answers": [')
        for number, answer in enumerate(answers):
            labels.update(valid_text(name) for found in answer.objects for name, _ in found.names)
            stream.write((",\n" if number else "\n") + _json(_shown(answer, base, where(answer.file))))
            progress()
        stream.write('], "labels": ' + _json(sorted(labels)) + "}" + after)


def _shown(answer: Answer, base: Path, place: Path) -> dict[str, Any]:
    picture = None if answer.error else thumbnail(place, _SIDE)
    first = answer.objects[0] if answer.objects else None
    box = None if first is None or first.box is None else shares(first.box, answer.size)
    values = {
        "file": valid_text(str(place.absolute())),
        "shown": valid_text(relative(answer.file, base)),
        "link": _uri(place),
        "names": [] if first is None else [[valid_text(name), round(share, 4)] for name, share in first.names],
        "verdict": answer.verdict,
        "said": None if first is None else _said(first),
        "time": answer.shot.time,
        "camera": answer.shot.camera,
        "box": box,
        "others": [_other(found, answer) for found in answer.objects[1:]] or None,
        "error": valid_text(answer.error),
        "picture": None if picture is None else base64.b64encode(picture[0]).decode("ascii"),
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def _said(found: FoundObject) -> str | None:
    """Return what is said beside the name: the taxon that is vouched for, and the class that does not live there."""
    said = []
    if found.taxon and found.taxon != found.label:
        sure = "" if found.taxon_probability is None else f" {per_cent(found.taxon_probability)}"
        said.append(f"{valid_text(found.rank)} {valid_text(found.taxon)}{sure}")
    elif found.is_promised and not found.taxon:
        said.append("no rank is sure enough")
    if found.outside is not None:
        label, share = found.outside
        said.append(f"looks like {valid_text(label)} {per_cent(share)}, which does not live there")
    return "; ".join(said) or None


def _other(found: FoundObject, answer: Answer) -> dict[str, Any]:
    """Return the data shown for an object other than the first."""
    box = None if found.box is None else shares(found.box, answer.size)
    return {"name": valid_text(found.label), "probability": round(found.probability, 4), "box": box}


def _uri(place: Path) -> str:
    return place.absolute().as_uri()


def _json(value: object) -> str:
    """Return JSON that is safe to embed in an HTML page, whatever names contain."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _template() -> str:
    files = resources.files("tlaam.field") / "page"
    page, style, script = (
        (files / f"answers.{ending}").read_text(encoding="utf-8") for ending in ("html", "css", "js")
    )
    for mark, text in (("STYLE", style), ("SCRIPT", script)):
        # `answers.html` has each mark twice: in the policy, which allows only this text to run, and as its placeholder.
        page = page.replace(f"SHA-OF-{mark}", f"sha256-{_digest(text)}").replace(f">{mark}<", f">{text}<")
    return page


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
