"""What a network comes to on images, by hand; and when one list of losses is clearly better than another."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from scipy import stats
from torch import Tensor, nn

from tlaam.models.output import TLAAMOutput
from tlaam.training.dataset import Item
from tlaam.training.validation import TEMPERATURES, Validation, better, standard_error, validate

RAW = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]]).log()
PARTS = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.4, 0.6], [0.8, 0.2]], [[0.1, 0.9], [0.3, 0.7]]]).log()
LABELS = torch.tensor([0, 1, 1])


class Table(nn.Module):
    """Answers the image of brightness i with row i of tables; three images, two classes."""

    mean: Tensor

    def __init__(self, joint: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.scores = joint
        if joint is not None:
            self.joint = nn.Identity()

    def forward(self, images: Tensor) -> TLAAMOutput:
        assert not self.training
        rows = images[:, 0, 0, 0].long()
        raw, parts = RAW[rows], PARTS[rows]
        joint = None if self.scores is None else self.scores[rows]
        fused = (raw.softmax(-1) + parts.softmax(-1).mean(1)) / 2 if joint is None else joint.softmax(-1)
        return TLAAMOutput(fused, raw, None, parts, None, None, None, joint_logits=joint)


def batches(*places: list[int]) -> list[Item]:
    nothing = torch.empty(0)
    made = []
    for positions in places:
        rows = torch.tensor(positions)
        images = rows.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
        made.append(Item(images, LABELS[rows], rows, nothing, nothing, nothing, nothing))
    return made


def measured(network: Any, *places: list[int]) -> Validation:
    return validate(Fabric(accelerator="cpu", devices=1), network, batches(*places), 3)


def test_losses_and_hits_of_each_branch_are_means_over_all_batches() -> None:
    found = measured(Table(), [2, 0], [1])
    of_parts = [0.7, 0.4, 0.8]  # the labels' mean probabilities
    of_raw = [0.7, 0.8, 0.4]
    of_fused = [(a + b) / 2 for a, b in zip(of_raw, of_parts, strict=True)]
    expected = {
        "loss_raw": -sum(map(math.log, of_raw)) / 3, "top1_raw": 2 / 3,
        "loss_parts": -sum(map(math.log, of_parts)) / 3, "top1_parts": 2 / 3,
        "loss_fused": -sum(map(math.log, of_fused)) / 3, "top1_fused": 1.0,
    }  # fmt: skip
    assert found.measures == pytest.approx(expected)
    assert found.losses.shape == (3, 1)
    assert found.losses[:, 0].tolist() == pytest.approx([-math.log(value) for value in of_fused])
    losses, temperature = found.calibrated()
    assert torch.equal(losses, found.losses[:, 0]) and temperature == 1.0


class Device:
    """One of several devices: adds to its own sums those of another."""

    device = torch.device("cpu")

    def __init__(self, others: list[Tensor]) -> None:
        self.given: list[Tensor] = []
        self.others = iter(others)

    def autocast(self) -> Any:
        return nullcontext()

    def all_reduce(self, own: Tensor, *, reduce_op: str) -> Tensor:
        assert reduce_op == "sum"
        self.given.append(own.clone())
        return own + next(self.others)


def test_devices_come_to_what_one_comes_to() -> None:
    nothing = [torch.zeros(4, 3), torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)]
    first: Any = Device(nothing)
    validate(first, Table(), batches([2, 0]), 3)  # type: ignore[arg-type]
    second: Any = Device(first.given)
    found, alone = validate(second, Table(), batches([1]), 3), measured(Table(), [0, 1, 2])  # type: ignore[arg-type]
    assert found.measures == pytest.approx(alone.measures)
    torch.testing.assert_close(found.losses, alone.losses)
    assert found.answers.tolist() == alone.answers.tolist() == [0, 1, 1]


def test_a_joint_answers_losses_stand_at_each_temperature() -> None:
    scores = torch.tensor([[1.0, 0.0], [1.0, 2.0], [3.0, 0.0]])
    found = measured(Table(scores), [1], [2, 0])
    assert found.losses.shape == (3, len(TEMPERATURES))
    assert TEMPERATURES[0] == 0.25 and TEMPERATURES[8] == 1.0 and TEMPERATURES[-1] == 8.0
    for place, temperature in enumerate(TEMPERATURES):
        expected = [math.log1p(math.exp(gap / temperature)) for gap in (-1.0, -1.0, 3.0)]
        assert found.losses[:, place].tolist() == pytest.approx(expected, rel=1e-4)
    assert found.measures["loss_fused"] == pytest.approx(found.losses[:, 8].mean().item())
    losses, temperature = found.calibrated()
    means = found.losses.mean(0).tolist()
    assert means.index(min(means)) == TEMPERATURES.index(temperature) and losses.mean().item() == min(means)


def test_a_label_of_no_probability_costs_much_and_not_infinitely() -> None:
    scores = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1000.0, 0.0]])
    found = measured(Table(scores), [0, 1, 2])
    least = torch.finfo(torch.float32).tiny
    assert found.measures["loss_fused"] == pytest.approx((2 * math.log(2) - math.log(least)) / 3)


def test_the_standard_error_is_that_of_scipy() -> None:
    values = torch.tensor([0.5, -1.0, 2.0, 0.25, 1.5])
    assert standard_error(values) == pytest.approx(stats.sem(values.numpy()))
    assert standard_error(values[:2]) == pytest.approx(stats.sem(values[:2].numpy()))
    assert standard_error(values[:1]) == math.inf


@pytest.mark.parametrize(("gain", "expected"), [(0.01, True), (-0.01, False), (0.0, False)])
def test_a_gain_counts_on_average(gain: float, expected: bool) -> None:
    noise = torch.tensor([0.5, -0.5, 0.25, -0.25])
    old = torch.full((4,), 3.0)
    assert better(old - gain - noise, old) is expected


def test_networks_that_are_right_of_all_images_are_equals() -> None:
    """Of 8 images a loss counts for -log(1 - 1/10) = 0.105 at least."""
    sure, surer = torch.full((8,), 0.1), torch.linspace(0.01, 0.02, 8)
    assert not better(surer, sure)
    assert better(torch.linspace(0.1, 0.11, 8), torch.linspace(0.115, 0.125, 8))
    assert not better(torch.zeros(1), torch.ones(1)), "one image tells nothing"
