"""Neighbours: beside all distances worked out, and by the index of very many."""

from __future__ import annotations

import numpy as np
import pytest

from tlaam.cleaning import neighbours
from tlaam.cleaning.neighbours import directions, nearest


def test_the_nearest_are_those_of_the_largest_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 7)
    vectors = directions(np.random.default_rng(0).normal(3, 1, (50, 6)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    found = nearest(vectors, 3)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    assert (found.places == np.argsort(-cosines, axis=1)[:, :3]).all()
    np.testing.assert_allclose(found.similarities, -np.sort(-cosines, axis=1)[:, :3], atol=1e-6)


@pytest.mark.parametrize(("count", "wanted"), [(0, (0, 0)), (1, (1, 0)), (2, (2, 1))])
def test_few_images_have_few_neighbours(count: int, wanted: tuple[int, int]) -> None:
    assert nearest(directions(np.eye(4)[:count]), 5).places.shape == wanted


def test_of_very_many_the_index_finds_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "EXACT", 1000)
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 256)).astype(np.float32)
    rows[1500:1600] = rows[:100] + 0.1 * random.normal(size=(100, 256))
    vectors = directions(rows)
    assert vectors.shape == (3000, 128)
    found = nearest(vectors, 4)
    assert (found.places[:100, 0] == np.arange(1500, 1600)).mean() > 0.95
    assert not (found.places == np.arange(3000)[:, None]).any() and (found.similarities[:100, 0] > 0.9).mean() > 0.95
