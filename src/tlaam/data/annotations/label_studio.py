"""Label Studio's JSON exports, full and minimal (JSON-MIN). Its CSV is read as a manifest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tlaam.data.annotations.annotated import labelled_images
from tlaam.data.annotations.documents import Place, head_of, mappings, name_of, read_json, shown
from tlaam.data.annotations.image_files import located, usual_folders
from tlaam.data.annotations.records import Annotated, Object, Source, checked_box, number_of
from tlaam.data.columns import AmbiguousColumnsError, taken_for
from tlaam.data.locate import is_address
from tlaam.data.rules import NO_NUMBERS
from tlaam.data.sample import LabelledImages
from tlaam.data.walk import files_directly_in, is_image_name
from tlaam.utils.collector import collector_paused

_IMAGES = ("image", "img", "photo", "picture", "image_url", "url", "file", "filename")
_OF_THE_TOOL = frozenset(
    (
        *("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "inner_id"),
        *("completed_by", "created_username", "comments", "draft", "sentiment_agreement", "file_upload", "project"),
    )
)
_NAMED = 3
_UPLOADED = re.compile(r"/data/upload/(\d+)/")


class _Answer(NamedTuple):
    """What one annotator says about a task: labels of the image by the question they answer, and objects."""

    tags: tuple[tuple[str, str], ...]
    objects: tuple[Object, ...]


class _Task(NamedTuple):
    """An image and what is said about it."""

    key: str
    image: str
    place: Place
    answers: tuple[_Answer, ...]
    is_cancelled: bool


def is_label_studio(path: Path) -> bool:
    """Whether a path is a JSON file that holds a list, or a folder with one such file written by Label Studio."""
    if path.is_file():
        return path.suffix.lower() == ".json" and head_of(path).startswith("[")
    return path.is_dir() and len(_files_in(path)) == 1


@collector_paused()
def read_label_studio(root: str | Path, *, strict: bool = True, crops: bool = False) -> LabelledImages:
    """Read an export of Label Studio, in JSON or JSON-MIN.

    ``choices`` are labels of images. ``rectanglelabels`` are boxes of objects, in percent of the upright image; other
    regions, including rotated rectangles, count as objects without a box. Images are looked for near the file, by the
    path below Label Studio's storage or by the name alone, with and without the prefix that Label Studio gives to
    uploads. Cancelled answers and tasks without an answer are left out, with a note. If answers to a task are marked as
    ground truth, only these count.

    Args:
        root: the file, or the folder that contains it.
        strict: see `tlaam.data.annotations.coco.read_coco`.
        crops: read each box as an image of its own.

    Raises:
        DataError: the file is damaged, annotators contradict each other, or images have several labels; also whatever
            `strict` refuses. The message names the file and the tasks.
    """
    root = Path(root)
    path = root if root.is_file() else _files_in(root)[0]
    tasks = _tasks(path, strict=strict)
    notes = []
    kept: list[tuple[_Task, _Answer]] = []
    empty, cancelled = 0, 0
    differing: list[str] = []
    for task in tasks:
        answers = list(dict.fromkeys(task.answers))
        if not answers:
            cancelled += task.is_cancelled
            empty += not task.is_cancelled
        elif _differ(answers):
            differing.append(task.key)
        else:
            kept.append((task, _joined(answers)))
    if differing:
        named = ", ".join(differing[:_NAMED]) + (" and so on" if len(differing) > _NAMED else "")
        tasks_named = f"task {named}" if len(differing) == 1 else f"{len(differing):,} tasks, {named}"
        raise Place(path).fault(
            f"annotators give different labels in {tasks_named}", "Keep one answer a task, or mark it as ground truth."
        )
    for count, what in ((empty, "without an answer"), (cancelled, "whose answers were cancelled")):
        if count:
            notes.append(f"Left out: {count:,} task{'' if count == 1 else 's'} {what}.")
    _require_one_question(path, kept)
    home = path.parent
    written = [(_file_name(task.image), task.place) for task, _ in kept]
    paths, spelt = located(home, written, usual_folders(home, *_upload_folders(written)), strict=strict)
    annotated = [
        Annotated(image, None, task.place, tuple(label for _, label in answer.tags), answer.objects)
        for image, (task, answer) in zip(paths, kept, strict=True)
    ]
    title = f"an export of Label Studio, '{path.name}'"
    source = Source(root, home, "label-studio", title, crops, strict, True, [*notes, *spelt])
    return labelled_images(source, annotated)


def _files_in(folder: Path) -> list[Path]:
    names = [name for name in files_directly_in(folder) if name.lower().endswith(".json")]
    if len(names) > 1:
        return []
    found = [(folder / name, head_of(folder / name)) for name in names]
    marks = ('"annotations"', '"completions"', '"annotation_id"', '"annotator"')
    return [path for path, head in found if head.startswith("[") and any(mark in head for mark in marks)]


def _tasks(path: Path, *, strict: bool) -> list[_Task]:
    """Return the tasks of a file, joining those with the same id (JSON-MIN has an entry for each answer)."""
    found: dict[str, _Task] = {}
    for number, entry in enumerate(mappings(read_json(path), "the file", path), start=1):
        key = shown(entry["id"]) if isinstance(entry.get("id"), (int, str)) else f"number {number}"
        place = Place(path, "task", key)
        task = (
            _whole(entry, key, place, strict=strict) if "data" in entry else _minimal(entry, key, place, strict=strict)
        )
        before = found.setdefault(key, task)
        if before is task:
            continue
        if before.image != task.image:
            raise place.fault(f"two tasks have this id, of '{before.image}' and '{task.image}'")
        both = before.is_cancelled and task.is_cancelled
        found[key] = before._replace(answers=(*before.answers, *task.answers), is_cancelled=both)
    return list(found.values())


def _whole(task: Mapping[str, Any], key: str, place: Place, *, strict: bool) -> _Task:
    data = task["data"]
    if not isinstance(data, Mapping):
        raise place.fault(f"'data' is {shown(data)}, but must be an object")
    given = task.get("annotations", task.get("completions", []))
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise place.fault("'annotations' is no list of objects", "Export it as JSON or JSON-MIN.")
    valid = [each for each in given if not each.get("was_cancelled") and not each.get("skipped")]
    valid = [each for each in valid if each.get("ground_truth") is True] or valid
    answers = [_answer(each.get("result", []), place, strict=strict) for each in valid]
    filled = tuple(answer for answer in answers if answer.tags or answer.objects)
    return _Task(key, _image_of(data, place), place, filled, len(valid) < len(given) and not filled)


def _answer(result: Any, place: Place, *, strict: bool) -> _Answer:
    if not isinstance(result, list) or not all(isinstance(each, Mapping) for each in result):
        raise place.fault(f"'result' is {shown(result)}, but must be a list of objects")
    tags: list[tuple[str, str]] = []
    objects: dict[str, Object] = {}
    for number, each in enumerate(result):
        value = each.get("value")
        if not isinstance(value, Mapping):
            continue
        is_region = "x" in value or "points" in value or "rle" in value
        names = _names(value, place)
        if names and is_region:
            if len(names) > 1:
                raise place.fault(f"a region has {len(names)} labels, {', '.join(map(repr, names[:_NAMED]))}")
            region = each.get("id")
            objects[str(region) if isinstance(region, (str, int)) else f"\0{number}"] = Object(
                names[0], _rectangle(value, place, strict=strict)
            )
        elif names:
            question = each.get("from_name")
            tags += [(question if isinstance(question, str) else "", name) for name in names]
    return _Answer(tuple(dict.fromkeys(tags)), tuple(objects.values()))


def _names(value: Mapping[str, Any], place: Place) -> list[str]:
    """Return the labels in the value of a result."""
    found = [names for key, names in value.items() if key == "choices" or key.endswith("labels") or key == "labels"]
    given = [name for names in found for name in (names if isinstance(names, list) else [names])]
    return list(dict.fromkeys(name_of(name, "a label", place) for name in given))


def _rectangle(value: Mapping[str, Any], place: Place, *, strict: bool) -> tuple[float, float, float, float] | None:
    """Return the box of a region in shares of the image; None for another shape or a rotated one."""
    written = [value.get(name) for name in ("x", "y", "width", "height")]
    rotation = number_of(value.get("rotation") or 0)
    if rotation is None and strict:
        raise place.fault(f"the rotation of a rectangle is {shown(value['rotation'])}, but must be a number")
    if None in written or rotation != 0:
        return None
    numbers = [number_of(number) for number in written]
    if None in numbers:
        if strict:
            raise place.fault("x, y, width and height of a rectangle must be numbers")
        return NO_NUMBERS
    x, y, width, height = (number / 100 for number in numbers if number is not None)
    return checked_box((x, y, x + width, y + height), place, strict=strict)


def _minimal(entry: Mapping[str, Any], key: str, place: Place, *, strict: bool) -> _Task:
    """Return a task of JSON-MIN, in which answers stand under the names of their questions among the task's data."""
    image = _image_of(entry, place)
    regions = [
        each for value in entry.values() if isinstance(value, list) for each in value if isinstance(each, Mapping)
    ]
    result: list[dict[str, Any]] = [{"value": region} for region in regions]
    choices = {
        name: value
        for name, value in entry.items()
        if name not in _OF_THE_TOOL and isinstance(value, (str, Mapping)) and value and value != image
    }
    for name in _questions(choices, place):
        value = choices[name]
        result.append({"from_name": name, "value": value if isinstance(value, Mapping) else {"choices": [value]}})
    answer = _answer(result, place, strict=strict)
    return _Task(key, image, place, (answer,) if answer.tags or answer.objects else (), False)


