"""The folder of the page: whole, named by hashes, closed to other hosts; names are text, others' files stay."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import colour_file

sys.path.insert(0, str(Path(__file__).parent))

from stand_in import STAND_IN

from tlaam.cli.main import main
from tlaam.errors import ExportError, ModelError
from tlaam.inference.engine import Engine, load_engine
from tlaam.pocket.page import LIST, POLICY, write_page
from tlaam.pocket.texts import page_texts
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import OODDetector
from tlaam.utils.checksums import is_intact

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</template>{{title}}")


def with_index(engine: Engine) -> Engine:
    """Return an engine with a reference index of three pictures."""
    buffer = BytesIO()
    Image.new("RGB", (8, 6), "teal").save(buffer, "JPEG")
    detector = OODDetector(np.eye(3, 4, dtype=np.float16), 0.5, 0.7)
    embeddings, labels = np.eye(3, 4, dtype=np.float16), np.arange(3, dtype=np.int32)
    names = tuple(f"secret-folder/{number}.jpg" for number in range(3))
    engine.use_index(ReferenceIndex(detector, engine.classes, embeddings, labels, names, (buffer.getvalue(),) * 3))
    return engine


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "site"
    write_page(with_index(load_engine(colours)), out, STAND_IN, page_texts(), title="Colours & more")
    return out


def test_every_file_is_listed_with_its_size_and_hash(folder: Path) -> None:
    files = contents(folder)
    listed = json.loads(files[LIST])["files"]
    assert set(files) == set(listed) | {LIST, "sw.js"}
    for path, facts in listed.items():
        assert facts == {"bytes": len(files[path]), "sha256": hashlib.sha256(files[path]).hexdigest()}, path
    (kept,) = re.findall(r"^const FILES = (.*);$", files["sw.js"].decode(), re.MULTILINE)
    own = {LIST: {"bytes": len(files[LIST]), "sha256": hashlib.sha256(files[LIST]).hexdigest()}}
    assert json.loads(kept) == listed | own, "the service worker keeps other files than those"


def test_the_model_is_the_exported_file_unchanged(folder: Path, colours: Path) -> None:
    assert (folder / "model" / "model.onnx").read_bytes() == colours.read_bytes()
    facts = json.loads((folder / "model" / "model.json").read_text())
    assert is_intact(facts) and facts["model_sha256"] == hashlib.sha256(colours.read_bytes()).hexdigest()
    assert (facts["classes"], facts["source_size"]) == (["red", "green", "blue"], 32)
    assert facts["look_alikes"]["labels"] == [0, 1, 2]
    assert not any(b"secret-folder" in content for content in contents(folder).values()), (
        "names of training files are told"
    )


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.policies: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.found += [values[name] or "" for name in ("href", "src") if name in values]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(values["content"] or "")
        self.inline += tag == "style" or (tag == "script" and "src" not in values) or "style" in values
        self.inline += any(name.startswith("on") for name in values)


def test_the_policy_allows_no_other_host_and_nothing_inline(folder: Path) -> None:
    page = _Links()
    page.feed((folder / "index.html").read_text())
    assert page.policies == [POLICY] and page.inline == 0
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules.pop("default-src") == "'none'"
    allowed = {word for rule in rules.values() for word in rule.split()}
    assert allowed == {"'self'", "'none'", "'wasm-unsafe-eval'", "blob:", "data:"}
    assert rules["connect-src"] == rules["style-src"] == "'self'"
    assert all((folder / link).is_file() for link in page.found if link), page.found
    ours = {path: text for path, text in contents(folder).items() if path.endswith((".js", ".css", ".html"))}
    for path, text in ours.items():
        assert path == "runtime/ort.js" or not re.search(rb"https?://(?!www\.w3\.org/)", text), path


def test_what_is_imported_is_there(folder: Path) -> None:
    for script in (folder / "app").glob("*.js"):
        for name in re.findall(r'from "(\.[^"]+)"', script.read_text()):
            assert (script.parent / name).resolve().is_file(), f"{script.name}: {name}"


def test_the_manifest_lets_a_phone_install_it(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["name"] == "Colours & more" and manifest["display"] == "standalone"
    assert manifest["start_url"] == manifest["scope"] == "./"
    sides = set()
    for icon in manifest["icons"]:
        with Image.open(folder / icon["src"]) as image:
            assert f"{image.width}x{image.height}" == icon["sizes"] and image.format == "PNG"
            corner = image.convert("RGBA").getpixel((0, 0))
            assert isinstance(corner, tuple) and (corner[3] == 255) == (icon["purpose"] == "maskable")
            sides.add((image.width, icon["purpose"]))
    assert {(192, "any"), (512, "any"), (512, "maskable")} <= sides


def test_every_text_is_there_and_used(folder: Path) -> None:
    texts = json.loads((folder / "app" / "texts.json").read_text())
    scripts = "".join(script.read_text() for script in (folder / "app").glob("*.js"))
    asked = set(re.findall(r'\b(?:say|said)\("([\w.]+)"', scripts))
    assert asked <= set(texts), "a script asks for a text that is none"
    source = "".join(
        (Path(__file__).parents[2] / "src" / "tlaam" / name).read_text()
        for name in ("pocket/page/index.html", "service/static/card.html")
    )
    filled = set(re.findall(r"\{\{([\w.]+)\}\}", source))
    families = {f"{family}." for family in re.findall(r"(?:say|said)\(`([\w.]+)\.\$", scripts)}
    unused = {
        name for name in set(texts) - asked - filled - {"lang", "dir"} if not name.startswith(tuple(families))
    }  # fmt: skip
    assert unused == set()


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    engine = load_engine(colour_file(tmp_path / "hostile.onnx", HOSTILE))
    write_page(engine, tmp_path / "site", STAND_IN, page_texts(), title=HOSTILE[1])
    page = (tmp_path / "site" / "index.html").read_text()
    assert page.count("<script") == 1 and "onerror=alert(1)>" not in page
    assert json.loads((tmp_path / "site" / "model" / "model.json").read_text())["classes"] == list(HOSTILE)


def test_pictures_are_left_out_on_request(colours: Path, folder: Path, tmp_path: Path) -> None:
    assert b"\xff\xd8" in (folder / "model" / "pictures.bin").read_bytes()
    page = write_page(with_index(load_engine(colours)), tmp_path / "site", STAND_IN, page_texts(), pictures=False)
    assert "model/pictures.bin" not in page.sizes and "model/look-alikes.bin" in page.sizes
    assert not any(b"\xff\xd8\xff" in content for content in contents(tmp_path / "site").values())


def test_an_older_page_is_replaced_and_nothing_else(colours: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_page(with_index(load_engine(colours)), site, STAND_IN, page_texts())
    (site / "CNAME").write_text("birds.example")
    page = write_page(load_engine(colours), site, STAND_IN, page_texts(), title="New")
    assert (
        set(contents(site)) == set(page.sizes) | {"CNAME"} and "<title>New</title>" in (site / "index.html").read_text()
    )
    other = tmp_path / "photos"
    other.mkdir()
    (other / "files.json").write_text("{}")
    with pytest.raises(ExportError, match="holds something else than a page"):
        write_page(load_engine(colours), other, STAND_IN, page_texts())
    assert [path.name for path in other.iterdir()] == ["files.json"]
    (site / LIST).write_text(json.dumps({"files": {"../../victim.txt": {}, "/etc/hosts": {}}}))
    victim = tmp_path.parent / "victim.txt"
    victim.write_text("kept")
    write_page(load_engine(colours), site, STAND_IN, page_texts())
    assert victim.read_text() == "kept"


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    engine = load_engine(colour_file(tmp_path / "a.onnx"))
    (tmp_path / "a.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match="has changed since it was loaded"):
        write_page(engine, tmp_path / "site", STAND_IN, page_texts())
    assert not (tmp_path / "site").exists()


def test_a_translation_replaces_texts(colours: Path, tmp_path: Path) -> None:
    german = tmp_path / "de.json"
    german.write_text(json.dumps({"lang": "de", "page.question": "Was ist auf dem Bild? <b>"}))
    write_page(load_engine(colours), tmp_path / "site", STAND_IN, page_texts(german))
    page = (tmp_path / "site" / "index.html").read_text()
    assert '<html lang="de" dir="ltr">' in page and "<h1>Was ist auf dem Bild? &lt;b&gt;</h1>" in page
    assert json.loads((tmp_path / "site" / "manifest.json").read_text())["lang"] == "de"
    assert json.loads((tmp_path / "site" / "app" / "texts.json").read_text())["list.delete"] == "Delete all"


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ('{"page.qestion": "?"}', "there is no text 'page.qestion'. Did you mean 'page.question'"),
        ('{"page.classes": "{count} Klassen"}', r"has {count}, for which there is no value; it may have: {number}"),
        ('["a"]', "one JSON object of texts by name"),
        ('{"lang": "de\\"><script>"}', "'lang' is a language such as de"),
        ("{", "is no JSON file"),
    ],
)
def test_a_translation_that_is_none_is_refused(texts: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(texts)
    with pytest.raises(ExportError, match=fault.replace("{", r"\{").replace("?", r"\?")):
        page_texts(tmp_path / "a.json")
    with pytest.raises(ExportError, match="cannot be read"):
        page_texts(tmp_path / "none.json")


def test_the_command(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlaam.pocket.runtime.find_runtime", lambda folder: STAND_IN)
    site = tmp_path / "site"
    assert main(["export", str(colours), "--page", str(site), "--title", "Colours"]) == 0
    assert f"Page: {site} (" in capsys.readouterr().out and (site / "index.html").is_file()
    assert main(["export", str(colours)]) == 2
    assert "give --out MODEL.onnx, or --page DIR, or both" in capsys.readouterr().err
    assert main(["export", str(colours), "--out", "a.onnx", "--title", "Colours"]) == 2
    assert "--title goes with --page DIR" in capsys.readouterr().err
    for options in (["--out", str(tmp_path / "a.onnx")], ["--precision", "int8"], ["--images", "a.jpg"]):
        assert main(["export", str(colours), *options, "--page", str(site)]) == 2
        assert f"is an ONNX file already; leave {options[0]} out" in capsys.readouterr().err
