"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib


def derive(*keys: int | str) -> int:
    """Return a number in ``[0, 2**63)`` that depends on all keys and their order, and looks random.

    Hashing replaces a generator's hidden state: whoever knows the keys (seed, epoch, index, ...) knows the number,
    which is what lets a run continue in the middle of an epoch.
    """
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "big") >> 1
