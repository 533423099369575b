"""Work that several processes share: which of them this is, what is its share, and how all get all results.

Processes are started by torchrun, by SLURM, or by this package; each kind says in its own variables what a process is.
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
    """Which of several processes this is.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> Share:
        """Return what torchrun or SLURM say of this process; alone where neither started it."""
        for rank, size, local in (
            ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
            ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
        ):
            if rank in os.environ and size in os.environ:
                return cls(int(os.environ[rank]), int(os.environ[size]), int(os.environ.get(local, "0")))
        return cls()

    @classmethod
    def of_process_group(cls) -> Share:
        """Return what `torch.distributed` says of this process; alone where it is not set up."""
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def has(self, number: int) -> bool:
        """Return whether the piece of work of that number is this process's."""
        return number % self.world_size == self.rank

    def of(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this process's items: each `world_size`-th, from `rank` on.

        >>> Share(rank=1, world_size=3).of("abcdefg")
        'be'
        """
        return items[self.rank :: self.world_size]

    def gpu(self) -> str | None:
        """Return the GPU of this process where several share the work; None alone, or where there is none."""
        if self.world_size == 1:
            return None
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{self.local_rank % count}" if count else None

    def environment(self) -> dict[str, str]:
        """Return the variables by which a process of this share knows what it is."""
        return {"RANK": str(self.rank), "WORLD_SIZE": str(self.world_size), "LOCAL_RANK": str(self.local_rank)}


def gathered(mine: Sequence[_T], share: Share, total: int) -> list[_T]:
    """Return what all processes of a process group made of their shares (`Share.of`), in the items' order, on each.

    Args:
        mine: what this process made.
        share: of the process group.
        total: number of items in all.
    """
    if share.world_size == 1:
        return list(mine)
    from torch import distributed

    shares: list[list[_T]] = [[] for _ in range(share.world_size)]
    distributed.all_gather_object(shares, list(mine))
    return [shares[place % share.world_size][place // share.world_size] for place in range(total)]


def started_by_torchrun() -> tuple[int, int] | None:
    """Return how many processes torchrun has started on each machine, and on how many; None where it has not."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def joined_process_group(devices: int, accelerator: str) -> tuple[torch.device | None, bool]:
    """Start or join the processes that share a computation.

    Args:
        devices: how many on this machine; under torchrun as many as it has started.
        accelerator: Lightning's name of what to compute on.

    Returns:
        This process's device (None alone), and whether it is the first.

    Raises:
        ConfigError: torchrun has started another number.
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
    """Run a command of tlaam as several processes that share its work; return the first status that is not 0, or 0."""
    command = [sys.executable, "-m", "tlaam", *arguments]
    running: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []  # to end, while they are being started: none may be left out
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
    raise SystemExit(128 + number)  # through the `finally` that ends the others


@contextmanager
def claimed(lock: Path, folder: Path) -> Iterator[bool]:
    """Have a piece of work to oneself among processes that know of each other by files alone.

    Yields whether that is so, or another process has it.

    Args:
        lock: the piece's lock file; its folder is made where it is missing.
        folder: where the work is done, for messages.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, folder))
            mine = True
        except RunError:
            mine = False
        yield mine
