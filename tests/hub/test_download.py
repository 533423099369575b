"""Models of the hub, through the real client: two files and no more, the same answers, and one line for what fails."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants as hub
import numpy as np
import pytest
from hub_server import TOKEN, HubServer, Repository
from measuring import measured

import tlaam
import tlaam.utils.extras
from tlaam.cli.main import main
from tlaam.errors import MissingPackageError, ModelError
from tlaam.hub.names import hub_name, is_hub_name
from tlaam.inference.engine import load_engine
from tlaam.inference.prediction import Prediction
from tlaam.utils.checksums import with_checksum
from tlaam.workflows.reference_index import write_reference_index

NAME = "hf://somebody/birds"


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


@pytest.fixture
def repository(hub_server: HubServer, run: Path) -> Repository:
    """The model of `run` on the hub, amid what a hostile hand would put beside it."""
    files = {name: (run / name).read_bytes() for name in ("model.safetensors", "config.json")}
    bad = pickle.dumps(_Bomb())
    files |= {name: bad for name in ("pytorch_model.bin", "model.pkl", "sub/config.json", "sub/model.safetensors")}
    files |= {"tlaam.py": b"raise SystemExit('executed')", "README.md": b"# Birds"}
    hub_server.repositories["somebody/birds"] = Repository(files)
    return hub_server.repositories["somebody/birds"]


def same(one: Prediction, other: Prediction) -> bool:
    boxes = all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("object_box", "part_boxes", "heatmap")
    )
    shares = all(np.array_equal(values, other.probabilities[name]) for name, values in one.probabilities.items())
    return boxes and shares and one.classes == other.classes and one.probabilities.keys() == other.probabilities.keys()


@pytest.mark.usefixtures("repository")
def test_the_answers_are_those_of_the_run_and_nothing_else_is_downloaded(
    hub_server: HubServer, run: Path, photos: Path
) -> None:
    expected = tlaam.load(run).predict(photos / "jay")
    for model in (NAME, tlaam.from_pretrained(NAME), tlaam.from_pretrained("somebody/birds", revision="main")):
        found = list(load_engine(model).predict(sorted((photos / "jay").iterdir())))
        assert len(found) == len(expected) == 6
        assert all(same(one, other) for one, other in zip(expected, found, strict=True))
    kept = {path.name for path in Path(hub.HF_HUB_CACHE).rglob("snapshots/*/**/*") if path.is_file()}
    assert kept == {"model.safetensors", "config.json"}
    fetched = {line.split("/")[-1] for line in hub_server.log if "/resolve/" in line}
    assert fetched == kept and not any("/sub/" in line for line in hub_server.log)


def test_a_loaded_model_has_its_gallery(run: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(run, folder)
    image = sorted((photos / "jay").iterdir())[:1]
    (alone,) = load_engine(tlaam.from_pretrained(folder)).predict(image)
    assert alone.verdict is None
    write_reference_index(folder, photos)
    of_folder, of_model = load_engine(folder), load_engine(tlaam.from_pretrained(folder))
    (one,), (other,) = of_folder.predict(image), of_model.predict(image)
    assert one.verdict == other.verdict and other.verdict is not None
    assert of_folder.look_alikes(one, 2) == of_model.look_alikes(other, 2) != []


@pytest.mark.usefixtures("repository")
def test_the_commands_take_it(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path) -> None:
    for model, file in ((NAME, "there.jsonl"), (str(run), "here.jsonl")):
        assert main(["predict", model, str(photos / "jay"), "--json", str(tmp_path / file)]) == 0
    assert (tmp_path / "there.jsonl").read_text() == (tmp_path / "here.jsonl").read_text()
    assert main(["predict", NAME, str(photos / "jay"), "--into", str(tmp_path / "many")]) == 0
    assert len((tmp_path / "many" / "part-000000.jsonl").read_text().splitlines()) == 6
    capsys.readouterr()
    tables = []
    for model in (NAME, str(run)):
        assert main(["evaluate", model, str(photos)]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and "18 images" in tables[0]
    assert measured(NAME, photos).table() == tables[0].rstrip("\n")


def test_a_copy_is_used_where_there_is_no_way_to_the_hub(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tlaam.from_pretrained(NAME)
    repository.files["config.json"] = b"{}"  # never asked for
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    again = tlaam.from_pretrained(NAME)
    assert again.classes == first.classes


def test_a_revision_is_what_is_loaded(repository: Repository) -> None:
    old = repository.commit
    tlaam.from_pretrained(NAME)
    description = json.loads(repository.files["config.json"])
    repository.files["config.json"] = json.dumps(with_checksum({**description, "classes": ["a", "b", "c"]})).encode()
    assert tlaam.from_pretrained(NAME).classes == ("a", "b", "c")
    assert tlaam.from_pretrained(f"{NAME}@{old}").classes == ("crow", "jay", "wren")
    assert tlaam.from_pretrained("somebody/birds", revision=old).classes == ("crow", "jay", "wren")


def test_a_private_repository_needs_the_token(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.private = True
    with pytest.raises(ModelError, match=r"no model somebody/birds, or it is private.*hf auth login"):
        tlaam.from_pretrained(NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert tlaam.from_pretrained(NAME).classes == ("crow", "jay", "wren")


def changed(**values: object) -> Callable[[Repository], None]:
    """Return what writes into the description's settings."""

    def change(repository: Repository) -> None:
        description = json.loads(repository.files["config.json"])
        description["model"].update(values)
        repository.files["config.json"] = json.dumps(with_checksum(description)).encode()

    return change


