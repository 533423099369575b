"""Sidecars: read back by libxml2, and what they held before is there byte for byte."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lxml import etree

sys.path.insert(0, str(Path(__file__).parent))

from cards import ATTACKS, answer

from tlaam.errors import DataError
from tlaam.field.answer import Answer
from tlaam.field.xmp import keywords_of, sidecar_of, write_sidecar

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
}
RDF = f'xmlns:rdf="{SPACES["rdf"]}"'

LIGHTROOM = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- a note of mine -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="{SPACES["dc"]}"
    xmlns:lr="{SPACES["lr"]}" xmp:Rating="4">
   <dc:subject><rdf:Bag><rdf:li>garden</rdf:li><rdf:li>R&amp;D</rdf:li></rdf:Bag></dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>places|garden</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

OTHER_PREFIXES = f"""<r:RDF xmlns:r="{SPACES["rdf"]}"><r:Description r:about="uuid:1">
<d:subject xmlns:d="{SPACES["dc"]}"><r:Seq><r:li>fox</r:li></r:Seq></d:subject>
<own:thing xmlns:own="urn:x">é</own:thing></r:Description></r:RDF>""".encode()

START = f'<rdf:RDF {RDF}><rdf:Description xmlns:dc="{SPACES["dc"]}"'
END = "</rdf:Description></rdf:RDF>"


def keywords(path: Path) -> tuple[list[str], list[str]]:
    tree = etree.fromstring(path.read_bytes())
    flat = tree.xpath("//dc:subject/*/rdf:li/text()", namespaces=SPACES)
    deep = tree.xpath("//lr:hierarchicalSubject/*/rdf:li/text()", namespaces=SPACES)
    assert len(tree.xpath("//dc:subject", namespaces=SPACES)) <= 1
    return flat, deep


def test_a_new_sidecar_holds_the_keywords(tmp_path: Path) -> None:
    assert write_sidecar(tmp_path / "a.xmp", ["jay"], ["tlaam|jay"])
    assert keywords(tmp_path / "a.xmp") == (["jay"], ["tlaam|jay"])
    before = (tmp_path / "a.xmp").read_bytes()
    assert not write_sidecar(tmp_path / "a.xmp", ["jay"], ["tlaam|jay"])
    assert (tmp_path / "a.xmp").read_bytes() == before


@pytest.mark.parametrize(
    "before", [LIGHTROOM, b"\xef\xbb\xbf" + LIGHTROOM, LIGHTROOM.replace(b"\n", b"\r\n"), OTHER_PREFIXES]
)
def test_nothing_that_was_there_is_lost(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "a.xmp"
    path.write_bytes(before)
    old_flat, old_deep = keywords(path)
    assert old_flat in (["garden", "R&D"], ["fox"])
    assert write_sidecar(path, ["jay", "garden"], ["tlaam|jay"])
    assert keywords(path) == (
        [*old_flat, *(word for word in ("jay", "garden") if word not in old_flat)],
        [*old_deep, "tlaam|jay"],
    )
    rest = iter(path.read_bytes())
    assert all(byte in rest for byte in before), "the old content is no longer there, in its order"
    assert not write_sidecar(path, ["jay", "garden"], ["tlaam|jay"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "well-formed"),
        (b"no xml", "well-formed"),
        (LIGHTROOM[:-60], "well-formed"),
        (b"<a/>", "rdf:RDF"),
        (f"<rdf:RDF {RDF}/>".encode(), "empty tag"),
        (f'{START} dc:subject="a"/></rdf:RDF>'.encode(), "no list"),
        (f"{START}><dc:subject>a</dc:subject>{END}".encode(), "no list"),
        (f"{START}><dc:subject><rdf:Bag/></dc:subject>{END}".encode(), "empty tag"),
        (b'<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>', "document type"),
        (LIGHTROOM.decode().encode("utf-16"), "not UTF-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "ISO-8859-1"),
        (b"<a>" * 300 + b"</a>" * 300, "nested"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_as_it_is_and_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "odd.xmp"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"odd\.xmp is left as it is: .*{why}"):
        write_sidecar(path, ["jay"], ["tlaam|jay"])
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", [*ATTACKS, "a|b", "<b>&\"'", "\x00\x07", "\udcff"])
def test_any_name_is_a_keyword_of_two_levels(tmp_path: Path, name: str) -> None:
    flat, deep = keywords_of(answer("a.jpg", name))
    write_sidecar(tmp_path / "a.xmp", flat, deep)
    (word,), (path,) = keywords(tmp_path / "a.xmp")
    assert path == f"tlaam|{word}" and path.count("|") == 1 and word


def test_doubt_is_a_level_of_its_own() -> None:
    assert keywords_of(answer("a.jpg", "jay", verdict="sure"), "mine") == (["jay"], ["mine|jay"])
    assert keywords_of(answer("a.jpg", "jay", verdict="unsure")) == (["jay"], ["tlaam|unsure|jay"])
    assert keywords_of(answer("a.jpg", "jay", verdict="stranger")) == (["stranger"], ["tlaam|stranger"])
    assert keywords_of(Answer("a.jpg", error="broken")) == ([], [])


def test_names_of_sidecars() -> None:
    assert sidecar_of(Path("d/IMG_1.JPG"), "stem") == Path("d/IMG_1.xmp")
    assert sidecar_of(Path("d/IMG_1.JPG"), "full") == Path("d/IMG_1.JPG.xmp")


def test_a_sidecar_in_capitals_is_found(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.XMP").write_bytes(LIGHTROOM)
    assert sidecar_of(tmp_path / "IMG_1.JPG", "stem").read_bytes() == LIGHTROOM
    (tmp_path / "IMG_1.JPG.XMP").write_bytes(OTHER_PREFIXES)
    assert sidecar_of(tmp_path / "IMG_1.JPG", "full").read_bytes() == OTHER_PREFIXES


def test_a_new_one_elsewhere_begins_with_what_lies_beside_the_photograph(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_bytes(LIGHTROOM)
    assert write_sidecar(tmp_path / "away" / "a.xmp", ["jay"], ["tlaam|jay"], based_on=tmp_path / "a.xmp")
    assert keywords(tmp_path / "away" / "a.xmp")[1] == ["places|garden", "tlaam|jay"]
    assert (tmp_path / "a.xmp").read_bytes() == LIGHTROOM


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.xmp").write_bytes(LIGHTROOM)
    (tmp_path / "a.xmp").symlink_to("real.xmp")
    write_sidecar(tmp_path / "a.xmp", ["jay"], ["tlaam|jay"])
    assert (tmp_path / "a.xmp").is_symlink() and "jay" in keywords(tmp_path / "real.xmp")[0]
