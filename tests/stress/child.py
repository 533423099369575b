"""The process in which attempts are made: ``python -m stress.child CAMPAIGN SEED FOLDER``.

It reads lines ``{"numbers": [...], "folder": "..."}`` and writes a line of outcomes for each. What the product prints
goes elsewhere.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

from stress.attempts import Outcome, last_lines
from stress.campaigns import CAMPAIGNS

_ADDRESSES = 12 << 30
"""Bytes of address space: a backstop, for what grows faster than the watching process looks."""


def main(name: str, seed: int, folder: Path) -> None:
    """Answer the requests on the standard input until it ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    campaign = CAMPAIGNS[name]()
    prepared = campaign.prepare(folder)
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        begun = time.perf_counter()
        try:
            outcomes = campaign.attempt(prepared, seed, request["numbers"], Path(request["folder"]))
        except Exception:  # of the product where a campaign did not expect one, or of the campaign itself
            outcomes = [Outcome("batch", "crash", last_lines(traceback.format_exc())) for _ in request["numbers"]]
        reply = {
            "outcomes": outcomes,
            "seconds": time.perf_counter() - begun,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "measures": getattr(campaign, "measures", {}),
        }
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
