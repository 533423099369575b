"""An installation that has what `pip install tlaam` brings and nothing else: it predicts as a run folder does.

By itself that is a folder of links to those packages, which an interpreter without any others is given. With
`make test-light` it is an environment of its own, whose interpreter `TLAAM_LIGHT_PYTHON` names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement
from PIL import Image
from stress.colours import write_model

from tlaam.cli.main import VERBS, main
from tlaam.inference.onnx_file import CHECKSUM
from tlaam.reference.file import read_index, write_index
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.extras import SERVE, TEACH, TRAIN, install_hint

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "examples" / "api_tour.py"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = "from tlaam.cli.main import main; sys.exit(main(sys.argv[1:]))"


def core_requirements() -> list[str]:
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.M)
    return re.findall(r'"(.+)"', listed)


def packages_of(requirements: list[str]) -> set[str]:
    """Return the distributions that these need, and those need, and so on, as they are installed here."""
    found: set[str] = set()
    pending = requirements
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(requirement.name)
            pending += distribution(requirement.name).requires or []
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A function that runs a program with arguments there, in a folder."""
    python, paths = os.environ.get("TLAAM_LIGHT_PYTHON"), []
    if python is None:
        links = tmp_path_factory.mktemp("light")
        for name in packages_of(core_requirements()):
            package = distribution(name)
            for top in {file.parts[0] for file in package.files or () if ".." not in file.parts}:
                (links / top).symlink_to(package.locate_file(top))  # type: ignore[arg-type]
        paths = [str(ROOT / "src"), str(links)]

    def run(program: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *((python, "-I") if python else (sys.executable, "-I", "-S")),
                "-c",
                f"import sys; sys.path += {paths!r}\n{program}",
                *map(str, arguments),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def pictures(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of several kinds, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for source in sorted(photos.rglob("*.png"))[::3]:
        (folder / f"{source.parent.name}-{source.name}").write_bytes(source.read_bytes())
    with Image.open(photos / "jay" / "0.png") as image:
        image.convert("L").save(folder / "grey.png")
        turned = Image.Exif()
        turned[0x0112] = 6
        image.resize((900, 700), Image.Resampling.BICUBIC).save(folder / "large-and-turned.jpg", exif=turned)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_there_is_nothing_of_what_training_needs(light: Run, tmp_path: Path) -> None:
    program = f"from importlib.util import find_spec; print([name for name in {[*TRAIN]!r} if find_spec(name)])"
    done = light(program, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_answers_and_pictures_are_those_of_the_run_folder(
    light: Run, exported_run: Path, exported_file: Path, pictures: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    options = [pictures, "--batch-size", "3", "--top-k", "2"]
    here = [*options, "--json", tmp_path / "here.jsonl", "--overlays", tmp_path / "here", "--precision", "32-true"]
    assert main([*map(str, ["predict", exported_run, *here])]) == 0
    shown, said = capfd.readouterr()
    there = [*options, "--json", "there.jsonl", "--overlays", "there"]
    done = light(COMMAND, "predict", exported_file, *there, folder=tmp_path)
    assert done.returncode == 0 and done.stderr == said and "1 of 9 images could not be read" in said

    def without_figures(table: str) -> str:
        return re.sub(r"\d+\.\d%", "%", table)

    assert without_figures(done.stdout) == without_figures(shown)
    files = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    expected, found = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert len(expected) == len(found) == 9
    for wanted, got in zip(expected, found, strict=True):
        assert got.keys() == wanted.keys() and (got["path"], got["error"]) == (wanted["path"], wanted["error"])
        if wanted["error"] is not None:
            assert got == wanted
            continue
        assert got["confidence"] == wanted["confidence"] in ("sure", "unsure", "stranger")
        assert abs(got["familiarity"] - wanted["familiarity"]) < 1e-3
        assert list(got["branches"]) == list(wanted["branches"]) == ["raw", "object", "parts"]
        for rows, others in zip(
            [got["predictions"], *got["branches"].values()],
            [wanted["predictions"], *wanted["branches"].values()],
            strict=True,
        ):
            assert [row["label"] for row in rows] == [row["label"] for row in others]
            np.testing.assert_allclose(
                [row["probability"] for row in rows], [row["probability"] for row in others], atol=1e-4
            )
        width, height = (700, 900) if "turned" in wanted["path"] else (80, 60)
        boxes = np.array([got["object_box"], *got["part_boxes"]])
        np.testing.assert_allclose(boxes, [wanted["object_box"], *wanted["part_boxes"]], atol=0.1)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (width + 0.01, height + 0.01)).all()
        assert Path(got["overlay"]).name == Path(wanted["overlay"]).name
        pixels, others = (np.asarray(Image.open(tmp_path / line["overlay"]), dtype=int) for line in (got, wanted))
        assert pixels.shape == others.shape and (np.abs(pixels - others) <= 2).mean() > 0.999
    assert max(line["object_box"][3] for line in found if line["object_box"]) > 96, "boxes were left on the input image"


def test_the_embeddings_are_those_of_the_run_folder(
    light: Run, exported_run: Path, exported_file: Path, photos: Path, tmp_path: Path
) -> None:
    here = ["--out", tmp_path / "here.npz", "--precision", "32-true"]
    assert main([*map(str, ["embed", exported_run, photos, *here])]) == 0
    done = light(COMMAND, "embed", exported_file, photos, "--out", "there.npz", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(tmp_path / "here.npz") as expected, np.load(tmp_path / "there.npz") as found:
        assert sorted(found) == sorted(expected) and len(found["names"]) == 18
        for name in ("names", "labels", "splits", "predicted"):
            assert found[name].tolist() == expected[name].tolist()
        np.testing.assert_allclose(found["embeddings"], expected["embeddings"], rtol=1e-3, atol=1e-4)


def test_the_reader_of_the_docs_needs_onnx_runtime_alone(
    light: Run, exported_file: Path, photos: Path, tmp_path: Path
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 20 and "tlaam" not in program
    (tmp_path / "model.onnx").write_bytes(exported_file.read_bytes())
    Image.open(photos / "jay" / "0.png").save(tmp_path / "photo.jpg")
    done = light(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(crow|jay|wren) [01]\.\d+\nobject \[.*\]\n", done.stdout)


def test_a_page_is_made_of_an_exported_file(light: Run, exported_file: Path, tmp_path: Path) -> None:
    program = """
from pathlib import Path
from tlaam.inference.engine import load_engine
from tlaam.pocket.page import write_page
from tlaam.pocket.runtime import Runtime
from tlaam.pocket.texts import page_texts
page = write_page(load_engine(sys.argv[1]), Path("site"), Runtime(b"", b""), page_texts())
print(len(page.sizes))"""
    done = light(program, exported_file, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert done.stdout == f"{len(files)}\n" and (tmp_path / "site" / "model" / "pictures.bin").stat().st_size > 1000


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_works_or_says_in_one_line_what_it_needs(
    light: Run, exported_file: Path, exported_run: Path, photos: Path, tmp_path: Path, verb: str
) -> None:
    calls = {
        "predict": [exported_run, photos],
        "embed": [exported_run, photos, "--out", "f.npz"],
        "check": [photos],
        "download": ["nothing", "data"],
        "undo": ["no.log"],
        "export": ["x", "--out", "x.onnx"],
    }
    done = light(COMMAND, verb, *calls.get(verb, ["x"]), folder=tmp_path)
    refused = (done.returncode, done.stdout, done.stderr)
    if verb == "check":
        assert done.returncode == 0 and "18" in done.stdout and done.stderr == ""
    elif verb == "download":
        assert done.returncode == 1 and done.stderr.startswith("tlaam: ") and "cub" in done.stderr
    elif verb == "undo":
        assert refused[:2] == (1, "") and "'no.log'" in done.stderr and list(tmp_path.iterdir()) == []
    elif verb in ("predict", "embed"):
        assert refused == (
            2,
            "",
            f"tlaam: a run folder needs PyTorch: {install_hint('train')}\n",
        )
    elif verb in ("serve", "demo"):
        needed = ", ".join(SERVE.values())
        assert refused == (
            2,
            "",
            f"tlaam: tlaam {verb} needs {needed}: {install_hint('serve')}\n",
        )
    elif verb in ("add-class", "rename", "merge", "remove"):
        needed = ", ".join(TEACH.values())
        assert refused == (2, "", f"tlaam: tlaam {verb} needs {needed}: {install_hint('teach')}\n")
    else:
        extra = {"clean": "clean", "export": "export", "quickstart": "quickstart"}.get(verb, "train")
        assert refused == (
            2,
            "",
            f"tlaam: tlaam {verb} needs PyTorch: {install_hint(extra)}\n",
        )


def test_a_card_is_answered_for_and_sorted(light: Run, photos: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", ("red", "green", "blue"))
    made = ["--csv", "a.csv", "--page", "a.html", "--timelapse", "a.json", "--sidecars", "xmp", "--sort-into", "sorted"]
    done = light(COMMAND, "predict", model, photos, *made, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 18
    assert len(list((tmp_path / "sorted").glob("*/*.png"))) == len(list((tmp_path / "xmp").rglob("*.xmp"))) == 18
    assert light(COMMAND, "undo", "sorted/sorted-001.jsonl", folder=tmp_path).returncode == 0
    assert list((tmp_path / "sorted").glob("*/*")) == []
    refused = light(COMMAND, "predict", model, photos, "--xlsx", "a.xlsx", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"tlaam: --xlsx needs XlsxWriter: {install_hint('field')}; --csv goes without.\n"


def test_the_same_in_python(light: Run, exported_file: Path, photos: Path, tmp_path: Path) -> None:
    program = """
import tlaam
model, photo = sys.argv[1:]
classifier = tlaam.load(model)
prediction = classifier.predict(photo)
assert prediction.top() == classifier.predict([photo])[0].top() and prediction.object_box.shape == (4,)
print(hasattr(tlaam, "fit"))
try:
    tlaam.fit
except tlaam.TlaamError as error:
    print(error)
"""
    done = light(program, exported_file, photos / "jay" / "0.png", folder=tmp_path)
    assert (done.stdout, done.stderr) == (f"False\ntlaam.fit needs PyTorch: {install_hint('train')}\n", "")


def test_the_tour_of_the_python_interface(light: Run, exported_file: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(exported_file, tmp_path / "model.onnx")
    shutil.copy(exported_file.with_name("model.gallery.npz"), tmp_path)
    program = f"import runpy; sys.argv[0] = 'tour'; runpy.run_path({str(TOUR)!r}, run_name='__main__')"
    done = light(program, tmp_path / "model.onnx", photos / "jay" / "0.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused:") == 7 and "answered: Cannot read image 'no-such-photo.jpg'" in done.stdout


def test_answers_by_ranks_need_no_torch(
    light: Run, exported_run: Path, exported_file: Path, pictures: Path, tmp_path: Path
) -> None:
    """A file with held-out answers and a taxonomy, told as the run folder with the same index tells them."""
    tree = Taxonomy(("crow", "jay", "wren"), ("label", "family"), (("crow", "C."), ("jay", "C."), ("wren", "T.")))
    of = np.eye(3)[np.arange(60) % 3] * 0.5 + 0.5 / 3
    held_out = HeldOutAnswers(np.arange(60) % 3, SharedAnswers.of(of))
    run = shutil.copytree(exported_run, tmp_path / "run")
    write_index(replace(read_index(run / "gallery.npz"), held_out=held_out, taxonomy=tree), run / "gallery.npz")
    model = onnx.load(exported_file)
    facts = {entry.key: entry.value for entry in model.metadata_props if entry.key not in (CHECKSUM, "gallery")}
    facts |= {"held_out": held_out.to_text(), "taxonomy": tree.to_text()}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "only.txt").write_text("C.\n")
    asked = [pictures, "--promise", "0.9", "--only", "only.txt"]
    done = light(COMMAND, "predict", "model.onnx", *asked, "--json", "there.jsonl", folder=tmp_path)
    assert done.returncode == 0 and "answered at" in done.stderr
    here = [*asked[:3], "--only", tmp_path / "only.txt", "--json", tmp_path / "here.jsonl", "--precision", "32-true"]
    assert main([*map(str, ["predict", run, *here])]) == 0
    files = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    expected, found = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    keys = ("rank", "taxon", "lineage", "verdict")
    assert [[row.get(key) for key in keys] for row in found] == [[row.get(key) for key in keys] for row in expected]
    assert all("rank" in row for row in found if row["error"] is None)
    assert {row["predictions"][0]["label"] for row in found if row["error"] is None} <= {"crow", "jay"}
