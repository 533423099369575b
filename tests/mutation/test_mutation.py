"""The campaign's own rules: what is mutated against what, and what is argued."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutation.argued import key, read_argued
from mutation.targets import ROOT, TARGETS, TOO_SLOW, chosen
from mutation.workplace import Mutant, message_lines


def test_every_target_and_its_tests_are_there() -> None:
    for source, tests in TARGETS.items():
        for path in (source, *tests):
            assert (ROOT / path).is_file(), path
    assert {f"src/tlaam/{name}.py" for name in TOO_SLOW} <= TARGETS.keys()


def test_rooms_and_files_are_chosen_by_name() -> None:
    assert chosen("") == TARGETS
    assert list(chosen("models/parts/appm.py, training/loss")) == [
        "src/tlaam/models/parts/appm.py",
        "src/tlaam/training/loss.py",
    ]
    assert chosen("models").keys() == {path for path in TARGETS if path.startswith("src/tlaam/models/")}
    assert chosen("src/tlaam/training/loss.py")["src/tlaam/training/loss.py"] == ("tests/training/test_loss.py",)
    with pytest.raises(ValueError, match="nothing that is mutated is called trainin;"):
        chosen("trainin")


def test_messages_alone_are_left_as_they_are() -> None:
    raised = ["        raise ValueError(", '            f"{x} is too much"', "        )"]
    code = "\n".join(["def f(x):", "    if x > 1:", *raised, "    return x + 1"])
    assert message_lines(code) == sorted(raised)


def test_what_is_argued_is_of_a_target_and_has_a_reason() -> None:
    for source, reasons in read_argued().items():
        assert source in TARGETS
        assert all(len(reason) > 10 for reason in reasons.values())


def test_a_mutant_is_argued_once(tmp_path: Path) -> None:
    mutant = Mutant("tlaam.a.x_f__mutmut_1", "f", "survived", ("- return 1", "+ return 2"))
    assert key(mutant) == "f: - return 1 + return 2"
    path = tmp_path / "argued.yaml"
    entry = {"reason": "nobody looks", "mutants": [key(mutant)]}
    path.write_text(json.dumps({"a.py": [entry]}))
    assert read_argued(path) == {"a.py": {key(mutant): "nobody looks"}}
    path.write_text(json.dumps({"a.py": [entry, entry]}))
    with pytest.raises(ValueError, match="argues twice"):
        read_argued(path)


def test_an_unknown_name_is_refused() -> None:
    command = [sys.executable, "-m", "mutation", "--only", "nothing"]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 2 and "nothing that is mutated is called nothing" in ended.stderr