def _questions(choices: Mapping[str, Any], place: Place) -> list[str]:
    """Return those of the texts beside a task's data that answer the question for its label."""
    lists = [name for name, value in choices.items() if isinstance(value, Mapping) and "choices" in value]
    texts = [name for name, value in choices.items() if isinstance(value, str)]
    if lists or not texts:
        return lists
    if "label" in texts:
        return ["label"]
    try:
        named = taken_for("label", texts)
    except AmbiguousColumnsError as error:
        raise place.fault(f"{' and '.join(map(repr, error.args[1:]))} may be the label") from error
    if named is None and len(texts) > 1:
        several = ", ".join(map(repr, texts[:_NAMED]))
        raise place.fault(f"which of {several} is the label is not said", "Call it 'choice', or export as JSON.")
    return [named or texts[0]]


def _image_of(data: Mapping[str, Any], place: Place) -> str:
    """Return the image of a task, under whatever name its data give it."""
    for name in _IMAGES:
        if isinstance(data.get(name), str) and data[name].strip():
            return str(data[name]).strip()
    found = [value for value in data.values() if isinstance(value, str) and is_image_name(value.rpartition("/")[2])]
    if len(found) != 1:
        raise place.fault("its data names no image" if not found else "its data names several images")
    return found[0]


def _file_name(image: str) -> str:
    """Return an image's path; a network address becomes the path of an upload with the same file name."""
    if not is_address(image) or image.startswith("data:"):
        return image
    try:
        address = urlsplit(image)
    except ValueError:
        return image
    return f"/data/upload/{name}" if (name := PurePosixPath(unquote(address.path)).name) else image


