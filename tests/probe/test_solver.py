"""The probe's solver: the optimum, the same in the images' span, folding, classes that are absent, and λ by folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from tlaam.data.folds import stratified_folds
from tlaam.errors import DataError
from tlaam.probe.solver import L2_GRID, Scaling, fit_probe, negative_log_likelihood, solve, temperature


def blobs(
    images: int, features: int, classes: int, spread: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = random.normal(size=(classes, features))
    return centres[labels] + spread * random.normal(size=(images, features)) + 3.0, labels


@pytest.mark.parametrize(("images", "features"), [(40, 8), (12, 50)])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_optimum_of_the_stated_problem(images: int, features: int, classes: int) -> None:
    """The gradient of the documented objective, by autograd on the standardised features, is 0."""
    values, labels = blobs(images, features, classes)
    probe = solve(values, labels, classes, 0.05)
    mean, scale = torch.from_numpy(values.mean(0)), torch.from_numpy(values.std(0))
    weight = (torch.from_numpy(probe.weight) * scale).requires_grad_()
    bias = (torch.from_numpy(probe.bias + probe.weight @ values.mean(0))).requires_grad_()
    logits = (torch.from_numpy(values) - mean) / scale @ weight.T + bias
    objective = cross_entropy(logits, torch.from_numpy(labels)) + 0.025 * weight.square().sum()
    gradients = torch.autograd.grad(objective, [weight, bias])
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-4


def test_a_feature_that_never_changes_and_a_class_without_images_do_no_harm() -> None:
    values, labels = blobs(30, 6, 3)
    values[:, 2] = 7.0
    probe = solve(values, labels + 1, 5, 0.01)  # of classes 0 and 4 there are no images
    scores = probe.logits(values)
    assert np.isfinite(scores).all() and set(scores.argmax(1).tolist()) <= {1, 2, 3}
    assert not probe.weight[:, 2].any()


def test_one_class_cannot_be_told_from_anything() -> None:
    with pytest.raises(DataError, match="two classes"):
        solve(np.ones((3, 2)), np.zeros(3, dtype=np.int64), 2, 0.1)


def test_l2_is_chosen_on_images_that_were_not_seen() -> None:
    """Noise alone asks for the strongest λ; classes far apart for one of the weakest."""
    folds = stratified_folds(*_names(60, 3), 5)
    random = np.random.default_rng(0)
    noise = fit_probe(random.normal(size=(60, 30)), np.arange(60) % 3, 3, folds)
    assert noise.l2 == pytest.approx(10**0.5)
    clear = fit_probe(*blobs(60, 30, 3, spread=0.1), 3, folds)
    assert clear.l2 <= min(L2_GRID) * 11
    assert (clear.out_of_fold.argmax(1) == np.arange(60) % 3).all()


def test_out_of_fold_scores_are_of_probes_that_did_not_see_the_image() -> None:
    values, labels = blobs(40, 8, 4)
    folds = stratified_folds(*_names(40, 4), 4)
    fit = fit_probe(values, labels, 4, folds, [0.1])
    away = folds != 2
    np.testing.assert_allclose(
        fit.out_of_fold[~away], solve(values[away], labels[away], 4, 0.1).logits(values[~away]), atol=2e-2
    )


def test_temperature_makes_scores_honest_and_changes_no_answer() -> None:
    values, labels = blobs(200, 4, 4, spread=1.5)
    scores = 10 * solve(values, labels, 4, 0.1).logits(values)
    found = temperature(scores, labels)
    assert found > 2 and negative_log_likelihood(scores / found, labels) < negative_log_likelihood(scores, labels)
    around = [negative_log_likelihood(scores / (found * factor), labels) for factor in (0.9, 1, 1.1)]
    assert min(around) == around[1]


def test_the_only_image_of_a_class_decides_neither_l2_nor_temperature() -> None:
    values, labels = blobs(60, 8, 3, spread=1.5)
    folds = stratified_folds(*_names(60, 3), 5)
    with_lone = fit_probe(
        np.concatenate([values, [[7.0] * 8]]), np.append(labels, 3), 4, np.append(folds, 0), [0.03, 0.1]
    )
    assert not with_lone.known[-1] and with_lone.known[:-1].all()
    assert with_lone.temperature == pytest.approx(fit_probe(values, labels, 3, folds, [0.03, 0.1]).temperature, rel=0.3)
    assert with_lone.probe.logits(np.array([[7.0] * 8])).argmax() == 3  # it was learnt all the same


def test_features_that_mislead_are_given_less_weight() -> None:
    values, labels = blobs(60, 8, 3)
    noise = np.random.default_rng(1).normal(size=(60, 200))
    folds = stratified_folds(*_names(60, 3), 5)
    scalings = [Scaling(), Scaling((1.0, *[0.05] * 25))]
    chosen = fit_probe(np.hstack([values, noise]), labels, 3, folds, scalings=scalings)
    even = fit_probe(np.hstack([values, noise]), labels, 3, folds)
    assert chosen.scaling == scalings[1]
    assert negative_log_likelihood(chosen.out_of_fold, labels) < negative_log_likelihood(even.out_of_fold, labels)


def test_a_rare_feature_does_not_decide_about_new_images() -> None:
    """Two features tell the classes; a third is 0 but for a hair in one image, and large in a new one."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = random.normal(size=(40, 3))
    features[:, 0] += 3 * labels
    features[:, 2] = 0
    features[1, 2] = 1e-5
    folds = np.arange(40) // 2 % 5
    new = np.array([[-0.5, 0.0, 0.5]])  # of class 0, by what tells them
    plain = fit_probe(features, labels, 2, folds)
    calm = fit_probe(features, labels, 2, folds, scalings=[Scaling(floor=0.3)])
    assert plain.probe.logits(new).argmax() == 1 and calm.probe.logits(new).argmax() == 0


