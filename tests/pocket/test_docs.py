"""The commands of docs/pocket.md run as they stand there, and its figures are those of the results."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stand_in import STAND_IN

from tlaam.cli.main import main
from tlaam.pocket.runtime import HASHES, VERSION

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pocket.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]  # fmt: skip


def test_the_commands_run(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(colours, "model.onnx")
    Path("runs/birds").mkdir(parents=True)
    Path("package/dist").mkdir(parents=True)
    Path("de.json").write_text('{"lang": "de", "page.question": "Was ist auf dem Bild?"}')
    asked: list[Path | None] = []
    monkeypatch.setattr("tlaam.pocket.runtime.find_runtime", lambda folder: (asked.append(folder), STAND_IN)[1])
    # A run takes a minute to export, which tests/export does.
    monkeypatch.setattr("tlaam.cli.export._export", lambda run, out, *options, **_: shutil.copy(colours, out))
    ours = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("tlaam ")]
    assert len(ours) >= 5 and {"--title", "--no-pictures", "--texts", "--runtime"} <= {word for c in ours for word in c}
    for arguments in ours:
        assert main(arguments) == 0, f"{arguments}: {capsys.readouterr().err}"
        assert (tmp_path / "site" / "index.html").is_file()
    assert Path("package") in asked
    assert "Was ist auf dem Bild?" in (tmp_path / "site" / "index.html").read_text()


def test_the_version_named_is_the_pinned_one() -> None:
    assert re.findall(r"onnxruntime-web[@-](\d+\.\d+\.\d+)", PAGE) == [VERSION, VERSION]
    assert len(HASHES) == 2


def test_the_page_shows_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "pocket.json").read_text())
    rows = {
        row[0]: row[1:] for line in PAGE.splitlines() if (row := [c.strip() for c in line.strip("|").split("|")])[1:]
    }
    for precision in ("fp32", "int8"):
        measured = found[precision]
        assert rows[f"`{precision}`, agreement"] == [
            *(
                f"{100 * measured['parity']['all'][name]:.0f} %"
                for name in ("same_name", "same_verdict", "boxes_within_2_pixels", "probabilities_within_0.01")
            ),
            f"{measured['parity']['all']['largest_difference']:.3f}",
            f"{measured['offline']['answered']} of {measured['offline']['photographs']}",
        ]
        for label, way in (("page", "page"), ("page, a quarter of the processor", "page, a quarter")):
            page = measured[way]
            assert rows[f"`{precision}`, {label}"] == [
                *(
                    f"{page[f'{what}{of_it}seconds']:.1f} s"
                    for what in ("first_load_", "answer_")
                    for of_it in ("", "processor_")
                ),
                f"{page['memory_mb_most']} MB",
            ]  # fmt: skip
        native = measured["native"]
        assert rows[f"`{precision}`, ONNX Runtime"] == [
            "–", "–", f"{native['answer_seconds']:.2f} s", f"{native['answer_processor_seconds']:.2f} s", "–",
        ]  # fmt: skip
        assert f"{measured['page_bytes'] / 1e6:.1f} MB" in PAGE
