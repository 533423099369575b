from __future__ import annotations

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tlaam.utils import allocator

TRIM, MMAP = -1, -3
THIRTY_TWO_MIB = 32 << 20


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Stand in for a C library that, like older releases of glibc, refuses more than 32 MiB; return what it is told."""
    made: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        made.append((option, value))
        return int(option != MMAP or value <= THIRTY_TWO_MIB)

    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    for name in ("MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_an_older_library_is_asked_again_for_less(calls: list[tuple[int, int]]) -> None:
    assert allocator.keep_freed_memory() is True
    assert [option for option, _ in calls] == [MMAP, MMAP, TRIM]
    assert calls[0][1] > THIRTY_TWO_MIB == calls[1][1]


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_a_choice_of_the_user_is_left_alone(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert allocator.keep_freed_memory() is False
    assert calls == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert allocator.keep_freed_memory() is False
    assert calls == []


def test_another_c_library_is_left_alone(calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert allocator.keep_freed_memory() is False

    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(allocator.ctypes, "CDLL", absent)
    assert allocator.keep_freed_memory() is False


def test_this_machine_bears_it() -> None:
    code = (
        "from tlaam.utils.allocator import keep_freed_memory as keep; print(type(keep()).__name__, len(bytes(1 << 26)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["bool", str(1 << 26)], done.stderr


FORKED = """
import os, sys
import numpy as np
from tlaam.utils.allocator import hand_back_freed_memory, keep_freed_memory

assert keep_freed_memory()

def compute():
    blocks = [np.ones(1 << 20) for _ in range(16)]  # 8 MiB each, freed at the end

def private(pid):
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("Private_Dirty"))

compute()
begun, begin = os.pipe()
done, finish = os.pipe()
if (child := os.fork()) == 0:
    if sys.argv[1] == "hand back":
        assert hand_back_freed_memory()
    os.write(begin, b".")
    os.read(done, 1)
    os._exit(0)
os.read(begun, 1)
compute()
print(private(child))
os.write(finish, b".")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told to keep freed memory")
def test_a_forked_process_keeps_no_copy_of_what_was_freed() -> None:
    own = {"MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"}
    clean = {name: value for name, value in os.environ.items() if name not in own}

    def private(way: str) -> int:
        command = [sys.executable, "-c", FORKED, way]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, env=clean).stdout)

    kept, handed_back = private("keep"), private("hand back")
    assert kept > 100 and handed_back < 40  # MiB, of 128
