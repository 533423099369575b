"""Making the C library keep the memory that a network frees, where this saves time."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_MMAP_THRESHOLDS = (1 << 30, 32 << 20)  # older releases of glibc reject more than 32 MiB


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks instead of returning them to the system; return whether it accepted.

    Activations on the CPU take blocks of megabytes. By default, glibc maps and unmaps these on each use, so every step
    pays for all their page faults again. This is for a process of our own: the commands call it, the library does not.
    A user's own choice (``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``, a preloaded allocator) is respected.
    """
    if {"MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"} & os.environ.keys():
        return False
    if (mallopt := _glibc("mallopt")) is None:
        return False
    reused = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS)  # stop at the first one accepted
    kept = bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
    return reused and kept


def hand_back_freed_memory() -> bool:
    """Return all freed blocks to the system; return whether there were any and it was possible.

    For a process just forked from one that keeps them. As the parent reuses these blocks, the system would have to keep
    a copy of each page for the child: gigabytes, if the parent trains a network.
    """
    trim = None if "LD_PRELOAD" in os.environ else _glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; None with any other C library."""
    if sys.platform != "linux":
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
    return found
