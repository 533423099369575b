"""The conditions of a comparison in words, for tables and the page, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlaam.comparison.outcome import measured_on
from tlaam.comparison.systems import SYSTEMS, System
from tlaam.config.options import SECTIONS

WEIGHTS = {
    "validation": "of the epoch that was best on the validation images",
    "last": "of the last epoch",
    "best-epoch": "of the epoch that was best on the test images",
}
"""Describes which weights are measured, by protocol."""

_SAID = (
    *("architecture", "localizer", "parts", "attention"),  # set by the systems
    *("backbone", "pretrained", "image_size", "source_size", "epochs", "keep", "select_on"),
)


def conditions(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was compared and how, as pairs of a heading and a text; everything except the command.

    Args:
        record: the content of ``results.json``.
    """
    counts, seeds = record["counts"], dict.fromkeys(str(run["seed"]) for run in record["runs"])
    shared = {option: value for option, value in record["settings"].items() if option not in _SAID}
    defaults = {name: field.default for section in SECTIONS.values() for name, field in section.model_fields.items()}
    others = [
        f"{option}={spelt(value)}" for option, value in shared.items() if spelt(value) != spelt(defaults.get(option))
    ]
    machine = record["machine"]
    of_first = f" (of the first of {record['folds']} folds' runs)" if record.get("folds") else ""
    return [
        ("data", f"{record['data']}: {counts['classes']} classes, {counts['train']} training images, {counts['val']} "
                 f"for validation{of_first}"),
        ("measured on", measured_on(len(record["images"]), record["split"], record.get("folds"))),
        *([("groups", f"by '{group}' in the images' paths")] if (group := record.get("group")) else []),
        ("weights", _weights(record)),
        ("backbone", f"{_of_all(record, 'backbone')}, pretrained: {_of_all(record, 'pretrained')}"),
        ("input, pixels", _of_all(record, "image_size")),
        ("source image, pixels", _of_all(record, "source_size")),
        ("epochs", _of_all(record, "epochs")),
        ("seeds", ", ".join(seeds)),
        ("settings of all that are not the default", ", ".join(others) or "none"),
        ("machine", f"{machine['gpu'] or machine['processor']}, threads: {machine['threads']}, where this was written"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    ]  # fmt: skip


def _weights(record: Mapping[str, Any]) -> str:
    untrained = [name for name, own in record["systems"].items() if {**record["settings"], **own}["epochs"] == 0]
    if len(untrained) == len(record["systems"]):
        return "as pretrained, under classifiers that are solved: nothing was trained, and nothing held out for it"
    trained = f"{WEIGHTS[record['protocol']]} (protocol {record['protocol']})"
    if not untrained:
        return trained
    return f"{trained}; not trained, and so with nothing held out for an epoch's choice: {', '.join(untrained)}"


def _of_all(record: Mapping[str, Any], option: str) -> str:
    """Return the value of a setting that most systems have, followed by the systems with another value."""
    values = {name: spelt({**record["settings"], **own}[option]) for name, own in record["systems"].items()}
    ((usual, _),) = Counter(values.values()).most_common(1)
    others = [f"{value} of {name}" for name, value in values.items() if value != usual]
    return f"{usual} ({', '.join(others)})" if others else usual


def command(
    data: str,
    out: Path,
    systems: Iterable[System],
    *,
    seeds: int,
    settings: Mapping[str, Any],
    protocol: str,
    first: str,
    folds: int | None = None,
    group: str | None = None,
) -> str:
    """Return the command that repeats a comparison, with every setting spelt out."""
    names: list[str] = []
    words = ["tlaam", "compare", data, "--out", str(out)]
    for system in systems:
        if SYSTEMS.get(system.name) == system:
            names.append(system.name)
            continue
        base = SYSTEMS[system.of or ("plain-larger" if system.larger_input else "tlaam")]
        own = [f"{o}={spelt(v)}" for o, v in system.options.items() if o not in base.options or base.options[o] != v]
        words += ["--variant", f"{system.name}={shlex.join([base.name, *own])}"]
    words += ["--systems", ",".join(names), "--seeds", str(seeds), "--protocol", protocol, "--first", first]
    words += [] if folds is None else ["--folds", str(folds)]
    words += [] if group is None else ["--group", group]
    for option, value in settings.items():
        words += ["--set", f"{option}={spelt(value)}"]
    return shlex.join(words)


def spelt(value: Any) -> str:
    """Return a setting's value in the form that ``--set`` accepts."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value)
