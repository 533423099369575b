"""A whole comparison, small: trained in processes of their own, continued, and refused where it does not fit."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from measuring import measured

from tlaam.cli.main import main
from tlaam.comparison import runs, systems
from tlaam.comparison.grid import resolved_config
from tlaam.comparison.run import compare
from tlaam.comparison.systems import SYSTEMS, variant
from tlaam.data.open import open_dataset
from tlaam.errors import ConfigError, DataError, RunError
from tlaam.evaluation.report import BEST_EPOCH

SETTINGS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 1, "raw_epochs": 0,
    "batch_size": 8, "val_fraction": 0, "accelerator": "cpu", "workers": 0,
}  # fmt: skip


def in_this_process(command: list[str]) -> int:
    """Do what `tlaam.comparison.child.run_child` does, without the seconds that a new process needs."""
    assert command[1:3] == ["-m", "tlaam"]
    with contextlib.redirect_stdout(io.StringIO()):
        return main(command[3:])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rival that is not trained, in place of three, and no process of its own for each run."""
    monkeypatch.setattr(systems, "PROBES", ("probe",))
    monkeypatch.setattr(runs, "run_child", in_this_process)


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared") / "photos"
    for image in sorted(photos.rglob("*.png")):
        split = "test" if image.stem in ("4", "5") else "train"
        (root / split / image.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / split / image.parent.name)
    return root


