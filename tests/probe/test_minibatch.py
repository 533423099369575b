"""The probe in mini-batches: the exact solver's answer, whatever the order, the scale, the classes and the place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from tlaam.errors import DataError
from tlaam.probe import features, minibatch, selection, solver
from tlaam.probe.linear import STANDARD, LinearProbe, Scaling, moments
from tlaam.probe.minibatch import MinibatchPath
from tlaam.probe.selection import _coarse
from tlaam.probe.solver import fit_probe, solve

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "probe_large.py"
Values, Labels = NDArray[np.float32], NDArray[np.int64]


def pooled(images: int, width: int, classes: int, apart: float = 1.0) -> tuple[Values, Labels]:
    """Features as networks pool them: positive, correlated, of decaying spectrum; images in the order of classes."""
    random = np.random.default_rng(0)
    labels = np.sort(np.arange(images) % classes)
    spectrum = np.arange(1, width + 1) ** -0.7
    mix = random.normal(size=(width, width)) / width**0.5
    of_class = apart * random.normal(size=(classes, width))
    hidden = (of_class[labels] + random.normal(size=(images, width))) * spectrum
    return np.maximum(3 * hidden @ mix + 0.3, 0).astype(np.float32), labels


def objective(probe: LinearProbe, values: Values, labels: Labels, l2: float, scaling: Scaling = STANDARD) -> float:
    """The documented objective in float64, of a probe on features as they come from the network."""
    scale = scaling.divisors(values.std(0, dtype=np.float64))
    loss = cross_entropy(torch.from_numpy(probe.logits(values)), torch.from_numpy(labels))
    return float(loss) + l2 / 2 * float(np.square(probe.weight * np.where(np.isfinite(scale), scale, 0)).sum())


def chances(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities: what two probes share whose biases differ by a constant, which the objective does not see."""
    return torch.from_numpy(scores.astype(np.float64)).softmax(1).numpy()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is too large for the exact solver, and a chunk holds a fraction of the images."""
    monkeypatch.setattr(solver, "EXACT_BYTES", 1)
    monkeypatch.setattr(minibatch, "_CHUNK_BYTES", 200_000)
    monkeypatch.setattr(selection, "_ROWS_BYTES", 50_000)


@pytest.mark.parametrize(("l2", "weighted"), [(0.1, False), (0.01, True), (0.001, False)])
def test_it_is_the_exact_solver_s_answer(
    large: None, monkeypatch: pytest.MonkeyPatch, l2: float, weighted: bool
) -> None:
    values, labels = pooled(3000, 60, 20)
    seen, held_out = np.arange(3000) % 5 > 0, np.arange(3000) % 5 == 0
    scaling = Scaling((0.5, 1.0, 0.5), 0.3) if weighted else STANDARD
    mine = solve(values[seen], labels[seen], 20, l2, scaling)
    monkeypatch.setattr(solver, "EXACT_BYTES", 1 << 30)
    exact = solve(values[seen], labels[seen], 20, l2, scaling)
    least = objective(exact, values[seen], labels[seen], l2, scaling)
    assert least * (1 - 1e-6) <= objective(mine, values[seen], labels[seen], l2, scaling) <= least * (1 + 1e-3)
    ours, theirs = mine.logits(values[held_out]), exact.logits(values[held_out])
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.99
    ours, theirs = chances(ours), chances(theirs)
    assert np.abs(ours - theirs).mean() < 1e-3 and np.abs(ours - theirs).max() < 0.1


@pytest.mark.parametrize("correlated", [True, False])
def test_what_it_says_of_itself_is_so(large: None, monkeypatch: pytest.MonkeyPatch, correlated: bool) -> None:
    """The objective is the documented one, and no farther above the least than it says, however early it stops."""
    monkeypatch.setattr(minibatch, "_DECORRELATED", 8192 if correlated else 0)
    values, labels = pooled(2000, 40, 10)
    monkeypatch.setattr(solver, "EXACT_BYTES", 1 << 30)
    least = objective(solve(values, labels, 10, 0.01), values, labels, 0.01)
    for passes in (1, 3, 60):
        path = MinibatchPath(values, labels, 10)
        probe = path.at(0.01, passes=passes)
        assert path.objective == pytest.approx(objective(probe, values, labels, 0.01), rel=1e-4)
        assert path.objective - least <= path.gap + 1e-5
    assert path.gap <= 1e-3 * path.objective


def test_each_lambda_starts_from_the_one_before(large: None) -> None:
    values, labels = pooled(2000, 40, 10)
    path = MinibatchPath(values, labels, 10)
    path.at(0.01)
    before = path.passes
    path.at(0.008)
    fresh = MinibatchPath(values, labels, 10)
    fresh.at(0.008)
    assert path.passes - before < fresh.passes
    np.testing.assert_allclose(path.objective, fresh.objective, rtol=2e-3)
    for_others = MinibatchPath(values, labels, 10, Scaling((0.5, 1.0)))
    for_others.begin_from(fresh.at(0.008))
    assert for_others.passes == 0 and for_others.begun


def test_a_start_that_is_worse_than_none_is_left() -> None:
    values, labels = pooled(1000, 20, 5)
    path = MinibatchPath(values, labels, 5)
    path.begin_from(LinearProbe(1e4 * np.random.default_rng(0).normal(size=(5, 20)), np.zeros(5)))
    path.at(0.01, passes=30)
    assert path.gap <= 1e-3 * path.objective


@pytest.mark.parametrize("present", [[1, 3], [1, 3, 4]])
def test_classes_without_images_and_features_that_never_change(large: None, present: list[int]) -> None:
    values, place = pooled(600, 20, len(present))
    values[:, 7] = 5.0
    labels = np.array(present)[place]
    probe = solve(values, labels, 6, 0.01)
    scores = probe.logits(values)
    absent = np.setdiff1d(np.arange(6), present)
    assert np.isfinite(scores).all() and set(scores.argmax(1).tolist()) == set(present)
    assert scores[:, absent].max() < scores[:, present].min(initial=np.inf)
    assert not probe.weight[:, 7].any() and not probe.weight[absent].any()


def test_one_class_cannot_be_told_from_anything(large: None) -> None:
    with pytest.raises(DataError, match="two classes"):
        solve(np.ones((3, 2)), np.zeros(3, dtype=np.int64), 2, 0.1)


def test_the_same_seed_is_the_same_probe_and_another_s_order_is_another(large: None) -> None:
    values, labels = pooled(1500, 30, 8)
    first, again, other = (MinibatchPath(values, labels, 8, seed=seed).at(0.01, passes=1) for seed in (0, 0, 1))
    assert_array_equal(first.weight, again.weight)
    assert_array_equal(first.bias, again.bias)
    assert not np.array_equal(first.weight, other.weight)


def test_every_row_is_in_one_mini_batch_of_a_pass_and_classes_are_mixed(large: None) -> None:
    values, labels = pooled(3001, 30, 10)
    values[:, 0] = np.arange(3001)
    path = MinibatchPath(values, labels, 10, rows=labels != 4)
    batches = list(path._shuffled(1))
    rows = torch.cat([batch for batch, _ in batches])[:, 0] * float(path.scale[0]) + float(path.mean[0])
    assert_array_equal(np.sort(rows.round().numpy()), np.flatnonzero(labels != 4))
    assert_array_equal(path.present[torch.cat([of for _, of in batches])], labels[rows.round().long()])
    assert min(len(of.unique()) for _, of in batches) >= 6  # the images come class by class


def test_moments_of_features_far_from_zero() -> None:
    values = (np.random.default_rng(0).normal(size=(100_000, 3)) * [1, 1e-2, 1] + [1e3, 10, 0]).astype(np.float32)
    rows = np.flatnonzero(np.arange(100_000) % 3)
    mean, deviation = moments(values, rows)
    exact = values[rows].astype(np.longdouble)
    np.testing.assert_allclose(mean, exact.mean(0).astype(np.float64), rtol=1e-12)
    np.testing.assert_allclose(deviation, exact.std(0).astype(np.float64), rtol=1e-10)


def test_lambda_by_one_fold_of_a_memory_map(large: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values, labels = pooled(2000, 40, 10, apart=0.6)
    folds = np.arange(2000) % 5
    monkeypatch.setattr(features, "MEMORY_BYTES", 1)
    with features.FeatureStore(2000, 2, 20, tmp_path) as store:
        store.append(values.reshape(2000, 2, 20))
        fit = fit_probe(store.array.reshape(2000, 40), labels, 10, folds)
        shared = fit_probe(store.array.reshape(4000, 20), labels.repeat(2), 10, folds.repeat(2), [fit.l2])
    assert_array_equal(fit.held_out, folds == 0)
    assert_array_equal(fit.known, folds == 0)
    assert_array_equal(shared.held_out, (folds == 0).repeat(2))
    assert fit.out_of_fold.shape == (2000, 10) and not fit.out_of_fold[folds > 0].any()
    assert not list(tmp_path.iterdir())
    away = folds == 0
    scores = [
        _exactly(monkeypatch, solve, values[~away], labels[~away], 10, l2).logits(values[away])
        for l2 in (fit.l2, 10 * fit.l2, fit.l2 / 10)
    ]
    losses = [solver.negative_log_likelihood(those, labels[away]) for those in scores]
    assert losses[0] == min(losses)  # the exact solver would have chosen no other
    assert np.abs(chances(scores[0]) - chances(fit.out_of_fold[away])).mean() < 5e-3  # λ is chosen by rougher probes
    assert fit.temperature == pytest.approx(solver.temperature(scores[0], labels[away]), rel=0.05)
    least = objective(_exactly(monkeypatch, solve, values, labels, 10, fit.l2), values, labels, fit.l2)
    assert objective(fit.probe, values, labels, fit.l2) <= least * (1 + 1e-3)


def _exactly(monkeypatch: pytest.MonkeyPatch, function: Any, *given: Any) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(solver, "EXACT_BYTES", 1 << 30)
        return function(*given)


def test_features_that_mislead_are_given_less_weight(large: None) -> None:
    values, labels = pooled(300, 20, 4)
    noise = np.random.default_rng(1).normal(size=(300, 100)).astype(np.float32)
    both, folds = np.hstack([values, noise]), np.arange(300) % 5
    scalings = [Scaling(), Scaling((1.0, *[0.05] * 5))]
    chosen = fit_probe(both, labels, 4, folds, scalings=scalings)
    even = fit_probe(both, labels, 4, folds)
    assert chosen.scaling == scalings[1] and even.scaling == scalings[0]
    of = labels[chosen.known]
    assert solver.negative_log_likelihood(chosen.out_of_fold[chosen.known], of) < solver.negative_log_likelihood(
        even.out_of_fold[even.known], of
    )


def test_noise_asks_for_a_strong_lambda_and_clear_classes_for_one_weaker_than_the_grid(large: None) -> None:
    random, labels, folds = np.random.default_rng(0), np.arange(600) % 3, np.arange(600) // 3 % 5
    assert fit_probe(random.normal(size=(600, 30)), labels, 3, folds).l2 >= 0.3
    clear = random.normal(size=(3, 30))[labels] + 0.1 * random.normal(size=(600, 30))
    assert fit_probe(clear, labels, 3, folds).l2 < 2e-4
    assert fit_probe(clear, labels, 3, folds, [0.01, 0.1]).l2 == 0.01  # none but what was asked for


def test_what_is_tried_of_a_grid() -> None:
    assert _coarse([1e-3 * 10 ** (step / 2) for step in range(8)]) == pytest.approx([1.0, 0.1, 0.01, 0.001])
    assert _coarse(solver.L2_GRID)[-1] == min(solver.L2_GRID)
    assert _coarse([0.1, 0.3, 0.03, 0.1]) == [0.3, 0.1, 0.03]
    assert _coarse([0.5]) == [0.5]


def test_the_only_image_of_a_class_decides_nothing_and_is_learnt(large: None) -> None:
    values, labels = pooled(300, 20, 3)
    values, labels = np.vstack([values, np.full((1, 20), 9.0, np.float32)]), np.append(labels, 3)
    fit = fit_probe(values, labels, 4, np.append(np.arange(300) % 5, 0), [0.001, 0.01])
    assert fit.held_out[-1] and not fit.known[-1] and fit.known.sum() == 60
    assert fit.probe.logits(values[-1:]).argmax() == 3


def test_two_images_are_a_probe_of_which_nothing_is_known(large: None) -> None:
    values = np.array([[0.0, 1.0], [1.0, 0.0]])
    fit = fit_probe(values, np.array([0, 1]), 2, np.array([0, 1]))
    assert not fit.held_out.any() and not fit.known.any() and fit.temperature == 1.0
    assert fit.probe.logits(values).argmax(1).tolist() == [0, 1]


def test_what_is_large_is_told_by_features_and_by_scores() -> None:
    def said(images: int, width: int, classes: int) -> bool:
        return solver._is_large(np.broadcast_to(np.float32(0), (images, width)), classes)

    assert not said(100_000, 5368, 1000) and said(100_000, 5376, 1000)
    assert said(1_000_000, 100, 1000) and not said(1_000_000, 100, 100)


def test_the_benchmark_in_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`benchmarks/probe_large.py`: random classes in a file, nearly as well told as the best rule tells them."""
    monkeypatch.setattr(solver, "EXACT_BYTES", 1 << 20)
    monkeypatch.setattr(features, "MEMORY_BYTES", 1 << 20)
    figures = _module(BENCHMARK).measured(2000, 50, 3, 50, 0.5, tmp_path)
    assert figures["in a file"] and not list(tmp_path.iterdir())
    best = figures["top-1 of the held out, nearest mean of the images not held out"]
    assert 0.9 < best <= 1 and figures["top-1 of the held out"] > best - 0.05
    assert figures["of it, above the least, at most"] <= 1e-3


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module
