from __future__ import annotations

import hashlib

from scipy import stats

from tlaam.training.seeds import derive


def test_it_depends_on_every_key_and_their_order() -> None:
    keys: list[tuple[int | str, ...]] = [(), (0,), (1,), ("1",), (0, 1), (1, 0), (0, "order"), ("order", 0), (0, 1, 0)]
    assert len({derive(*key) for key in keys}) == len(keys)
    assert derive(3, "order", 7) == derive(3, "order", 7)


def test_runs_of_earlier_versions_go_on_in_the_same_order() -> None:
    digest = hashlib.blake2b(b"(0, 'order', 1)", digest_size=8).hexdigest()
    assert derive(0, "order", 1) == int(digest, 16) // 2


def test_numbers_are_spread_evenly_below_two_to_the_63() -> None:
    shares = [derive(seed) / 2**63 for seed in range(2000)]
    assert min(shares) >= 0 and max(shares) < 1
    assert stats.kstest(shares, "uniform").pvalue > 0.01
