"""Taxonomies: their tables, the order of ranks, and what is no tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlaam.errors import DataError
from tlaam.taxonomy.files import read_names, read_taxonomy, read_weights
from tlaam.taxonomy.tree import Taxonomy

BIRDS = ("albatross", "crested", "least", "ani")
TABLE = """label,family,genus,species
ani,Cuculidae,Crotophaga,C. sulcirostris
crested,Alcidae,Aethia,A. cristatella
least,Alcidae,Aethia,A. pusilla
albatross,,Phoebastria,P. nigripes
heron,Ardeidae,Ardea,A. cinerea
"""


def taxonomy(tmp_path: Path, text: str, classes: tuple[str, ...] = BIRDS) -> Taxonomy:
    (tmp_path / "taxonomy.csv").write_text(text, encoding="utf-8")
    return read_taxonomy(tmp_path / "taxonomy.csv", classes)


def test_a_table_is_read_for_the_models_classes(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, TABLE)
    assert found.ranks == ("species", "genus", "family") and found.classes == BIRDS
    assert found.taxa[1] == ("A. cristatella", "Aethia", "Alcidae") and found.taxa[0][2] == ""
    assert found.codes.tolist() == [[0, 1, 2, 3], [0, 1, 1, 2], [0, 1, 1, 2]]
    assert found.is_named[2].tolist() == [False, True, True, True]
    assert found.lineage(1, 2) == {"genus": "Aethia", "family": "Alcidae"}
    assert found.lineage(1, 0) == {"genus": "Phoebastria"}, "its family is not known"
    assert found.members("Aethia") == {1, 2} and found.members("ani") == {3} and found.members("heron") == set()


def test_a_taxon_that_tells_not_all_classes_apart_is_not_the_deepest_rank(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, "label,genus\nmale,Aethia\nfemale,Aethia\n", ("female", "male"))
    assert found.ranks == ("label", "genus") and found.taxa == (("female", "Aethia"), ("male", "Aethia"))
    unnamed = taxonomy(tmp_path, "label,species,genus\na,A. x,A\nb,,A\n", ("a", "b"))
    assert unnamed.ranks == ("label", "species", "genus"), "b would have no name"


@pytest.mark.parametrize("columns", ["label,strain,clade", "label,clade,strain"])
def test_ranks_of_other_names_are_ordered_by_how_many_taxa_they_have(tmp_path: Path, columns: str) -> None:
    places = [columns.split(",").index(name) for name in ("strain", "clade")]
    rows = [["a", "", ""], ["b", "", ""], ["c", "", ""]]
    for number, row in enumerate(rows):
        row[places[0]], row[places[1]] = f"s{number}", "k" if number else "m"
    text = "\n".join([columns, *map(",".join, rows)])
    assert taxonomy(tmp_path, text, ("a", "b", "c")).ranks == ("strain", "clade")


def test_what_is_known_of_a_taxon_is_known_of_all_its_classes(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, "label,species,genus,family\na,x,G,F\nb,y,G,\n", ("a", "b"))
    assert found.taxa[1] == ("y", "G", "F")


def test_letters_are_composed_and_separators_found(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, "\ufeffLabel;Genus\nMe\u0301sange;Parus\nPie;Pica\n", ("M\u00e9sange", "Pie"))
    assert found.ranks == ("Genus",) and found.taxa == (("Parus",), ("Pica",))


@pytest.mark.parametrize(
    "text, message",
    [
        (TABLE.replace("ani,", "anni,"), r"no row for class 'ani'\. Did you mean 'anni'\?"),
        (TABLE + "ani,Cuculidae,Crotophaga,C. ani\n", r"line 7: label 'ani' for the second time, with other taxa"),
        (TABLE.replace("least,Alcidae", "least,Cuculidae"), r"genus 'Aethia' under two taxa of rank family, 'Alcidae'"),
        (TABLE.replace("label", "class"), r"needs one column 'label'; it is not among its columns"),
        (TABLE.replace("species\n", "species,label\n"), r"needs one column 'label'; it is twice"),
        ("label\nani\n", r"no column beside 'label'"),
        (TABLE.replace("family,genus", "genus,genus"), r"give each rank one name"),
        (TABLE + ",Cuculidae,Crotophaga,C. ani\n", r"line 7: no label"),
        (TABLE + "crow,Corvidae\n", r"line 7: 2 cells"),
        ("label,kin,tone\nalbatross,a,b\ncrested,c,d\nleast,e,f\nani,g,h\n", r"kin 4, tone 4"),
        ("label,x,note,y\nalbatross,a,1,p\ncrested,b,2,p\nleast,a,3,p\nani,a,4,p\n", r"x 2, note 4, y 1"),
    ],
)  # fmt: skip
def test_what_is_no_tree_is_refused_in_a_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        taxonomy(tmp_path, text)
    assert "taxonomy.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"label,genus\n\xff\xfe\x80,a\n")
    for name in ("missing.csv", "binary.csv", "."):
        with pytest.raises(DataError, match=r"cannot be read|no text"):
            read_taxonomy(tmp_path / name, BIRDS)


def test_it_is_kept_as_text(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, TABLE)
    assert Taxonomy.from_text(found.to_text(), BIRDS) == found
    plain = Taxonomy.of_labels(BIRDS)
    assert plain.ranks == ("label",) and Taxonomy.from_text(plain.to_text(), BIRDS) == plain


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "ranks"),
        ('{"ranks": [], "taxa": []}', "ranks"),
        ('{"ranks": ["a", "a"], "taxa": [["x", "y"], ["z", "y"]]}', "ranks"),
        ('{"ranks": ["a"], "taxa": [["x"]]}', "2 classes"),
        ('{"ranks": ["a"], "taxa": [["x"], ["x"]]}', "apart"),
        ('{"ranks": ["a"], "taxa": [["x"], [""]]}', "apart"),
        ('{"ranks": ["a"], "taxa": [["x"], ["y", "z"]]}', "as many taxa"),
        ('{"ranks": ["a"], "taxa": [["x"], [1]]}', "as many taxa"),
        ('{"ranks": ["a", "b", "c"], "taxa": [["x", "g", "f"], ["y", "g", "h"]]}', "two taxa"),
        ('{"ranks": ["a", "b", "c"], "taxa": [["x", "g", "f"], ["y", "g", ""]]}', "no tree"),
        ("{", "Expecting"),
    ],
)
def test_text_from_somewhere_else_is_believed_in_nothing(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Taxonomy.from_text(text, ("p", "q"))


def test_lists_and_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("\ufeffani\n\n  least \n", encoding="utf-8")
    assert read_names(tmp_path / "only.txt") == ["ani", "least"]
    (tmp_path / "prior.csv").write_text("weight;label\n3;ani\n0.5;least\n0;crested\n")
    assert read_weights(tmp_path / "prior.csv") == {"ani": 3.0, "least": 0.5, "crested": 0.0}
    (tmp_path / "only.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"only\.txt' names nothing"):
        read_names(tmp_path / "only.txt")
    for row, message in (
        ("ani;-1", "weight of 'ani' is '-1'"), ("ani;much", "is 'much'"), ("ani;inf", "is 'inf'"), ("ani", "is ''"),
        ("ani;1\nani;2", "line 3: label 'ani' for the second time"),
    ):  # fmt: skip
        (tmp_path / "prior.csv").write_text(f"label;weight\n{row}\n")
        with pytest.raises(DataError, match=message):
            read_weights(tmp_path / "prior.csv")


@pytest.mark.parametrize("name, ranks, deepest", [("cub10", 3, 10), ("flowers17", 2, 17)])
def test_the_taxonomies_of_the_benchmarks_are_trees(name: str, ranks: int, deepest: int) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "taxonomies" / f"{name}.csv"
    classes = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    found = read_taxonomy(path, classes)
    assert len(found.ranks) == ranks and found.ranks[-1] == "family" and len(set(found.codes[0])) == deepest
    assert all(all(row) for row in found.taxa)
