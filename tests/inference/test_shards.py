"""Answers in shards: whole, in order, each once, whoever was killed when, and for however many images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import small_model, written
from PIL import Image
from stub_model import StubModel

from tlaam.cli.main import main
from tlaam.errors import DataError, MissingPackageError, RunError
from tlaam.inference.backend import Answers
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.inputs import find_images
from tlaam.inference.prediction import Prediction
from tlaam.inference.shards import Share, predict_into

IMAGES = 23


class Colour(StubModel):
    """A model without weights: the most probable class is an image's strongest colour."""

    classes = ("red", "green", "blue")
    source_size = 32

    def answer(self, inputs: np.ndarray) -> Answers:
        scores = inputs.mean((2, 3)).astype(np.float64) + 1
        fused = scores / scores.sum(1, keepdims=True)
        boxes = np.tile([0.0, 0.0, 16.0, 16.0], (len(inputs), 1))
        return Answers({"raw": fused, "fused": fused}, None, boxes, None)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A CSV file of images, one of which is broken and one of which is named twice."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "7.png").write_bytes(b"broken")
    names = [f"images/{number}.png" for number in range(IMAGES)] + ["images/3.png"]
    (tmp_path / "list.csv").write_text("note;image\n" + "".join(f"a;{name}\n" for name in names))
    return tmp_path / "list.csv"


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("part-*.jsonl")) for line in file.read_text().splitlines()]


def expected(manifest: Path) -> list[dict[str, Any]]:
    answers = load_engine(Colour(), batch_size=4).predict(find_images(manifest))
    return [{"row": row, **answer.to_dict(2)} for row, answer in enumerate(answers)]


def into(folder: Path, manifest: Path, **options: Any) -> Any:
    return predict_into(
        folder, load_engine(Colour(), batch_size=4), manifest, **{"top_k": 2, "shard_size": 5, **options}
    )


def test_shards_hold_what_predicting_gives_in_order(tmp_path: Path, manifest: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = into(tmp_path / "out", manifest, progress=lambda now, total: steps.append((now, total)))
    assert (done.images, done.predicted, done.found, done.failures) == (24, 24, 0, 1)
    assert rows(tmp_path / "out") == expected(manifest)
    assert [len(file.read_text().splitlines()) for file in sorted((tmp_path / "out").glob("part-*"))] == [5, 5, 5, 5, 4]
    assert steps[-1] == (24, 24) and [now for now, _ in steps] == sorted(now for now, _ in steps)


def test_what_is_there_is_not_done_again(tmp_path: Path, manifest: Path) -> None:
    into(tmp_path / "out", manifest)
    kept = tmp_path / "out" / "part-000001.jsonl"
    written_at = kept.stat().st_mtime_ns
    (tmp_path / "out" / "part-000003.jsonl").unlink()
    (tmp_path / "out" / ".part-000002.jsonl.1.tmp").write_text("half")
    done = into(tmp_path / "out", manifest)
    assert (done.predicted, done.found, done.failures) == (5, 19, 0)
    assert kept.stat().st_mtime_ns == written_at and not list((tmp_path / "out").glob(".*.tmp"))


def test_processes_share_the_files(tmp_path: Path, manifest: Path) -> None:
    first = into(tmp_path / "out", manifest, share=Share(0, 2))
    assert [file.name for file in sorted((tmp_path / "out").glob("part-*"))] == [
        "part-000000.jsonl", "part-000002.jsonl", "part-000004.jsonl",
    ]  # fmt: skip
    second = into(tmp_path / "out", manifest, share=Share(1, 2))
    assert (first.predicted, second.predicted) == (14, 10)
    assert rows(tmp_path / "out") == expected(manifest)


def test_torchrun_and_slurm_say_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    assert Share.of_environment() == Share(0, 1, 0)
    for name, value in (("SLURM_PROCID", "5"), ("SLURM_NTASKS", "8"), ("SLURM_LOCALID", "1")):
        monkeypatch.setenv(name, value)
    assert Share.of_environment() == Share(5, 8, 1)
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert Share.of_environment() == Share(2, 4, 0)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"top_k": 1}, "top_k"), ({"shard_size": 6}, "shard_size"), ({}, "images"), ({}, "model")],
)
def test_other_work_is_not_mixed_in(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], word: str
) -> None:
    into(tmp_path / "out", manifest)
    before = rows(tmp_path / "out")
    if word == "images":
        manifest.write_text(manifest.read_text().replace("images/5.png", "images/6.png"))
    if word == "model":
        monkeypatch.setattr(Colour, "checksum", "1" * 64)
    with pytest.raises(RunError, match=word):
        into(tmp_path / "out", manifest, **change)
    assert rows(tmp_path / "out") == before


