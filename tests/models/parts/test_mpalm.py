"""MPALM: peaks and windows against a slow loop; every window inside the object image."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tlaam.errors import ModelError
from tlaam.models.parts import mpalm as module
from tlaam.models.parts.mpalm import MPALM, peak_positions, pyramid_windows


@pytest.mark.parametrize("response", ["max", "mean"])
def test_peaks_equal_a_slow_loop(response: str) -> None:
    features = torch.rand(4, 12, 5, 7, generator=torch.Generator().manual_seed(0))
    found = peak_positions(features, 3, response)  # type: ignore[arg-type]
    for row, maps in enumerate(features):
        strength = [float(m.max() if response == "max" else m.mean()) for m in maps]
        for place, channel in enumerate(sorted(range(12), key=lambda k: -strength[k])[:3]):
            y, x = divmod(int(maps[channel].argmax()), 7)
            torch.testing.assert_close(found[row, place], torch.tensor([(x + 0.5) / 7, (y + 0.5) / 5]))


def test_coinciding_peaks_are_skipped_on_request() -> None:
    features = torch.zeros(1, 4, 3, 3)
    features[0, 0, 1, 1], features[0, 1, 1, 1], features[0, 2, 0, 2], features[0, 3, 2, 0] = 9.0, 8.0, 7.0, 6.0
    same = peak_positions(features, 2)
    assert torch.equal(same[0, 0], same[0, 1])
    apart = peak_positions(features, 3, distinct=True)
    torch.testing.assert_close(apart[0] * 3, torch.tensor([[1.5, 1.5], [2.5, 0.5], [0.5, 2.5]]))


def test_too_few_distinct_peaks_repeat_the_strongest() -> None:
    features = torch.zeros(1, 3, 4, 4)
    features[0, :, 2, 3] = 1.0
    found = peak_positions(features, 3, distinct=True)
    assert torch.equal(found, found[:, :1].expand_as(found))


def test_what_is_repeated_is_the_strongest_and_not_what_has_the_largest_mean() -> None:
    features = torch.zeros(2, 2, 2, 2)
    features[:, 0, 0, 1] = 9.0
    features[0, 1], features[0, 1, 1, 0] = 5.0, 6.0
    features[1, 1], features[1, 1, 1, 1] = 5.0, 6.0
    found = peak_positions(features, 4, distinct=True) * 2
    strong = [1.5, 0.5]
    torch.testing.assert_close(
        found, torch.tensor([[strong, [0.5, 1.5], strong, strong], [strong, [1.5, 1.5], strong, strong]])
    )


@pytest.mark.parametrize("response", ["max", "mean"])
def test_distinct_peaks_equal_a_slow_loop(response: Any) -> None:
    features = torch.rand(5, 20, 3, 4, generator=torch.Generator().manual_seed(2))
    found = peak_positions(features, 3, response, True)
    assert found.shape == (5, 3, 2)
    for row, maps in enumerate(features):
        strength = [float(m.max() if response == "max" else m.mean()) for m in maps]
        peaks = [int(maps[channel].argmax()) for channel in sorted(range(20), key=lambda k: -strength[k])]
        expected = [((cell % 4 + 0.5) / 4, (cell // 4 + 0.5) / 3) for cell in dict.fromkeys(peaks)][:3]
        torch.testing.assert_close(found[row], torch.tensor(expected))


@pytest.mark.parametrize(("response", "distinct"), [("max", False), ("mean", True), ("mean", False)])
def test_its_windows_stand_around_the_peaks_that_it_is_told_to_take(response: Any, distinct: bool) -> None:
    features = torch.rand(2, 9, 3, 3, generator=torch.Generator().manual_seed(3))
    options: dict[str, Any] = {} if (response, distinct) == ("max", False) else {
        "response": response, "distinct": distinct,
    }  # fmt: skip
    boxes = MPALM(channels=5, windows=(0.1, 0.2), **options)(features, 60)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    peaks = peak_positions(features, 5, response, distinct) * 60  # no window of these reaches the edge
    torch.testing.assert_close(centres, peaks.repeat_interleave(2, dim=1))
    other = peak_positions(features, 5, response, not distinct) * 60
    assert not torch.equal(other, peaks), "the case tells the settings apart"


def test_left_to_itself_it_takes_two_channels_and_the_source_s_windows() -> None:
    plain = MPALM()
    assert (plain.channels, plain.response, plain.distinct) == (2, "max", False)
    assert plain.windows == (96 / 448, 160 / 448, 224 / 448) and plain.count == 6 and plain.reach == 0.5


def test_a_backbone_has_to_have_as_many_channels_or_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone: Any = type("Eye", (), {"image_size": 96})()

    def shape(of: Any, side: int) -> tuple[int, int, int]:
        assert of is backbone and side == 96
        return 8, 2, 3

    monkeypatch.setattr(module, "probe_shape", shape)
    made = MPALM.for_backbone(backbone, channels=8, windows=(0.5,))
    assert isinstance(made, MPALM) and made.channels == 8 and made.windows == (0.5,)
    assert MPALM.for_backbone(backbone, channels=6, distinct=True).distinct
    with pytest.raises(ModelError, match=r"part_channels is 9; .* at most 8"):
        MPALM.for_backbone(backbone, channels=9)
    with pytest.raises(ModelError, match=r"part_channels is 7; .* at most 6"):
        MPALM.for_backbone(backbone, channels=7, distinct=True)
    monkeypatch.setattr(module, "probe_shape", lambda *_: (3, 2, 3))
    with pytest.raises(ModelError, match="at most 3"):
        MPALM.for_backbone(backbone, channels=4, distinct=True)


@pytest.mark.parametrize("distinct", [False, True])
def test_equal_maxima_are_taken_by_their_means_and_then_in_order(distinct: bool) -> None:
    # Four saturated channels that peak in the four corners of a 3 x 3 map, two of them with a larger mean.
    features = torch.zeros(1, 5, 3, 3)
    for channel, cell in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        features[0, channel, cell[0], cell[1]] = 6.0
    features[0, 1, 1, 1] = features[0, 3, 1, 1] = 3.0
    found = peak_positions(features, 3, distinct=distinct) * 3
    torch.testing.assert_close(found[0], torch.tensor([[2.5, 0.5], [2.5, 2.5], [0.5, 0.5]]))


def test_a_position_counts_by_its_strongest_channel_not_by_a_weaker_ones_mean() -> None:
    features = torch.zeros(1, 3, 2, 2)
    features[0, 0, 0, 0] = features[0, 1, 0, 1] = 6.0
    features[0, 1, 1, 1] = 1.0  # the second position's channel has the larger mean of the two strongest
    features[0, 2] = 5.0  # a weaker channel that peaks at the first position has a larger mean than both
    found = peak_positions(features, 2, distinct=True) * 2
    torch.testing.assert_close(found[0], torch.tensor([[1.5, 0.5], [0.5, 0.5]]))


def test_windows_of_the_source_at_448_pixels() -> None:
    boxes = pyramid_windows(torch.tensor([[[224.0, 224.0], [10.0, 440.0]]]), [96 / 448, 160 / 448, 224 / 448], 448)
    expected = [
        [176, 176, 272, 272], [144, 144, 304, 304], [112, 112, 336, 336],
        [0, 352, 96, 448], [0, 288, 160, 448], [0, 224, 224, 448],
    ]  # fmt: skip
    torch.testing.assert_close(boxes, torch.tensor([expected], dtype=torch.float32), rtol=0, atol=1e-3)


def test_every_window_is_inside_and_of_its_size() -> None:
    mpalm = MPALM(channels=4, windows=(0.2, 0.5, 1.0))
    boxes = mpalm(torch.randn(8, 16, 7, 7, generator=torch.Generator().manual_seed(1)), 224)
    assert boxes.shape == (8, 12, 4) and mpalm.count == 12 and mpalm.reach == 1.0
    assert boxes.min() >= 0 and boxes.max() <= 224 + 1e-3
    sides = torch.tensor([0.2, 0.5, 1.0] * 4) * 224
    torch.testing.assert_close(boxes[..., 2] - boxes[..., 0], sides.expand(8, 12))
    torch.testing.assert_close(boxes[..., 3] - boxes[..., 1], sides.expand(8, 12))
