"""The identity of a run: its data, settings and devices, as they were when it was started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlaam.config.schema import Config
from tlaam.config.sections import MACHINE_OPTIONS, TrainingConfig
from tlaam.data.sample import LabelledImages
from tlaam.errors import RunError
from tlaam.runs.environment import versions
from tlaam.runs.folder import RunFolder
from tlaam.training.saying import say
from tlaam.utils.yaml_file import read_yaml

_ADDED = (
    "fusion", "raw_scale", "probe_first", "backbone_lr_ratio", "layer_decay", "frozen_stages", "start_share",
    "patience", "distillation", "paste", "balance", "accumulate", "logger",
)  # fmt: skip
"""Settings that earlier versions did not have, and whose default is how those versions worked."""


def settings_of(folder: RunFolder) -> Config:
    """Return a run's settings; a run that lacks some was started by a version that worked differently."""
    config = Config.from_yaml(folder.config)
    written = read_yaml(folder.config)
    if "layer_decay" not in written.get("training", {}):
        config = config.with_options(layer_decay=1.0)  # for every optimiser
    if "balance" not in written.get("training", {}):
        config = config.with_options(balance="none")  # for all class counts
    for section, options in config.to_nested().items():
        missing = [name for name in options if name not in {*written.get(section, {}), *_ADDED}]
        if missing:
            raise RunError(
                f"{folder.path} was begun by an earlier version, which had no {', '.join(missing)}; begin a new run."
            )
    return config


def facts_of(images: LabelledImages) -> dict[str, Any]:
    return {
        "name": images.name,
        "kind": images.kind,
        "root": str(images.root.resolve()),
        "fingerprint": images.fingerprint(),
        "classes": len(images.classes),
        "images": {name: len(images.split(name)) for name in ("train", "val", "test")},
        "val": [sample.name for sample in images.split("val")],
        "depth": images.depth.to_dict(),
        **({"split_rule": rule} if (rule := images.rule.to_dict()) else {}),
    }


def require_same_run(
    folder: RunFolder, state: dict[str, Any], images: LabelledImages, config: Config, world_size: int
) -> None:
    if state["identity"]["fingerprint"] != images.fingerprint():  # it covers the class names
        raise RunError(
            f"The newest checkpoint in {folder.checkpoints} is of a run on other data; remove it, or begin a new run."
        )
    require_same_devices(state["world_size"], world_size)
    before, now = state["identity"].get("settings", {}), deciding_settings(config)
    changed = [f"{name} {now.get(name)!r} instead of {old!r}" for name, old in before.items() if now.get(name) != old]
    if changed:
        raise RunError(
            f"{folder.config} is damaged or was altered since the run began: it says {', '.join(changed[:3])}. "
            "Put that back, or begin a new run."
        )


def deciding_settings(config: Config) -> dict[str, Any]:
    """Return the settings that determine the result of a run, as plain values."""
    flat = {name: value for section in config.to_nested().values() for name, value in section.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return {name: value for name, value in plain.items() if name not in (*MACHINE_OPTIONS, "checkpoint_every")}


def named_devices(training: TrainingConfig) -> int | None:
    """Return the number of devices that the settings request on all machines; None if only Lightning knows."""
    named = [name for name in training.devices.split(",") if name.strip()]
    if "," in training.devices:
        return len(named) * training.nodes
    return int(training.devices) * training.nodes if training.devices.isdecimal() else None


def require_same_devices(before: int, now: int) -> None:
    if now != before:
        raise RunError(
            f"The run was begun on {before} device(s), not {now}; its batches can only be continued on as many."
        )


def free_folder(name: str) -> Path:
    first = Path("runs") / name
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{name}-{number}")
    return path


def say_other_versions(before: dict[str, str], progress: bool) -> None:
    now = versions()
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        say(
            f"Versions changed since the checkpoint, so results may differ by rounding: {', '.join(changed)}.", progress
        )
