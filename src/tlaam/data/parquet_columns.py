"""Which columns of a Parquet file hold images, labels, splits and groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlaam.data.columns import AmbiguousColumnsError, taken_for
from tlaam.data.names import clean_name
from tlaam.errors import DataError, did_you_mean
from tlaam.utils.text import shortened

_METADATA = b"huggingface"


@dataclass(frozen=True)
class Columns:
    """The columns of a file that are read.

    Attributes:
        bytes: the column of the images' bytes; a field of a struct is written after a dot.
        label: the label column.
        names: class names by number, if the file has them.
        split: the split column; None if there is none.
        group: the group column (`tlaam.data.groups`); None if there is none.
        others: columns of plain values that are none of the above; one of them may name splits.
        rest: all columns that are not the image, label, split or group; `others` are among them.
        notes: what was read as what.
    """

    bytes: str
    label: str
    names: tuple[str, ...] | None = None
    split: str | None = None
    group: str | None = None
    others: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def columns_of(path: Path, schema: Any, label: str | None = None) -> Columns:
    """Find the columns of a file.

    Images are bytes, or structs with a field ``bytes`` as in Hugging Face's `datasets`. Columns called ``image`` and
    ``label`` take precedence. Next is the only column of its kind: the one column of images, or the one that the file's
    metadata give classes. Last are other common names in tables (`tlaam.data.columns`).

    Args:
        path: path of the file, for messages.
        schema: its `pyarrow.Schema`.
        label: the label column, if it is given.

    Raises:
        DataError: no column qualifies, or several do.
    """
    kinds = {field.name: field.type for field in schema}
    if len(kinds) < len(schema):
        raise _fault(path, "names a column twice", "Keep one of them")
    named = _classes(schema)
    image = _image(path, kinds)
    taken = _label(path, kinds, named, image) if label is None else _given(path, kinds, label)
    _require_label_type(path, taken, kinds[taken])
    split, group = (
        ("split" if _is_text(kinds.get("split")) else None),
        ("group" if _is_plain(kinds.get("group")) else None),
    )
    split, group = (None if split == taken else split), (None if group in (taken, image) else group)
    notes = [f"Column '{image}' is read as 'image'."] if image != "image" else []
    notes += [f"Column '{taken}' is read as 'label'."] if taken != "label" else []
    rest = [name for name in kinds if name not in (image, taken, split, group)]
    inner = ".bytes" if kinds[image].num_fields else ""
    others = tuple(name for name in rest if _is_plain(kinds[name]))
    return Columns(f"{image}{inner}", taken, named.get(taken), split, group, others, tuple(rest), tuple(notes))


def _classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return class names by column, as Hugging Face's `datasets` writes them into a file's metadata."""
    try:
        features = json.loads((schema.metadata or {}).get(_METADATA, b"{}"))["info"]["features"]
        labels = {
            name: f["names"] for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: tuple(map(clean_name, names))
        for name, names in labels.items()
        if isinstance(names, list) and all(isinstance(given, str) for given in names)
    }


def _image(path: Path, kinds: dict[str, Any]) -> str:
    found = [name for name, kind in kinds.items() if _holds_bytes(kind)]
    if "image" in found or len(found) == 1:
        return "image" if "image" in found else found[0]
    if not found:
        texts = "image" in kinds and _is_text(kinds["image"])
        remedy = (
            "Where they are paths, write a CSV manifest" if texts else "Give Parquet with images' bytes in a column"
        )
        raise _fault(path, f"has no column of images' bytes; its columns are {listed_names(kinds)}", remedy)
    try:
        if taken := taken_for("image", found):
            return taken
    except AmbiguousColumnsError:
        pass
    raise _fault(path, f"has several columns of images, {listed_names(found)}", "Keep one, or call one of them 'image'")


def _label(path: Path, kinds: dict[str, Any], named: dict[str, tuple[str, ...]], image: str) -> str:
    others = [name for name, kind in kinds.items() if name != image and not _holds_bytes(kind)]
    if "label" in others:
        return "label"
    classes = [name for name in others if name in named]
    if len(classes) == 1:
        return classes[0]
    try:
        taken = None if classes else "labels" if "labels" in others else taken_for("label", others)
        several: Sequence[str] = classes
    except AmbiguousColumnsError as error:
        taken, several = None, error.args[1:]
    if taken:
        return taken
    if several:
        remedy = f"Write the one that is meant behind the path, as in '{path.name}:label={several[0]}'"
        raise _fault(path, f"has no column 'label', and {listed_names(several)} may be it", remedy)
    remedy = f"Write the column of the labels behind the path, as in '{path.name}:label=NAME'"
    raise _fault(path, f"has no column 'label'; its columns are {listed_names(kinds)}", remedy)


def _given(path: Path, kinds: dict[str, Any], label: str) -> str:
    if label not in kinds:
        hint = did_you_mean(label, kinds)
        raise _fault(
            path, f"has no column '{label}'; its columns are {listed_names(kinds)}", f"Write one of them.{hint}"
        )
    return label


def _require_label_type(path: Path, name: str, kind: Any) -> None:
    import pyarrow.types as of

    inner = kind.value_type if of.is_dictionary(kind) else kind
    if not (of.is_integer(inner) or _is_text(inner) or of.is_boolean(inner)):
        remedy = f"Write the one that is meant behind the path, as in '{path.name}:label=NAME'"
        raise _fault(path, f"holds no numbers or names of classes in column '{name}', but {kind}", remedy)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as of

    if of.is_struct(kind):
        places = [kind.field(number) for number in range(kind.num_fields)]
        return any(place.name == "bytes" and _is_binary(place.type) for place in places)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as of

    return bool(of.is_binary(kind) or of.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as of

    return kind is not None and bool(of.is_string(kind) or of.is_large_string(kind))


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as of

    return kind is not None and (_is_text(kind) or bool(of.is_integer(kind)) or bool(of.is_boolean(kind)))


def listed_names(names: Sequence[str] | dict[str, Any]) -> str:
    """Return the names of columns for a message, shortened if they are too long."""
    return shortened(", ".join(f"'{name}'" for name in names) or "none")


def _fault(path: Path, fault: str, remedy: str) -> DataError:
    return DataError(f"'{path}' {fault}. {remedy.rstrip('.')}.")


__all__ = ["Columns", "columns_of", "listed_names"]
