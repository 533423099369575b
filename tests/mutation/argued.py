"""Mutants that no test can or need kill, each with the reason."""

from __future__ import annotations

from pathlib import Path

import yaml

from mutation.workplace import Mutant

PATH = Path(__file__).parent / "argued.yaml"


def read_argued(path: Path = PATH) -> dict[str, dict[str, str]]:
    """Return reasons by source file and mutant (see `key`). Raises ValueError where one is argued twice."""
    found: dict[str, dict[str, str]] = {}
    for source, entries in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        reasons = found.setdefault(source, {})
        for entry in entries:
            for mutant in entry["mutants"]:
                if mutant in reasons:
                    raise ValueError(f"{path.name} argues twice about {source}, {mutant}")
                reasons[mutant] = entry["reason"]
    return found


def key(mutant: Mutant) -> str:
    """Return the name of a mutant in argued.yaml: function and changed lines, which survive changes elsewhere."""
    return f"{mutant.function}: {' '.join(mutant.change)}"
