"""Let the C library keep the memory that a network frees, where that is worth it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
_MMAP_THRESHOLDS = (1 << 30, 32 << 20)  # older releases of glibc refuse more than 32 MiB


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks instead of handing them back to the system; return whether it did.

    Activations on the CPU are blocks of megabytes, which glibc by default maps and unmaps at each use, so that every
    step pays for all its pages anew. Meant for a process that is ours: the commands call it, the library does not.
    A user's own choice (``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``, a preloaded allocator) is left alone.
    """
    if {"MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"} & os.environ.keys():
        return False
    if (mallopt := _glibc("mallopt")) is None:
        return False
    reused = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS)  # the first that it takes
    kept = bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
    return reused and kept


def hand_back_freed_memory() -> bool:
    """Hand all freed blocks back to the system; return whether there were some and it could.

    For a process that was just forked from one that keeps them: as its parent goes on to use these blocks, the system
    would keep the child a copy of each page, gigabytes beside a network that trains.
    """
    trim = None if "LD_PRELOAD" in os.environ else _glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc, or None where another C library is used."""
    if sys.platform != "linux":
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
    return found