def test_a_feature_is_as_rare_as_the_fold_that_learns_says() -> None:
    """A third feature is a hair, but large in the images of one fold; who learns without it knows only the hair."""
    random = np.random.default_rng(0)
    labels, folds = np.arange(40) % 2, np.arange(40) // 2 % 5
    features = random.normal(size=(40, 3))
    features[:, 0] += 3 * labels
    features[:, 2] = 1e-5 * (1 - labels) + np.where(folds == 0, 1.0, 0.0)
    plain = fit_probe(features, labels, 2, folds, [0.01])
    calm = fit_probe(features, labels, 2, folds, [0.01], [Scaling(floor=0.3)])
    of_fold = labels[folds == 0]
    assert (plain.out_of_fold[folds == 0].argmax(1) == of_fold).mean() == 0.5  # decided by that feature alone
    assert (calm.out_of_fold[folds == 0].argmax(1) == of_fold).mean() >= 0.8


def test_of_scalings_the_best_is_found_wherever_its_lambda_is() -> None:
    """The second scaling's best λ is three steps from the first's; it is walked to."""
    values, labels = blobs(60, 8, 3, spread=2.0)
    folds = stratified_folds(*_names(60, 3), 5)
    loud = Scaling((1000.0,))
    both = fit_probe(values, labels, 3, folds, np.geomspace(1e-4, 1e4, 9).tolist(), [loud, Scaling()])
    alone = fit_probe(values, labels, 3, folds, np.geomspace(1e-4, 1e4, 9).tolist())
    assert (
        negative_log_likelihood(both.out_of_fold, labels) <= negative_log_likelihood(alone.out_of_fold, labels) + 1e-3
    )


def test_no_more_folds_are_held_out_than_are_needed() -> None:
    values, labels = blobs(60, 8, 3)
    folds = stratified_folds(*_names(60, 3), 5)
    some = fit_probe(values, labels, 3, folds, enough=20)
    assert set(folds[some.held_out]) == {0, 1} and (some.known == some.held_out).all()
    assert not some.out_of_fold[~some.held_out].any() and some.out_of_fold[some.held_out].any(1).all()
    assert fit_probe(values, labels, 3, folds).held_out.all()


def test_nobody_is_sure_after_a_few_images_that_were_all_right() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    scores = 50 * np.eye(3)[labels] + random.normal(size=(60, 3))
    heat = temperature(scores, labels)
    confidence = (np.exp(scores / heat) / np.exp(scores / heat).sum(1, keepdims=True)).max(1).mean()
    smoothed = np.full((60, 3), 1 / 62 / 3) + 61 / 62 * np.eye(3)[labels]  # Platt's targets, over three classes

    def by_hand(t: float) -> float:
        logs = scores / t - np.log(np.exp(scores / t).sum(1, keepdims=True))
        return float(-(smoothed * logs).sum(1).mean())

    grid = np.geomspace(0.1, 100, 2000)
    assert heat == pytest.approx(grid[np.argmin([by_hand(t) for t in grid])], rel=0.01)
    assert 0.98 < confidence < 0.995
    many = temperature(np.tile(scores, (100, 1)), np.tile(labels, 100))
    assert many < heat  # more images, less doubt


def test_two_images_are_a_probe_of_which_nothing_is_known() -> None:
    fit = fit_probe(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]), 2, np.array([0, 1]))
    assert not fit.known.any() and fit.temperature == 1.0
    assert fit.probe.logits(np.array([[0.0, 1.0], [1.0, 0.0]])).argmax(1).tolist() == [0, 1]


def _names(images: int, classes: int) -> tuple[list[int], list[str]]:
    return [number % classes for number in range(images)], [f"{number}.jpg" for number in range(images)]