def test_parquet_holds_the_same(tmp_path: Path, manifest: Path) -> None:
    import pyarrow.parquet

    odd = manifest.parent / os.fsdecode(b"odd \xff.png")
    Image.new("RGB", (9, 9)).save(manifest.parent / "images" / "odd.png")
    (manifest.parent / "images" / "odd.png").rename(odd)
    predictor = load_engine(Colour())
    predict_into(tmp_path / "out", predictor, [manifest, odd], top_k=2, shard_size=5, kind="parquet")
    files = sorted((tmp_path / "out").glob("part-*.parquet"))
    found = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
    assert found[:-1] == [{**row, "branches": row["branches"] or {"raw": None}} for row in expected(manifest)]
    assert found[-1]["path"].endswith("odd \\udcff.png") and found[-1]["error"] is None


def test_without_pyarrow_it_says_so(tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="pyarrow"):
        into(tmp_path / "out", manifest, kind="parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("label\nx\n", "column 'image' is missing"),
        ("image,image\na,b\n", "named twice"),
        ("image,label\n,x\n", "line 2"),
        ("imgae\nx\n", "Did you mean 'image'"),
    ],
)
def test_a_faulty_manifest_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        find_images(tmp_path / "list.csv")
    assert "list.csv" in str(caught.value)


class _Endless(Engine):
    """Answers without looking, so that numbers of images can be tried that no disk holds."""

    def __init__(self) -> None:
        super().__init__(Colour())

    def predict(self, paths: Iterable[Any]) -> Iterator[Prediction]:
        return (Prediction(str(path), "not looked at") for path in paths)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        list_ = tmp_path / f"{count}.csv"
        with list_.open("w") as stream:
            stream.write("image\n")
            stream.writelines(f"folder/image-{number}.jpg\n" for number in range(count))
        predictor = _Endless()
        tracemalloc.start()
        try:
            predict_into(tmp_path / f"out{count}", predictor, list_)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert len(list((tmp_path / f"out{count}").glob("part-*"))) == count // 1000

    fewer, more = peak(10_000), peak(30_000)  # from some thousands on, Python's own table of path parts has its size
    assert more - fewer < 1 << 18, (fewer, more)  # bytes; the list alone would be six times as much


