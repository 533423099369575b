"""Classes of few images and of many, told equally well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.skew import log_priors
from tlaam.models.output import TLAAMOutput
from tlaam.probe.classifiers import solve_classifiers
from tlaam.runs.history import score
from tlaam.training.balance import balanced_order, image_weights
from tlaam.training.loss import TwoLevelLoss
from tlaam.training.sampler import StepBatches
from tlaam.training.validation import Validation, better


def counted(*counts: int) -> LabelledImages:
    samples = [Sample(f"{c}/{i}", f"{c}/{i}", c, "train") for c, n in enumerate(counts) for i in range(n)]
    return LabelledImages("x", Path("x"), "folder", tuple(map(str, range(len(counts)))), tuple(samples))


@pytest.mark.parametrize(("counts", "chosen"), [((30, 30), "none"), ((39, 10), "none"), ((40, 10), "logits")])
def test_the_counts_choose(counts: tuple[int, ...], chosen: str) -> None:
    settings = Config.from_flat({"accelerator": "cpu", "pretrained": "none", "epochs": 1})
    assert resolve(settings, counted(*counts)).training.balance == chosen
    asked = settings.with_options(balance="sampler")
    assert resolve(asked, counted(*counts)).training.balance == "sampler"


def test_of_two_gaussians_the_adjusted_answer_is_the_better_fit() -> None:
    """Nine to one; where both fit equally well Bayes' rule has the frequent one by log 9, which is taken out."""
    labels = np.repeat([0, 1], [90, 10])
    scores = np.array([[np.log(0.9), np.log(0.1)]])  # what a perfect model says where both fit equally well
    np.testing.assert_allclose(np.diff(scores - log_priors(labels, 2)), 0.0, atol=1e-12)


def test_the_loss_adds_what_the_scores_need_not_hold() -> None:
    raw, labels = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.1, -1.0]]), torch.tensor([1, 0])
    output = TLAAMOutput(raw.softmax(-1), raw, raw + 1, None, None, None, None, joint_logits=2 * raw)
    priors = torch.tensor([0.7, -0.7])  # of the third class there are no images
    loss = TwoLevelLoss(log_priors=priors)(output, labels)
    shifted = torch.tensor([0.7, -0.7, 0.0])
    expected = [cross_entropy(scores + shifted, labels) for scores in (raw, raw + 1, 2 * raw)]
    torch.testing.assert_close(loss.total, torch.stack(expected).sum())
    assert abs(float(loss.raw - TwoLevelLoss()(output, labels).raw)) > 0.05


@pytest.mark.parametrize("fusion", ["joint", "mean"])
def test_a_probe_has_it_in_its_biases_and_in_what_is_said_of_it(fusion: str) -> None:
    """Thirty images of one class before three of the other, drawn around points that are near each other."""
    draws, labels = np.random.default_rng(0), np.repeat([0, 1], [60, 6])
    views = draws.normal(0.15 * labels[:, None, None], 1.0, (66, 2, 512)).astype(np.float32)
    folds = np.arange(66) % 3
    found = {}
    for name, offsets in (("none", np.zeros(2)), ("logits", log_priors(labels, 2))):
        solved = solve_classifiers(views, labels, 2, folds, joint=fusion == "joint", offsets=offsets)
        heads = [head for head in (solved.shared, solved.joint) if head is not None]
        assert len(heads) == 1 + (fusion == "joint")
        found[name] = ([head.bias for head in heads], [head.weight for head in heads], solved.scores)
    for mine, other in zip(found["none"][0], found["logits"][0], strict=True):
        np.testing.assert_allclose(mine - other, log_priors(labels, 2), atol=1e-5)
    for one, two in zip(found["none"][1], found["logits"][1], strict=True):
        np.testing.assert_array_equal(one, two)
    rare = {name: (scores.argmax(1)[labels == 1] == 1).mean() for name, (*_, scores) in found.items()}
    assert rare["logits"] > rare["none"]


def test_each_class_comes_equally_often_and_its_images_in_turn() -> None:
    labels = np.repeat([0, 1, 2], [20, 8, 2])
    order = np.random.default_rng(0).permutation(30)
    indices, before = balanced_order(labels, order)
    assert np.bincount(labels[indices]).tolist() == [10, 10, 10]
    of_smallest = indices[labels[indices] == 2]
    assert np.bincount(of_smallest - 28).tolist() == [5, 5]
    assert sorted(before[labels[indices] == 2].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    of_largest = indices[labels[indices] == 0]
    assert of_largest.tolist() == order[labels[order] == 0][:10].tolist()  # another epoch's order shows others
    assert not before[labels[indices] == 0].any()


def test_a_run_shows_each_class_equally_often_and_goes_on_with_the_same_batches() -> None:
    labels = [0] * 20 + [1] * 8 + [2] * 2
    whole = list(StepBatches(30, 7, 3, 0, balanced=labels))
    assert [len(batch) for batch in whole] == [7, 7, 7, 7, 2] * 3
    for epoch in range(3):
        keys = [key for batch in whole[5 * epoch : 5 * epoch + 5] for key in batch]
        assert np.bincount([labels[index] for _, index in keys]).tolist() == [10, 10, 10]
        assert len(set(keys)) == 30 and {number % 3 for number, _ in keys} == {epoch}
    assert list(StepBatches(30, 7, 3, 0, balanced=labels, start_step=8)) == whole[8:]
    assert list(StepBatches(30, 7, 3, 0)) != whole


def test_held_out_images_of_a_rare_class_count_as_much_as_its_frequent_one() -> None:
    """Nine images get a little better, the only one of the rare class a good deal worse."""
    labels = [0] * 9 + [1]
    old = torch.full((10,), 1.0)
    new = torch.tensor([0.7] * 9 + [2.0])
    weights = torch.from_numpy(image_weights(labels))
    assert float((weights * (old - new)).mean()) == pytest.approx(0.5 * 0.3 - 0.5 * 1.0)
    assert better(new, old) and not better(new, old, weights)
    losses = torch.stack([new, torch.tensor([1.4] * 9 + [0.1])], 1)
    losses = torch.cat([losses, torch.full((10, 11), 9.0)], 1)
    found = Validation({}, losses, torch.zeros(10))
    assert found.calibrated()[0].tolist() == new.tolist()
    assert found.calibrated(weights)[0].tolist() == losses[:, 1].tolist()


def test_macro_f1_decides_where_it_was_measured() -> None:
    row = {"val_top1_fused": 0.9, "val_loss_fused": 0.4}
    assert score(row) == (0.9, -0.4)
    assert score({**row, "val_macro_f1_fused": 0.3}) == (0.3, -0.4)
