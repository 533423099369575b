"""``--taxonomy``, ``--promise``, ``--only`` and ``--prior``, of a file whose answers are known by hand.

It takes the mean of each colour, as a number from 0 to 255, for the score of a class: one more red than green is a red
probability of e / (1 + e), 73 %, of the two.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import FACTS as RED_GREEN_BLUE
from onnx_files import small_model, written
from PIL import Image

import tlaam
from tlaam.cli.main import main
from tlaam.errors import ConfigError, DataError, InputError
from tlaam.inference.engine import load_engine
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy

CLASSES = ("crow", "jay", "wren")
FACTS = {**RED_GREEN_BLUE, "classes": json.dumps(CLASSES)}
TABLE = """label,species,genus,family
crow,C. corone,Corvus,Corvidae
jay,G. glandarius,Garrulus,Corvidae
wren,T. troglodytes,Troglodytes,Troglodytidae
"""
E = float(np.e)
# Images of 22 crows and jays are right, with 95 %; of 22 jays 73 % say crow.
SURE = SharedAnswers.of(np.array([[0.95, 0.05, 0.0]] * 11 + [[0.05, 0.95, 0.0]] * 11 + [[0.73, 0.26, 0.01]] * 22))
HELD_OUT = HeldOutAnswers(np.array([0] * 11 + [1] * 33), SURE)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model, tables, and images of which the probabilities are known."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, colour in {"crow": (104, 100, 90), "jay-or-crow": (100, 100, 95), "wren": (90, 90, 99)}.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"no image")
    (tmp_path / "taxonomy.csv").write_text(TABLE)
    (tmp_path / "only.txt").write_text("Corvidae\n")
    (tmp_path / "prior.csv").write_text("label,weight\ncrow,1\njay,54.6\nwren,1\n")
    written(tmp_path / "model.onnx", small_model({**FACTS, "held_out": HELD_OUT.to_text()}))
    return tmp_path


def lines(place: Path, *options: object) -> dict[str, dict[str, Any]]:
    out = place / "out.jsonl"
    assert main([*map(str, ["predict", place / "model.onnx", place / "images", "--json", out, *options])]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {Path(row["path"]).stem: row for row in rows}


def test_answers_are_at_the_deepest_rank_that_is_sure_enough(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(place, "--taxonomy", place / "taxonomy.csv", "--promise", 0.9)
    shown, said = capsys.readouterr()
    assert (found["crow"]["rank"], found["crow"]["taxon"]) == ("species", "C. corone")
    assert found["crow"]["taxon_probability"] == pytest.approx(E**4 / (E**4 + 1), abs=1e-4)
    assert found["crow"]["lineage"] == {"species": "C. corone", "genus": "Corvus", "family": "Corvidae"}
    doubtful = found["jay-or-crow"]
    assert (doubtful["rank"], doubtful["taxon"], doubtful["lineage"]) == ("family", "Corvidae", {"family": "Corvidae"})
    assert doubtful["taxon_probability"] == pytest.approx(2 / (2 + np.exp(-5)), abs=1e-4)
    assert found["broken"]["predictions"] == [] and "rank" not in found["broken"]
    assert "species C. corone" in shown and "family Corvidae" in shown
    assert "answered at 2 species, 0 genus, 1 family; 0 without an answer (promise 0.9: species from 95.0%" in said
    assert "chosen on 44 held-out answers" in said


def test_without_any_of_it_answers_are_what_they_were(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(place)
    assert (
        not {"rank", "taxon", "lineage", "outside"} & set(found["crow"])
        and "sure enough" not in capsys.readouterr().out
    )


def test_a_promise_needs_no_taxonomy(place: Path) -> None:
    found = lines(place, "--promise", 0.9)
    assert (found["crow"]["rank"], found["crow"]["taxon"]) == ("label", "crow")
    doubtful = found["jay-or-crow"]
    assert (doubtful["rank"], doubtful["taxon"], doubtful["taxon_probability"], doubtful["lineage"]) == (
        None, None, None, {},
    )  # fmt: skip


def test_what_does_not_live_there_is_left_out_and_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--taxonomy", place / "taxonomy.csv", "--promise", 0.9, "--only", place / "only.txt")
    found = lines(place, *options)
    wren, said = found["wren"], capsys.readouterr().err
    assert [(row["label"], row["probability"]) for row in wren["predictions"][:2]] == [("crow", 0.5), ("jay", 0.5)]
    assert wren["outside"]["label"] == "wren" and wren["outside"]["probability"] == pytest.approx(0.99975, abs=1e-5)
    assert wren["rank"] is None, "nothing is said of what looks like something else"
    assert "outside" not in found["crow"] and found["crow"]["rank"] == "species"
    assert "1 image looks like what does not live there, such as wren with 100.0%" in said


def test_tables_keywords_folders_and_page_say_it_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ("--taxonomy", place / "taxonomy.csv", "--promise", 0.9, "--only", place / "only.txt")
    files = {"--csv": "a.csv", "--page": "a.html", "--sidecars": "xmp", "--sort-into": "sorted"}
    outputs = [word for option, name in files.items() for word in (option, place / name)]
    assert main(["predict", *map(str, (place / "model.onnx", place / "images", *ways, *outputs))]) == 0
    said = capsys.readouterr().err
    assert "answered at 1 species, 0 genus, 1 family; 1 without an answer." in said
    assert "1 image looks like what does not live there, such as wren with 100.0% (table and --json: outside)" in said
    with (place / "a.csv").open(newline="", encoding="utf-8") as stream:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(stream)}
    assert rows["crow"]["taxon"] == "C. corone" and float(rows["crow"]["taxon_probability"]) > 0.95
    assert rows["wren"]["outside"] == "wren" and float(rows["wren"]["outside_probability"]) > 0.99
    folders = {path.stem: path.parent.name for path in (place / "sorted").glob("*/*.png")}
    assert folders == {"crow": "C. corone", "jay-or-crow": "Corvidae", "wren": "_elsewhere"}
    keywords = {path.stem: path.read_text(encoding="utf-8") for path in (place / "xmp").glob("*.xmp")}
    assert "tlaam|Corvidae|Corvus|C. corone<" in keywords["crow"] and "tlaam|Corvidae<" in keywords["jay-or-crow"]
    assert "tlaam|elsewhere|wren<" in keywords["wren"]
    page = (place / "a.html").read_text(encoding="utf-8")
    assert "family Corvidae 100.0" in page and "looks like wren 100.0" in page


def test_a_list_may_name_what_the_model_does_not_know(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "list.txt").write_text("# birds of the valley\ncrow\njey\nPica pica\n")
    found = lines(place, "--only", place / "list.txt")
    said = capsys.readouterr().err
    assert "'jey' (did you mean 'jay'?), 'Pica pica' are none of the model's classes or taxa" in said
    assert [row["probability"] for row in found["crow"]["predictions"]] == [1, 0, 0]


def test_a_prior_turns_an_even_answer(place: Path) -> None:
    """A jay is e⁴ times as common, so that it is as probable as a crow of four more in red."""
    found = lines(place, "--prior", place / "prior.csv")
    assert found["jay-or-crow"]["predictions"][0]["label"] == "jay"
    assert found["jay-or-crow"]["predictions"][0]["probability"] == pytest.approx(54.6 / 55.6, abs=1e-3)
    assert found["crow"]["predictions"][0]["probability"] == pytest.approx(0.5, abs=1e-3)
    assert "rank" not in found["crow"], "nothing is promised"


def test_a_model_that_was_trained_with_a_taxonomy_answers_by_it(place: Path) -> None:
    (place / "t.csv").write_text(TABLE)
    from tlaam.taxonomy.files import read_taxonomy

    facts = {**FACTS, "held_out": HELD_OUT.to_text(), "taxonomy": read_taxonomy(place / "t.csv", CLASSES).to_text()}
    written(place / "model.onnx", small_model(facts))
    assert "rank" not in lines(place)["crow"], "44 answers are too few for a promise of 0.95"
    assert "rank" not in lines(place, "--only", place / "only.txt")["crow"]
    assert lines(place, "--promise", 0.9)["jay-or-crow"]["taxon"] == "Corvidae"
    many = HELD_OUT.of(np.repeat(np.arange(22), 3))
    written(place / "model.onnx", small_model({**facts, "held_out": many.to_text()}))
    found = lines(place)
    assert found["crow"]["taxon"] == "C. corone" and found["jay-or-crow"]["rank"] == "family"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--promise", "0.95"], "needs at least 45 held-out answers, and there are 44: 1 are missing"),
        (["--promise", "95"], "the promise is 95.0; it must be a share from 0.5 to 0.999"),
        (["--taxonomy", "missing.csv"], "'missing.csv' cannot be read"),
        (["--only", "taxonomy.csv"], "is none of the model's 3 classes"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_a_line(
    place: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert main(["predict", "model.onnx", "images", *options]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_an_older_model_makes_no_promise(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(place / "model.onnx", small_model(FACTS))
    options = ["--taxonomy", str(place / "taxonomy.csv")]
    assert main(["predict", str(place / "model.onnx"), str(place / "images"), *options]) == 1
    assert "keeps no answers for images that it had not seen" in capsys.readouterr().err
    (place / "only.txt").write_text("crow\njay\n")
    assert "rank" not in lines(place, "--only", place / "only.txt")["crow"], "a list of names needs none"


@pytest.mark.parametrize("name, text", [("held_out", "{}"), ("taxonomy", '{"ranks": ["a"], "taxa": [["x"]]}')])
def test_facts_of_a_file_are_believed_in_nothing(place: Path, name: str, text: str) -> None:
    from tlaam.errors import ModelError

    written(place / "model.onnx", small_model({**FACTS, name: text}))
    with pytest.raises(ModelError, match=rf"'{name}' of its metadata cannot be used"):
        load_engine(place / "model.onnx")


def test_very_many_images_are_answered_alike_and_kept_apart(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    asked = ["predict", str(place / "model.onnx"), str(place / "images"), "--into", str(place / "into")]
    by_rank = ["--taxonomy", str(place / "taxonomy.csv"), "--promise", "0.9"]
    assert main([*asked, *by_rank, "--format", "parquet", "--shard-size", "2"]) == 0
    tables = [pyarrow.parquet.read_table(part) for part in sorted((place / "into").glob("*.parquet"))]
    assert tables[0].schema == tables[1].schema
    rows = {Path(row["path"]).stem: row for table in tables for row in table.to_pylist()}
    assert (rows["crow"]["rank"], json.loads(rows["crow"]["lineage"])["family"]) == ("species", "Corvidae")
    assert rows["broken"]["rank"] is None
    capsys.readouterr()
    assert main([*asked, "--format", "parquet", "--shard-size", "2"]) == 1
    assert "begun with other answering" in capsys.readouterr().err


def test_python_does_all_of_it(place: Path) -> None:
    plain = tlaam.load(place / "model.onnx")
    image = place / "images" / "jay-or-crow.png"
    ranked = plain.answering(taxonomy=place / "taxonomy.csv", promise=0.9)
    prediction = ranked.predict(image)
    assert (prediction.rank, prediction.taxon, prediction.lineage) == ("family", "Corvidae", {"family": "Corvidae"})
    before = plain.predict(image)
    assert before.rank is None and before.taxon is None and before.lineage == {}, "the other stays as it was"
    here = plain.answering(only=["jay", "wren"], prior={"jay": 1, "wren": 1})
    found = here.predict(image)
    assert found.label == "jay" and found.score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-5)
    assert here.predict(place / "images" / "crow.png").outside == ("crow", pytest.approx(0.982, abs=1e-3))
    with pytest.raises(InputError, match="a taxonomy cannot be of type dict"):
        plain.answering(taxonomy={})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the promise is 2"):
        plain.answering(promise=2)
    with pytest.raises(DataError, match=r"'jayy' is none of .* Did you mean 'jay'\?"):
        plain.answering(only=["jayy"])
    assert Taxonomy.of_labels(CLASSES).ranks == ("label",)