def test_a_killed_command_is_finished_by_the_same_command(tmp_path: Path, manifest: Path) -> None:
    small_onnx = written(tmp_path / "model.onnx", small_model())
    arguments = ["predict", str(small_onnx), str(manifest), "--into", str(tmp_path / "out"), "--shard-size", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tlaam", *arguments]
    for files in (1, 3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while len(list((tmp_path / "out").glob("part-*"))) < files and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run([*command, "--processes", "2"], env=environment, stdout=subprocess.DEVNULL).returncode == 0
    whole = load_engine(small_onnx).predict(find_images(manifest))
    for row, (found, answer) in enumerate(zip(rows(tmp_path / "out"), whole, strict=True)):
        assert (
            found["row"] == row and found["path"] == answer.path and (found["error"] is None) == (answer.error is None)
        )
        assert [entry["label"] for entry in found["predictions"]] == [label for label, _ in answer.top(5)]
    assert main([*arguments, "--json", "x"]) != 0 and main([*arguments[:3], "--processes", "2"]) != 0


def test_what_a_folder_would_be_bound_to_in_vain_is_refused_before(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_onnx, out = written(tmp_path / "model.onnx", small_model()), tmp_path / "out"
    begin = ["predict", str(small_onnx)]
    assert main([*begin, str(tmp_path / "nobody"), "--into", str(out)]) == 1
    assert "there is no" in capsys.readouterr().err and not out.exists()
    assert main([*begin, str(manifest), "--format", "parquet"]) == 1
    assert "--format goes with --into" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*begin, str(manifest), "--into", str(out), "--processes", "2"]) == 1
    assert "this is one of 2" in capsys.readouterr().err and not out.exists()


def test_the_exit_code_tells_that_no_image_could_be_read(tmp_path: Path) -> None:
    small_onnx = written(tmp_path / "model.onnx", small_model())
    (tmp_path / "list.csv").write_text("image\nmissing.png\nlost.png\n")
    assert main(["predict", str(small_onnx), str(tmp_path / "list.csv"), "--into", str(tmp_path / "out")]) == 1
    assert [row["error"] is not None for row in rows(tmp_path / "out")] == [True, True]


def test_answers_of_another_precision_are_not_mixed_in(tmp_path: Path, manifest: Path) -> None:
    into(tmp_path / "out", manifest)
    plan = tmp_path / "out" / "plan.json"
    begun = json.loads(plan.read_text())
    plan.write_text(json.dumps({**begun, "precision": "bf16-mixed"}))
    with pytest.raises(RunError, match="begun with other precision; give the same again"):
        into(tmp_path / "out", manifest)
    del begun["precision"]  # as older versions left it
    plan.write_text(json.dumps(begun))
    assert into(tmp_path / "out", manifest).predicted == 0


def test_a_damaged_file_is_said_and_made_anew(tmp_path: Path, manifest: Path) -> None:
    into(tmp_path / "out", manifest)
    part = tmp_path / "out" / "part-000002.jsonl"
    good = part.read_bytes()
    for bad in (good[:-20], good.replace(b"0.3", b"0.8", 1), good[:-1]):
        part.write_bytes(bad)
        said: list[str] = []
        done = into(tmp_path / "out", manifest, say=said.append)
        assert done.predicted == 5 and part.read_bytes() == good
        assert len(said) == 1 and "part-000002.jsonl is damaged" in said[0]
    (tmp_path / "out" / ".part-000002.jsonl.sha256").unlink()  # as older versions left it
    assert into(tmp_path / "out", manifest).predicted == 0
    stated = (tmp_path / "out" / ".part-000001.jsonl.sha256").read_text()
    assert stated.endswith("  part-000001.jsonl\n") and len(stated.split()[0]) == 64


_PATIENT = """
import subprocess, sys
from tlaam.utils import work_sharing

begin = subprocess.Popen

def patient(command, env):
    process = begin([sys.executable, "-c", "import time; time.sleep(600)"], env=env)
    print(process.pid, flush=True)
    return process

subprocess.Popen = patient
sys.exit(work_sharing.run_processes(2, ["predict"]))
"""


def test_a_request_to_end_ends_all_processes() -> None:
    with subprocess.Popen([sys.executable, "-c", _PATIENT], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        children = [int(command.stdout.readline()) for _ in range(2)]
        command.send_signal(signal.SIGTERM)
        assert command.wait(20) == 143
    until = time.monotonic() + 20
    while any(_runs(child) for child in children):
        assert time.monotonic() < until, "a process outlived the command"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process, perhaps somebody else's child by now, still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_two_processes_of_one_number_do_not_share_a_folder(tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "out").mkdir()
    held = "import sys, tlaam.utils.lock, pathlib; p = pathlib.Path(sys.argv[1])\n"
    held += "with tlaam.utils.lock.locked(p, p): print('', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(tmp_path / "out" / ".lock-0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        with pytest.raises(RunError, match=f"in use by another process \\(process {other.pid}\\)"):
            into(tmp_path / "out", manifest)
        into(tmp_path / "out", manifest, share=Share(1, 2))
        other.kill()
    into(tmp_path / "out", manifest)
    assert rows(tmp_path / "out") == expected(manifest)
