"""A copy of the repository in which mutmut mutates one source file, and what became of the mutants there."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mutation.targets import ROOT

_COPIED = ("src", "tests", "benchmarks", "docs", "examples", "README.md", "pyproject.toml")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")
_KILLED, _SURVIVED, _UNREACHED = (1, 3), (0,), (5, 33)
_OVER_TIME = (24, -24, 36, 152, 255)


@dataclass(frozen=True)
class Mutant:
    """A mutant of a source file. `verdict` is "killed", "timeout", "crashed", "survived", "unreached" (no test calls
    its function) or "untried"; `change` holds the lines that it removes (-) and adds (+)."""

    name: str
    function: str
    verdict: str
    change: tuple[str, ...]


def try_mutants(
    source: str, tests: tuple[str, ...], left_out: str, work: Path, seconds: float, processes: int
) -> list[Mutant]:
    """Mutate `source` in the copy in `work` and try each mutant against `tests`; what an earlier call found stands.

    Survivors are tried again when a test has changed since. Ends when `seconds` are over, some mutants untried.
    `left_out` names tests as pytest's ``-k`` does. Raises RuntimeError, with the end of mutmut's log, where mutmut
    itself or the tests of the unmutated file fail.
    """
    content = [(ROOT / path).read_bytes() for path in (source, *tests)]
    digest = hashlib.sha256(b"".join([*content, left_out.encode()])).hexdigest()
    known = work / "tried.sha256"
    changed = known.exists() and known.read_text(encoding="utf-8") != digest
    try:
        found = _read(source, work)
    except FileNotFoundError:  # an earlier call was killed while mutants were made
        shutil.rmtree(work / "mutants")
        found = []
    if found and not changed and all(mutant.verdict != "untried" for mutant in found):
        return found
    again = [mutant.name for mutant in found if mutant.verdict not in ("killed", "timeout")] if changed else []
    if changed:
        (work / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    _prepare(source, tests, left_out, work)
    if not known.exists():
        known.write_text(digest, encoding="utf-8")
    if (not changed or again) and _run(work, again, seconds, processes):
        known.write_text(digest, encoding="utf-8")
    return _read(source, work)


def _run(work: Path, names: list[str], seconds: float, processes: int) -> bool:
    """Let mutmut try mutants, by default all that are untried; return whether it came to the end in time."""
    command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()", "run", f"--max-children={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("PYTHONPATH", None)  # or the tests would find the unmutated package
    log = work / "mutmut.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command + names, cwd=work, env=environment, stdout=output, stderr=output)
        try:
            code = process.wait(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return False
    if code != 0:
        end = re.sub(r"[^\n]*\r", "", log.read_text(encoding="utf-8", errors="replace"))[-3000:]
        raise RuntimeError(f"mutmut failed (exit code {code}); {log} ends:\n{end}")
    return True


def _prepare(source: str, tests: tuple[str, ...], left_out: str, work: Path) -> None:
    """Bring the copy up to date, and write what mutmut shall do there."""
    work.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, work / name, dirs_exist_ok=True, ignore=_LEFT_OUT)
        else:
            shutil.copy2(ROOT / name, work / name)
    settings = {
        "source_paths": ["src/"],
        "only_mutate": [source],
        "do_not_mutate_patterns": [
            f"^{re.escape(line)}$" for line in message_lines((ROOT / source).read_text("utf-8"))
        ],
        "pytest_add_cli_args_test_selection": list(tests),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", *(["-k", f"not ({left_out})"] if left_out else [])],
        "also_copy": [f"{name}/" if (ROOT / name).is_dir() else name for name in _COPIED],
        "use_git_change_detection": False,
        "timeout_constant": 3.0,
        "timeout_multiplier": 5.0,
    }
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    with (work / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n".join(["", "[tool.mutmut]", *lines, ""]))


def message_lines(code: str) -> list[str]:
    """Return the lines that hold nothing but errors' messages: those of the arguments of what is raised."""
    lines = code.splitlines()
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found += lines[node.lineno - 1 : node.end_lineno]
    return sorted(set(found))


def _read(source: str, work: Path) -> list[Mutant]:
    """Return the mutants of `source` that mutmut has written down in `work`."""
    if not work.is_dir():
        return []
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    here = Path.cwd()
    os.chdir(work)  # where mutmut looks for what it wrote
    try:
        data = SourceFileMutationData(path=source)
        data.load()
        mutants = []
        for name, code in data.exit_code_by_key.items():
            function, owner = orig_function_and_class_names_from_key(name)
            verdict = _verdict(code)
            difference = [] if verdict == "killed" else get_diff_for_mutant(name, path=source).splitlines()
            change = tuple(line[0] + " " + line[1:].strip() for line in difference if line[0] in "+-")[2:]
            mutants.append(Mutant(name, f"{owner}.{function}" if owner else function, verdict, change))
        return mutants
    finally:
        os.chdir(here)


def _verdict(code: int | None) -> str:
    if code is None or code == 2:
        return "untried"
    for verdict, codes in {
        "killed": _KILLED,
        "survived": _SURVIVED,
        "unreached": _UNREACHED,
        "timeout": _OVER_TIME,
    }.items():
        if code in codes:
            return verdict
    return "crashed"
