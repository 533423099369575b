"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib


def derive(*keys: int | str) -> int:
    """Return a pseudo-random number in ``[0, 2**63)`` that depends on all keys and their order.

    Hashing replaces a generator's hidden state: the keys (seed, epoch, index, ...) determine the number, so a run can
    continue in the middle of an epoch.
    """
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "big") >> 1