def _differ(answers: Sequence[_Answer]) -> bool:
    """Whether answers have different labels, of the image or of its objects; one may lack what another has."""
    tags = {frozenset(answer.tags) for answer in answers}
    labels = {frozenset(found.label for found in answer.objects) for answer in answers}
    return len(tags - {frozenset()}) > 1 or len(labels - {frozenset()}) > 1


def _joined(answers: Sequence[_Answer]) -> _Answer:
    """Merge several answers with the same labels; boxes are kept only if a single answer has objects."""
    tags = next((answer.tags for answer in answers if answer.tags), ())
    boxed = [answer.objects for answer in answers if answer.objects]
    objects = boxed[0] if boxed else ()
    return _Answer(tags, objects if len(boxed) < 2 else tuple(each._replace(box=None) for each in objects))


def _upload_folders(written: Sequence[tuple[str, Place]]) -> list[str]:
    """Return the folders in which Label Studio keeps uploads, in case its own data folder was copied."""
    projects = dict.fromkeys(found[1] for image, _ in written if (found := _UPLOADED.search(image)))
    kept = [f"upload/{project}" for project in projects]
    return ["upload", *kept, *(f"media/{folder}" for folder in kept)]


def _require_one_question(path: Path, kept: Sequence[tuple[_Task, _Answer]]) -> None:
    """Check that the labels answer one question.

    Raises:
        DataError: they answer several, so it is unclear which of them is the class.
    """
    by_question: defaultdict[str, int] = defaultdict(int)
    for _, answer in kept:
        for question in {question for question, _ in answer.tags}:
            by_question[question] += 1
    if len(by_question) > 1:
        named = ", ".join(f"'{name}'" for name in list(by_question)[:_NAMED])
        raise Place(path).fault(f"choices answer several questions, {named}", "Export one of them.")


__all__ = ["is_label_studio", "read_label_studio"]