def test_it_trains_measures_continues_and_compares(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    found = compare(data, out, systems=["oaam"], seeds=1, settings=SETTINGS, protocol="last", say=said.append)
    assert [run.system for run in found.runs] == ["oaam", "plain-larger", "probe"] and found.first == "oaam"
    rival = json.loads((out / "runs/plain-larger-0/config.json").read_text())["model"]
    assert (rival["image_size"], rival["source_size"]) == (128, 96), "no more source pixels than the others have"
    assert all(run.measures["minutes"] > 0 and run.measures["memory"] > 0.05 for run in found.runs)
    probe = json.loads((out / "runs/probe-0/run.json").read_text())["probe"]
    assert probe["images"] == 12, "whatever the comparison's epochs, and nothing is held out for their choice"
    assert {run.system: run.protocol for run in found.runs} == dict.fromkeys(("oaam", "plain-larger", "probe"), "last")
    assert found.differences[0].second == "plain-larger"
    for name in ("table.md", "table.csv", "differences.csv", "results.json", "index.html"):
        assert (out / name).stat().st_size > 0, name
    record = json.loads((out / "results.json").read_text())
    assert record["systems"]["plain-larger"]["image_size"] == 128 and record["systems"]["probe"]["epochs"] == 0
    assert record["split"] == "test" and "folds" not in record and "answers" not in record["runs"][0]
    assert len(record["runs"][0]["right"]["fused"]) == len(record["images"]) == 6 and record["machine"]["versions"]
    table = (out / "table.md").read_text()
    assert "| TL-AAM's default with OAAM's boxes (all modules) | `oaam` | 1 |" in table
    page = (out / "index.html").read_text()
    assert '<svg class="chart broad"' in page and "top-1, fused" in page and ">oaam</th>" in page and "oaam-0" in page
    for said_of_it in (
        "data: photos: 3 classes, 12 training images, 0 for validation", "the 6 images of the test split",
        "protocol last", "backbone: test_resnet, pretrained: none", "input, pixels: 64 (128 of plain-larger)",
        "source image, pixels: 96", "epochs: 1 (0 of probe)", "seeds: 0", "raw_epochs=0", "batch_size=8",
        "val_fraction=0.0", "versions: tlaam ",
        f"tlaam compare {data} --out {out} --systems oaam,plain-larger,probe --seeds 1",
    ):  # fmt: skip
        assert said_of_it in table, said_of_it
        assert said_of_it.rpartition(": ")[2] in page, said_of_it

    trained = (out / "runs/oaam-0/model.safetensors").stat().st_mtime_ns
    said.clear()
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    command = [
        "compare",
        str(data),
        "--out",
        str(out),
        "--seeds",
        "1",
        "--systems",
        "oaam,plain",
        "--first",
        "plain",
        "--protocol",
        "last",
    ]
    assert main([*command, *options]) == 0
    assert (out / "runs/oaam-0/model.safetensors").stat().st_mtime_ns == trained
    table = capsys.readouterr().out
    assert "plain backbone" in table and "Differences" in table
    assert main(shlex.split(record["command"])[1:]) == 0, "it makes the first tables again"
    printed = capsys.readouterr()
    assert "`plain`" not in printed.out and json.loads((out / "results.json").read_text()) == record
    assert "not named: plain. To have them in the tables, give the same command with" in printed.err
    assert "--systems oaam,plain-larger,probe,plain." in printed.err
    with pytest.raises(RunError, match="oaam: epochs 1 instead of 2"):
        compare(data, out, systems=["oaam"], seeds=1, settings={**SETTINGS, "epochs": 2}, protocol="last")


def test_a_variant_has_settings_of_its_own_and_what_another_process_has_is_left_to_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    command = ["compare", str(data), "--out", str(tmp_path / "out"), "--seeds=1", "--protocol=last", *options]
    command += ["--systems=plain-larger", "--variant=gentle=plain lr=0.001 image_size=96", "--first=gentle"]
    held = "import sys, tlaam.utils.lock, pathlib; p = pathlib.Path(sys.argv[1])\n"
    held += "with tlaam.utils.lock.locked(p, p): print('', flush=True); sys.stdin.read()"
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "plain backbone, lr=0.001, image_size=96" in table
    assert json.loads((tmp_path / "out/runs/gentle-0/config.json").read_text())["model"]["image_size"] == 96
    (tmp_path / "out/results/plain-larger-0.json").unlink()
    lock = tmp_path / "out/runs/plain-larger-0.lock"
    other = subprocess.Popen([sys.executable, "-c", held, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"\n"
    assert main(command) == 0
    said = capsys.readouterr()
    assert "another process has it" in said.err and "not finished: plain-larger-0" in said.out
    other.kill()
    other.wait()
    for wrong in ("gentle", "gentle=lr=1", "plain=plain", "a/b=plain", "gentle=plan", "gentle=plain lr"):
        assert main([*command[:-2], f"--variant={wrong}"]) != 0, wrong
    assert main([*command, "--variant=gentle=plain lr=0.5"]) != 0  # two of one name


def test_a_variant_of_the_rival_has_the_input_it_is_given(data: Path) -> None:
    images = open_dataset(data)
    sizes = [
        resolved_config(system, SETTINGS, images).model.image_size
        for system in (SYSTEMS["plain-larger"], variant("larger-still", "plain-larger", {"image_size": 160}))
    ]
    assert sizes == [128, 160]


def test_what_does_not_fit_is_said_before_anything_is_trained(data: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="option 'localizer' is what"):
        compare(data, tmp_path / "a", settings={"localizer": "oaam"})
    for protocol in ("last", "validation"):
        with pytest.raises(ConfigError, match="has no test split"):
            compare(photos, tmp_path / "b", settings=SETTINGS, protocol=protocol)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no system or group 'tlam'"):
        compare(data, tmp_path / "c", systems=["tlam"])
    with pytest.raises(ConfigError, match="'mmal' is not among"):
        compare(data, tmp_path / "d", systems=["plain"], first="mmal")
    with pytest.raises(ConfigError, match="needs validation images"):
        compare(data, tmp_path / "e", settings=SETTINGS)
    with pytest.raises(ConfigError, match="no option 'epoch'"):
        compare(data, tmp_path / "f", settings={**SETTINGS, "epoch": 5}, protocol="last")
    with pytest.raises(ConfigError, match="threshold goes with localizer"):
        compare(data, tmp_path / "g", systems=["mmal"], settings={**SETTINGS, "threshold": 0.5}, protocol="last")
    for option in ("seed=4", "select_on=test", "keep=last"):
        grid = ["compare", str(data), "--out", str(tmp_path / "i"), "--systems", "plain"]
        assert main([*grid, "--variant", f"x=plain {option}"]) != 0
    for wrong in ("lr=[1", "part_windows=a,b", "epochs"):
        assert main(["compare", str(data), "--out", str(tmp_path / "h"), "--protocol", "last", "--set", wrong]) != 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "hint"), [
    (["--epochs", "3"], "there is no option --epochs. A setting of all systems is given as --set epochs=3"),
    (["--image-size=64"], "--set image_size=64"),
    (["--epoch", "3"], "--epoch"),
    (["--set", "epoch=3"], "there is no option 'epoch'. Did you mean 'epochs'?"),
    (["--set", "nosuch=1"], "there is no option 'nosuch'. `tlaam train --help` lists all there are."),
    (["--set", "preset=mmal"], "--systems (see --list), or give them one by one by --variant"),
    (["--variant", "x=plain preset=mmal"], "for all systems by --preset mmal"),
    (["--set", "localizer=oaam"], "choose those (--systems, --variant, --seeds, --protocol)"),
])  # fmt: skip
def test_a_setting_given_in_another_commands_way_is_answered_with_the_right_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], hint: str
) -> None:
    assert main(["compare", str(data), "--out", str(tmp_path / "out"), *given]) in (1, 2)
    said = capsys.readouterr().err
    assert hint in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_unreadable_test_image_is_said_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "photos"
    shutil.copytree(data, broken)
    (broken / "test" / "jay" / "4.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 test images cannot be read, first test/jay/4\.png"):
        compare(broken, tmp_path / "out", systems=["plain"], settings=SETTINGS, protocol="last")
    assert not (tmp_path / "out" / "runs").exists()


