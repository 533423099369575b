"""Sharing work between processes: the rank of this process, its share of the work, and gathering all results.

Processes are started by torchrun, by SLURM, or by this package; each of them sets its own environment variables.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from tlaam.errors import ConfigError, RunError
from tlaam.utils.lock import locked

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")


@dataclass(frozen=True)
class Share:
    """The place of this process among several.

    Attributes:
        rank: rank of this process, from 0.
        world_size: number of processes.
        local_rank: rank on this machine, which selects the GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> Share:
        """Return the share set by torchrun or SLURM; a single process if neither started this one."""
        for rank, size, local in (
            ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
            ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
        ):
            if rank in os.environ and size in os.environ:
                return cls(int(os.environ[rank]), int(os.environ[size]), int(os.environ.get(local, "0")))
        return cls()

    @classmethod
    def of_process_group(cls) -> Share:
        """Return the share according to `torch.distributed`; a single process if that is not initialised."""
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def has(self, number: int) -> bool:
        """Return whether the item with this number belongs to this process."""
        return number % self.world_size == self.rank

    def of(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this process's items: every `world_size`-th, starting with `rank`.

        Examples:
            >>> Share(rank=1, world_size=3).of("abcdefg")
            'be'
        """
        return items[self.rank :: self.world_size]

    def gpu(self) -> str | None:
        """Return the GPU of this process if several share the work; None for a single process or without a GPU."""
        if self.world_size == 1:
            return None
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{self.local_rank % count}" if count else None

    def environment(self) -> dict[str, str]:
        """Return the environment variables that tell a process its share."""
        return {"RANK": str(self.rank), "WORLD_SIZE": str(self.world_size), "LOCAL_RANK": str(self.local_rank)}


def gathered(mine: Sequence[_T], share: Share, total: int) -> list[_T]:
    """Return the results of all processes of a process group in the items' order, on each process (see `Share.of`).

    Args:
        mine: the results of this process.
        share: this process's share in the process group.
        total: total number of items.
    """
    if share.world_size == 1:
        return list(mine)
    from torch import distributed

    shares: list[list[_T]] = [[] for _ in range(share.world_size)]
    distributed.all_gather_object(shares, list(mine))
    return [shares[place % share.world_size][place // share.world_size] for place in range(total)]


def started_by_torchrun() -> tuple[int, int] | None:
    """Return the number of processes that torchrun started per machine, and of machines; None without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def joined_process_group(devices: int, accelerator: str) -> tuple[torch.device | None, bool]:
    """Start or join the processes that share a computation.

    Args:
        devices: number of devices on this machine; under torchrun, 1 or the number of processes it started.
        accelerator: Lightning's name of the accelerator.

    Returns:
        This process's device (None for a single process), and whether it is the first process.

    Raises:
        ConfigError: torchrun has started another number of processes.
    """
    here, nodes = started_by_torchrun() or (devices, 1)
    if devices not in (1, here):
        raise ConfigError(
            f"--devices {devices} does not fit the {here} processes that torchrun has started; leave it out."
        )
    if here * nodes == 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None, True
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=nodes)
    fabric.launch()
    return fabric.device, fabric.is_global_zero


def run_processes(count: int, arguments: Sequence[str]) -> int:
    """Run a tlaam command as several processes that share its work; return the first nonzero status, or 0."""
    command = [sys.executable, "-m", "tlaam", *arguments]
    running: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []  # signals received while starting, handled afterwards so that no process is missed
    before = signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        for rank in range(count):
            share = Share(rank, count, rank)
            running.append(subprocess.Popen(command, env={**os.environ, **share.environment()}))
        signal.signal(signal.SIGTERM, _end_on_request)
        if asked:
            _end_on_request(asked[0], None)
        statuses = [process.wait() for process in running]
    finally:
        for process in running:
            process.terminate()
        signal.signal(signal.SIGTERM, before)
    return abs(next((status for status in statuses if status), 0))


def _end_on_request(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # runs the `finally` block that ends the other processes


@contextmanager
def claimed(lock: Path, folder: Path) -> Iterator[bool]:
    """Try to claim a piece of work among processes that only share a file system.

    Yields whether this process has claimed it; if not, another process has.

    Args:
        lock: lock file of the piece of work; its folder is created if it is missing.
        folder: the folder that is worked in, for messages.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, folder))
            mine = True
        except RunError:
            mine = False
        yield mine
