"""Adding keywords to the XML of a sidecar by inserting text: existing content is kept byte for byte.

Parsing into objects and serialising again would lose comments, the order of attributes and the prefixes chosen by other
programs. Here, the parser only reports positions in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from tlaam.errors import DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LR = "http://ns.adobe.com/lightroom/1.0/"
META = "adobe:ns:meta/"

_BAGS = {f"{RDF} {kind}" for kind in ("Bag", "Seq", "Alt")}
_PROPERTIES = {f"{DC} subject": "dc:subject", f"{LR} hierarchicalSubject": "lr:hierarchicalSubject"}
_CLOSING = re.compile(rb"</([^\s<>:]+:)?(RDF|Bag|Seq|Alt)\s*>")
_DEPTH = 200
_NEW = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="{META}">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def with_keywords(content: bytes | None, flat: Sequence[str], deep: Sequence[str]) -> bytes:
    """Return a sidecar's content with the missing keywords added; a new sidecar for None.

    Args:
        content: UTF-8.
        flat: keywords for ``dc:subject``.
        deep: keywords for ``lr:hierarchicalSubject``.

    Raises:
        DataError: the content is not XMP that this parser understands; the message says why.
    """
    before = _NEW.encode() if content is None else content
    layout = _Layout(before)
    insertions: dict[int, str] = {}
    blocks = ""
    for name, keywords in (("dc:subject", flat), ("lr:hierarchicalSubject", deep)):
        found = layout.lists.get(name)
        missing = [word for word in keywords if found is None or word not in found.words]
        if not missing:
            continue
        items = "".join(f'<rdf:li xmlns:rdf="{RDF}">{escape(word)}</rdf:li>' for word in missing)
        if found is None:
            blocks += f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>".replace(f' xmlns:rdf="{RDF}"', "")
        else:
            insertions[found.end] = items
    if blocks:
        spaces = f'xmlns:rdf="{RDF}" xmlns:dc="{DC}" xmlns:lr="{LR}"'
        about = quoteattr(layout.about)
        insertions[layout.end] = f"<rdf:Description rdf:about={about} {spaces}>{blocks}</rdf:Description>\n"
    after, last = b"", 0
    for place in sorted(insertions):
        after += before[last:place] + insertions[place].encode()
        last = place
    return after + before[last:]


@dataclass
class _List:
    """The keywords of one property, and the position in the file where its list ends."""

    end: int = -1
    words: list[str] = field(default_factory=list)


class _Layout:
    """The positions in a sidecar of its keyword lists and of the end of its RDF."""

    def __init__(self, content: bytes) -> None:
        self.lists: dict[str, _List] = {}
        self.about, self.end = "", -1
        self._content = content
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._parse()
        if self.end < 0:
            raise DataError("it has no rdf:RDF.")
        for name, found in self.lists.items():
            if found.end < 0:
                raise DataError(f"its {name} is no list.")
        for end in (self.end, *(found.end for found in self.lists.values())):
            if not _CLOSING.match(content, end):
                raise DataError("a list or its rdf:RDF is an empty tag.")

    def _parse(self) -> None:
        try:
            self._content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError("it is not UTF-8.") from error
        if re.search(rb"<!\s*(DOCTYPE|ENTITY)", self._content, re.IGNORECASE):
            raise DataError("it declares a document type, which no sidecar needs.")
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.XmlDeclHandler = self._declared
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._stop
        self._parser.CharacterDataHandler = self._characters
        try:
            self._parser.Parse(self._content, True)
        except expat.ExpatError as error:
            raise DataError(f"it is no well-formed XML ({error}).") from error

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.casefold() not in ("utf-8", "utf8", "us-ascii"):
            raise DataError(f"it is written in {encoding}, not in UTF-8.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._path[-1] if self._path else ""
        if len(self._path) > _DEPTH:
            raise DataError("it is nested too deeply.")
        if parent == f"{RDF} RDF":
            self.about = self.about or attributes.get(f"{RDF} about", "")
        if parent == f"{RDF} Description" and name in _PROPERTIES:
            if _PROPERTIES[name] in self.lists:
                raise DataError(f"it has two lists of {_PROPERTIES[name]}.")
            self.lists[_PROPERTIES[name]] = _List()
        if name == f"{RDF} Description":
            for given in attributes.keys() & _PROPERTIES.keys():
                raise DataError(f"its {_PROPERTIES[given]} is no list.")
        self._path.append(name)
        if name == f"{RDF} li" and self._inside():
            self._text = []

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _stop(self, name: str) -> None:
        found = self._inside()
        if found is not None and name == f"{RDF} li":
            found.words.append("".join(self._text or []))
            self._text = None
        self._path.pop()
        if name in _BAGS and self._path and self._path[-1] in _PROPERTIES:
            self.lists[_PROPERTIES[self._path[-1]]].end = self._parser.CurrentByteIndex
        elif name == f"{RDF} RDF" and self.end < 0:
            self.end = self._parser.CurrentByteIndex

    def _inside(self) -> _List | None:
        """Return the list that the current entry belongs to."""
        if len(self._path) < 3 or self._path[-2] not in _BAGS:
            return None
        name = _PROPERTIES.get(self._path[-3])
        return None if name is None else self.lists.get(name)
