"""``python -m mutation``: mutate source files, try their tests, and write which mutants lived."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mutation.argued import key, read_argued
from mutation.targets import TOO_SLOW, chosen
from mutation.workplace import Mutant, try_mutants
from tlaam.runs.environment import commit

_ENDINGS = {
    "killed": "a test failed, or the time that the tests take was exceeded fivefold, or the process died",
    "argued": "lived, and argued.yaml says why no test need kill it",
    "survived": "lived: the tests passed, or none calls the function",
    "untried": "time was out",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 1 where a mutant survived, 2 where a file could not be tried."""
    options = _options(arguments)
    try:
        targets = chosen(options.only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    argued = read_argued()
    deadline = time.monotonic() + 60 * options.minutes
    report: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "mutation", *(sys.argv[1:] if arguments is None else arguments)]),
        "commit": commit(),
        "date": date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("mutmut", "torch")}},
        "endings": _ENDINGS,
        "files": {},
    }
    totals: Counter[str] = Counter()
    failed: list[str] = []
    for source, tests in targets.items():
        if (seconds := deadline - time.monotonic()) <= 0:
            print(f"{source}: not begun, {options.minutes:g} minutes are over", flush=True)
            continue
        work = options.work / source.removeprefix("src/tlaam/").removesuffix(".py").replace("/", "-")
        try:
            left_out = TOO_SLOW.get(source.removeprefix("src/tlaam/").removesuffix(".py"), "")
            mutants = try_mutants(source, tests, left_out, work, seconds, options.processes)
        except RuntimeError as error:
            failed.append(source)
            print(error, file=sys.stderr, flush=True)
            continue
        reasons = argued.get(source, {})
        report["files"][source] = found = _counts(mutants, reasons)
        totals.update(found["counts"])
        print(f"{source}: {_said(found['counts'])}", flush=True)
        for line in found["survivors"]:
            print(f"  {line}", flush=True)
        for line in sorted(reasons.keys() - {key(mutant) for mutant in mutants if _lives(mutant)}):
            if not found["counts"]["untried"]:
                print(f"  argued in vain, for it is killed or gone: {line}", flush=True)
        report["totals"] = dict(totals)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"in all: {_said(totals)}")
    return 2 if failed else 1 if totals["survived"] else 0


def _counts(mutants: list[Mutant], reasons: dict[str, str]) -> dict[str, Any]:
    counts = dict.fromkeys(_ENDINGS, 0)
    survivors = []
    for mutant in mutants:
        if not _lives(mutant):
            counts["untried" if mutant.verdict == "untried" else "killed"] += 1
        elif key(mutant) in reasons:
            counts["argued"] += 1
        else:
            counts["survived"] += 1
            survivors.append(key(mutant))
    return {"counts": counts, "survivors": survivors}


def _lives(mutant: Mutant) -> bool:
    return mutant.verdict in ("survived", "unreached")


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts.get(ending, 0)} {ending}" for ending in _ENDINGS)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mutants/report.json"), help="the report, JSON")
    parser.add_argument("--only", default="", help="rooms or files, by commas: training,models/parts/appm.py [all]")
    parser.add_argument("--minutes", type=float, default=120.0, help="no mutant is tried after so many [120]")
    parser.add_argument("--processes", type=int, default=1, help="mutants that are tried at a time [1]")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/mutants"), help="where the copies and verdicts are kept"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
