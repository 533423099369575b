"""``python -m stress``: run campaigns and write what came of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stress.attempts import ENDINGS, GOOD
from stress.campaigns import CAMPAIGNS
from stress.running import run_campaign

_VERSIONS = ("tlaam", "pillow", "numpy", "onnxruntime", "torch", "scipy", "pyyaml", "safetensors")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 1 where something failed."""
    options = _options(arguments)
    names = options.only.split(",") if options.only else list(CAMPAIGNS)
    if unknown := [name for name in names if name not in CAMPAIGNS]:
        print(f"there is no campaign {', '.join(unknown)}; there are {', '.join(CAMPAIGNS)}", file=sys.stderr)
        return 2
    deadline = time.monotonic() + 60 * options.minutes
    report: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "stress", *(sys.argv[1:] if arguments is None else arguments)]),
        "seed": options.seed,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "versions": {"python": platform.python_version(), **_versions()},
        "endings": ENDINGS,
        "campaigns": {},
    }
    failed = 0
    for name in names:
        campaign = CAMPAIGNS[name]()
        count = options.attempts or round(campaign.attempts * options.scale)
        with tempfile.TemporaryDirectory(prefix="stress-") as work:
            tally = run_campaign(
                campaign, options.seed, count, Path(work) / "work", options.failures, deadline, options.numbers
            )
        report["campaigns"][name] = found = tally.to_dict()
        failed += found["attempts"] - found["survived"]
        endings = ", ".join(f"{number} {ending}" for ending, number in sorted(found["endings"].items()))
        print(
            f"{name}: {found['attempts']} of {count} attempts: {endings or 'none'}; {found['seconds']:.0f} s, "
            f"at most {found['peak_megabytes']} MB",
            flush=True,
        )
        for failure in tally.failures[: options.show]:
            print(f"  #{failure['number']} {failure['kind']}: {failure['ending']}: {failure['detail']}", flush=True)
        if options.out is not None:  # after each, so that an end in between loses no more than one
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{'all' if not failed else 'not all'} ended as {' or '.join(GOOD)}; {failed} failures.")
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    parser.add_argument("--out", type=Path, help="the report, JSON")
    parser.add_argument("--minutes", type=float, default=60.0, help="no attempt is begun after so many [60]")
    parser.add_argument("--only", default="", help=f"campaigns, by commas: {','.join(CAMPAIGNS)} [all]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attempts", type=int, default=0, help="of each campaign [its own number]")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each campaign's own number [1]")
    parser.add_argument("--numbers", type=int, nargs="*", default=(), help="repeat these attempts alone")
    parser.add_argument("--failures", type=Path, default=Path("runs/stress"), help="where failures' inputs are kept")
    parser.add_argument("--show", type=int, default=10, help="failures of each campaign that are printed [10]")
    return parser.parse_args(arguments)


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
