"""Random windows: new ones for each image while training, the same ones ever after otherwise."""

from __future__ import annotations

import torch

from tlaam.models.parts.random_windows import RandomWindows


def test_windows_have_the_sizes_asked_for_and_lie_inside() -> None:
    parts = RandomWindows(3, (0.25, 0.5))
    boxes = parts(torch.rand(4, 2, 7, 7), 64)
    assert boxes.shape == (4, parts.count, 4) and parts.count == 6 and parts.reach == 0.5
    sides = boxes[..., 2:] - boxes[..., :2]
    torch.testing.assert_close(sides, torch.tensor([16.0, 32.0] * 3)[:, None].expand(4, 6, 2))
    assert boxes.min() >= 0 and boxes.max() <= 64


def test_an_answer_can_be_repeated_and_training_draws_anew() -> None:
    parts, other = RandomWindows(), RandomWindows()
    features = torch.rand(2, 2, 7, 7)
    drawn = parts.train()(features, 64)
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn, parts(features, 64))
    fixed = parts.eval()(features, 64)
    assert torch.equal(fixed[0], fixed[1]) and torch.equal(fixed, parts(torch.rand(2, 2, 7, 7), 64))
    assert not torch.equal(other.eval()(features, 64), fixed)
    other.load_state_dict(parts.state_dict())
    assert torch.equal(other(features, 64), fixed)