def described(**values: object) -> Callable[[Repository], None]:
    """Return what writes into the description."""

    def change(repository: Repository) -> None:
        description = {**json.loads(repository.files["config.json"]), **values}
        repository.files["config.json"] = json.dumps(with_checksum(description)).encode()

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: setattr(r, "gated", True), "hf://somebody/birds is gated: accept its terms at http://"),
        (lambda r: r.files.pop("config.json"), "config.json missing"),
        (lambda r: r.files.clear(), "holds no model of tlaam|cannot get"),
        (lambda r: r.files.update({"model.safetensors": b"\x80\x04pickle"}), "is damaged or of another model"),
        (lambda r: r.files.update({"config.json": b"\xff"}), "cannot be read"),
        (lambda r: r.files.update({"config.json": b"[" * 100_000}), "cannot be read"),
        (lambda r: r.files.update({"config.json": b'{"model_type": "bert"}'}), "does not describe a model of tlaam"),
        (described(format=99), "has format 99"),
        (described(classes="abc"), "classes must be a list of names"),
        (described(classes=["a", "a", "b"]), "named twice"),
        (described(classes=["a"] * 3 + [4]), "classes must be a list of names"),
        (described(classes=["a", "b"]), "is damaged or of another model"),
        (changed(image_size=10**9), "image_size = 1000000000: Input should be less than or equal to 4096"),
        (changed(source_size=10**400), "source_size = 1000000"),
        (changed(zoom_steps=10**9), "zoom_steps = 1000000000"),
        (changed(heatmap_upsample=1e300), r"heatmap_upsample = 1e\+300"),
        (changed(part_windows=[0.5] * 10**5), r"part_windows = \[0\.5"),
        (changed(image_size=-1), "image_size"),
        (changed(source_size=None), "source_size is missing"),
        (changed(backbone="hf-hub:somebody/else"), "timm has no model 'hf-hub:somebody/else'"),
        (changed(backbone="local-dir:/etc"), "timm has no model"),
        (changed(localizer="os:system"), "localizer 'os:system' is not registered here"),
        (changed(trust_remote_code=True), "trust_remote_code"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_in_one_line(
    repository: Repository,
    spoil: Callable[[Repository], None],
    said: str,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(repository)
    with pytest.raises(ModelError, match=said) as caught:
        tlaam.from_pretrained(NAME)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert main(["predict", NAME, str(photos / "jay" / "0.png")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_not_there_is_said(hub_server: HubServer, repository: Repository) -> None:
    with pytest.raises(ModelError, match=f"{hub_server.url()} has no model somebody/fish, or it is private"):
        tlaam.from_pretrained("hf://somebody/fish")
    with pytest.raises(ModelError, match=r"no model runs/photos.* There is no folder 'runs/photos' here either"):
        tlaam.from_pretrained("runs/photos")
    with pytest.raises(ModelError, match=r"^somebody/birds has no revision 'v9'\.$"):
        tlaam.from_pretrained(f"{NAME}@v9")


def test_without_a_way_to_the_hub_the_alternatives_are_named(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9 does not answer.*give the folder, or set HF_ENDPOINT"):
        tlaam.from_pretrained(NAME)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set.*give the folder"):
        tlaam.from_pretrained(NAME)
    assert hub_server.log == []


def test_a_path_is_never_taken_for_a_name_nor_a_name_for_a_path(
    hub_server: HubServer, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("somebody").mkdir()
    Path("somebody/birds").symlink_to(run)
    assert tlaam.from_pretrained("somebody/birds").classes == ("crow", "jay", "wren")  # the folder that is there
    assert tlaam.from_pretrained(Path("somebody/birds")).classes == ("crow", "jay", "wren")
    Path("hf:/somebody").mkdir(parents=True)
    Path("hf:/somebody/birds").symlink_to(run)
    for path in ("hf:/somebody/birds", "./hf:/somebody/birds", Path("hf://somebody/birds")):
        assert load_engine(path).model.classes == ("crow", "jay", "wren")
    for missing in ("./somebody/fish", Path("somebody/fish"), "/somebody/fish", "fish"):
        with pytest.raises(ModelError, match="holds no trained model"):
            tlaam.from_pretrained(missing)
    with pytest.raises(ModelError, match="holds no trained model"):
        load_engine("somebody/fish")  # beside run folders, only hf:// names the hub
    assert hub_server.log == []
    with pytest.raises(ModelError, match="has no model somebody/birds"):
        load_engine(NAME)
    with pytest.raises(ModelError, match="goes with a model of the hub"):
        tlaam.from_pretrained(run, revision="main")


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://birds", "hf://a/b/c", "hf://a/b@", "hf://../b", "hf://a/..", "hf://a/b c", "hf:///a/b", "hf://a/b?x"],
)  # fmt: skip
def test_what_is_no_name_is_refused_before_anything_is_asked(text: str, hub_server: HubServer) -> None:
    with pytest.raises(ModelError, match="names no model of the Hugging Face hub; write hf://owner/name"):
        tlaam.from_pretrained(text)
    assert is_hub_name(text) and hub_server.log == []


def test_names_are_taken_apart() -> None:
    assert hub_name("hf://a/b@refs/pr/1") == ("a/b", "refs/pr/1") and str(hub_name("a/b", "v1")) == "hf://a/b@v1"
    with pytest.raises(ModelError, match="two revisions"):
        hub_name("a/b@v1", "v2")
    assert not is_hub_name(Path("hf://a/b")) and not is_hub_name("a/b")


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    real = tlaam.utils.extras.find_spec
    monkeypatch.setattr(tlaam.utils.extras, "find_spec", lambda name: None if name == "huggingface_hub" else real(name))
    with pytest.raises(
        MissingPackageError,
        match=r"^a model of the Hugging Face hub \(hf://somebody/birds\) needs huggingface-hub: "
        r"pip install '\.\[train\]' in a copy of tlaam's repository$",
    ):
        tlaam.load(NAME).predict(photos)
