"""JSON and XML annotation files, read as a whole: any fault is a `DataError` that names the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from tlaam.data.names import clean_name
from tlaam.errors import DataError
from tlaam.utils.collector import collector_paused
from tlaam.utils.reading import require_regular
from tlaam.utils.text import shortened

LARGEST = 1 << 31
"""Largest annotation file that is read, in bytes."""
_HEAD = 1 << 16
_REMEDY = "Export it again."


class Place:
    """A place in a file: an entry of a list, by its number or name.

    Args:
        path: the file.
        entry: kind of the entry, such as ``image``; empty for the file itself.
        key: its number or name.
    """

    __slots__ = ("entry", "key", "path")

    def __init__(self, path: Path, entry: str = "", key: object = "") -> None:
        self.path, self.entry, self.key = path, entry, key

    def __str__(self) -> str:
        return f"'{self.path}' {shortened(f'{self.entry} {self.key}'.strip())}" if self.entry else f"'{self.path}'"

    def fault(self, fault: str, remedy: str = "Correct it.") -> DataError:
        """Return an error that names this place, what is wrong there and what to do."""
        return DataError(f"{self}: {shortened(fault, 1000)}. {remedy}")


def head_of(path: Path) -> str:
    """Return the beginning of a text file, without byte-order mark and space; an empty string if it cannot be read."""
    try:
        require_regular(path)
        with path.open("rb") as stream:
            start = stream.read(_HEAD)
    except OSError:
        return ""
    return start.decode(json.detect_encoding(start), "replace").lstrip("\ufeff \t\r\n")


@collector_paused()
def read_json(path: Path) -> Any:
    """Return what a JSON file in UTF-8, UTF-16 or UTF-32 holds.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    try:
        require_regular(path, LARGEST)
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}. Check the path and its rights.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is no UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except ValueError as error:
        raise DataError(f"'{path}' is no JSON: {shortened(str(error))}. {_REMEDY}") from error
    except RecursionError as error:
        raise DataError(f"'{path}' is nested too deeply. {_REMEDY}") from error
    except MemoryError as error:
        raise DataError(f"'{path}' needs more memory than there is. Split it into several.") from error


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file; entities are refused, since label tools do not declare any.

    Raises:
        DataError: it cannot be read, is not XML, or declares entities.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator=None)
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise DataError(f"'{path}' declares entities, which are not read. {_REMEDY}")

    parser.EntityDeclHandler = refuse
    try:
        require_regular(path, LARGEST)
        with path.open("rb") as stream:
            parser.ParseFile(stream)
        return builder.close()
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}. Check the path and its rights.") from error
    except (
        expat.ExpatError,
        LookupError,
        ValueError,
        AssertionError,
    ) as error:  # LookupError: unknown encodings
        raise DataError(f"'{path}' is no XML: {shortened(str(error))}. {_REMEDY}") from error


def entries_of(holder: Mapping[str, Any], name: str, path: Path, *, optional: bool = False) -> list[Mapping[str, Any]]:
    """Return the list of mappings that a mapping holds under a name.

    Raises:
        DataError: it is missing, or is something else.
    """
    if optional and name not in holder:
        return []
    if name not in holder:
        raise Place(path).fault(f"it lacks '{name}'", _REMEDY)
    return mappings(holder[name], name, path)


def mappings(value: Any, name: str, path: Path) -> list[Mapping[str, Any]]:
    """Return `value` if it is a list of mappings.

    Raises:
        DataError: it is something else; `name` is its name in the message.
    """
    if not isinstance(value, list):
        raise Place(path).fault(f"'{name}' is no list", _REMEDY)
    for number, entry in enumerate(value, start=1):
        if not isinstance(entry, Mapping):
            raise Place(path, f"'{name}'").fault(f"entry {number} is no object with names and values", _REMEDY)
    return value


def id_of(entry: Mapping[str, Any], name: str, place: Place) -> str:
    """Return an id, which is a number or a text, as text: programs write both for the same thing.

    Raises:
        DataError: it is missing or something else.
    """
    value = entry.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        found = (
            f"it has no '{name}'" if value is None else f"'{name}' is {shown(value)}, but must be a number or a text"
        )
        raise place.fault(found)
    try:
        return str(value)
    except ValueError as error:  # more digits than Python prints
        raise place.fault(f"'{name}' is a number of too many digits") from error


def name_of(value: Any, what: str, place: Place) -> str:
    """Return a class name in its clean spelling (`tlaam.data.names`).

    Raises:
        DataError: `value` is not a name, is empty, or holds what no file can store; `what` is its name in the message.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise place.fault(f"{what} is {shown(value)}, but must be a name")
    require_encodable(value, what, place)
    return clean_name(value)


def require_encodable(text: str, what: str, place: Place) -> None:
    """Check that text holds no halves of characters (lone surrogates).

    Raises:
        DataError: it does.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise place.fault(f"{what} {text[:80]!a} is no valid text") from error


def shown(value: Any) -> str:
    """Return a value as text for a message."""
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        return "a list" if isinstance(value, Sequence) else "an object"
    try:
        return shortened(ascii(value) if isinstance(value, str) else str(value), 80)
    except ValueError:  # a number of more digits than Python prints
        return "a number of too many digits"


__all__ = [
    "LARGEST",
    "Place",
    "entries_of",
    "head_of",
    "id_of",
    "mappings",
    "name_of",
    "read_json",
    "read_xml",
    "require_encodable",
    "shown",
]