def test_a_run_that_fails_is_left_out_and_tried_again_and_one_that_was_stopped_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(systems, "PROBES", ())
    codes = iter([0, 1, 143])

    def child(command: list[str]) -> int:
        commands.append(command)
        code = next(codes)
        folder = Path(command[command.index("--out") + 1])
        if code == 0:
            assert main([*command[3:], "--workers", "0"]) == 0
        else:
            folder.mkdir(parents=True)
            (folder / "config.yaml").touch()  # it had begun
        return code

    monkeypatch.setattr(runs, "run_child", child)
    compare_it = partial(compare, data, tmp_path / "out", systems=["plain-larger"], settings=SETTINGS, protocol="last")
    with pytest.raises(RunError, match="of 2 runs 1 could not be trained: plain-larger-1"):
        compare_it(seeds=2)
    assert "Not among them" in (tmp_path / "out/table.md").read_text()
    shutil.rmtree(tmp_path / "out/runs/plain-larger-1")
    with pytest.raises(RunError, match="stopped as asked; the same command goes on with plain-larger-1"):
        compare_it(seeds=2)
    monkeypatch.setattr(runs, "run_child", lambda command: commands.append(command) or 1)
    said: list[str] = []
    with pytest.raises(RunError, match="could not be trained"):
        compare_it(seeds=2, say=said.append)
    assert said[-1].endswith("seed 1: failed, what it said stands above; going on with the others")
    monkeypatch.setattr(runs, "run_child", lambda command: commands.append(command) or -9)
    with pytest.raises(RunError, match="could not be trained"):
        compare_it(seeds=2, say=said.append)
    assert said[-1].endswith(
        "seed 1: ended from outside by SIGKILL, often because the memory was full; going on with the others"
    )
    assert commands[-1][3:] == [
        "train",
        "--no-report",
        "--no-gallery",
        "--resume",
        str(tmp_path / "out/runs/plain-larger-1"),
    ]


def test_the_best_epoch_protocol_says_so_in_every_output(data: Path, tmp_path: Path) -> None:
    compare(data, tmp_path / "out", systems=["plain"], seeds=1, settings=SETTINGS, protocol="best-epoch")
    for name in ("table.md", "index.html"):
        assert "Best-epoch protocol" in (tmp_path / "out" / name).read_text(), name
    for name in ("table.csv", "differences.csv"):
        assert "best-epoch" in (tmp_path / "out" / name).read_text(), name
    for name in ("results.json", "comparison.json", "results/plain-0.json", "results/plain-larger-0.json"):
        written = json.loads((tmp_path / "out" / name).read_text())
        assert (written["protocol"], written["note"]) == ("best-epoch", BEST_EPOCH), name
    report = measured(tmp_path / "out/runs/plain-larger-0", data)
    assert report.selected_on_these and "Best-epoch protocol" in report.table()
    assert report.to_dict()["selected_on_these"] is True
    assert not measured(tmp_path / "out/runs/plain-larger-0", data, split="train").selected_on_these


def test_without_a_test_split_the_marked_validation_split_is_measured(data: Path, tmp_path: Path) -> None:
    marked = tmp_path / "photos"
    shutil.copytree(data, marked)
    (marked / "test").rename(marked / "val")
    compare(marked, tmp_path / "out", systems=["plain-larger"], seeds=1, settings=SETTINGS, protocol="last")
    assert "6 images of the val split" in (tmp_path / "out/table.md").read_text()
    with pytest.raises(ConfigError, match="has no test split"):
        compare(marked, tmp_path / "other", settings=SETTINGS, protocol="validation")


def test_the_list_names_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "gradcam++" in listed and "ablation" in listed
    assert "oaam             TL-AAM's default with OAAM's boxes (all modules)\n" in listed
