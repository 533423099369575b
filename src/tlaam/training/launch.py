"""Processes and devices that train together (Lightning Fabric)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lightning.fabric import Fabric
from lightning.fabric.strategies import Strategy

from tlaam.config.schema import Config
from tlaam.errors import ConfigError, TlaamError
from tlaam.training import sharding

_T = TypeVar("_T")


def _strategy(config: Config) -> str | Strategy:
    """Return Lightning's strategy; networks that learn in turns have parameters without gradients in some epochs."""
    strategy, devices = config.training.strategy, config.training.devices
    if strategy == sharding.STRATEGY:
        return sharding.strategy()
    alone = devices == "1" and config.training.nodes == 1
    if config.model.architecture == "tlaam" or alone or strategy not in ("auto", "ddp"):
        return strategy
    return "ddp_find_unused_parameters_true"


def launched(config: Config) -> Fabric:
    training = config.training
    if training.strategy != sharding.STRATEGY and any(name in training.strategy for name in ("fsdp", "deepspeed")):
        raise ConfigError(f"strategy = {training.strategy!r} is not known here; use auto, ddp or {sharding.STRATEGY}.")
    try:
        fabric = Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.nodes,
            strategy=_strategy(config),
            precision=training.precision,
        )
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:  # Lightning raises these for a misconfiguration
        raise ConfigError(
            f"accelerator {training.accelerator!r}, devices {training.devices!r}, nodes {training.nodes}, strategy "
            f"{training.strategy!r}, precision {training.precision!r} cannot be had: {' '.join(str(error).split())}"
        ) from error
    return fabric


def on_first(fabric: Fabric, work: Callable[[], _T]) -> _T:
    """Run a function on the first device and share its result with all; an error ends them all and is reported once."""
    result: _T | None = None
    error: TlaamError | None = None
    if fabric.is_global_zero:
        try:
            result = work()
        except TlaamError as caught:
            error = caught
    failed, result = fabric.broadcast((error is not None, result))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(1)
    return result
