"""Pseudo masks' arithmetic: contrast and Otsu against slow loops, the discriminant against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from skimage.filters import threshold_otsu
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tlaam.models.localizers.pseudo_masks import DiscriminantFit, border_contrast, equally_probable, otsu_thresholds


def test_contrast_is_the_squared_distance_from_the_mean_of_the_outermost_cells() -> None:
    features = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    found = border_contrast(features)
    for image in range(2):
        cells = {(y, x): features[image, :, y, x] for y in range(4) for x in range(3)}
        border = [value for (y, x), value in cells.items() if y in (0, 3) or x in (0, 2)]
        mean = torch.stack(border).mean(0)
        for (y, x), value in cells.items():
            torch.testing.assert_close(found[image, y, x], ((value - mean) ** 2).sum())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_otsu_parts_as_scikit_image_does(share: float) -> None:
    random = np.random.default_rng(0)
    maps = random.normal(0, 1, (6, 40, 30))
    maps[:, : int(40 * share)] += 5
    for one, threshold in zip(maps, otsu_thresholds(torch.from_numpy(maps)), strict=True):
        reference = threshold_otsu(one, nbins=64)
        assert ((one > threshold.item()) != (one > reference)).mean() < 0.02


def test_a_flat_map_has_nothing_above_its_threshold() -> None:
    maps = torch.full((2, 5, 5), 3.0)
    assert not (maps > otsu_thresholds(maps)[:, None, None]).any()


def test_the_discriminant_points_where_scikit_learns_does() -> None:
    random = torch.Generator().manual_seed(2)
    features = torch.randn(4, 6, 12, 12, generator=random)
    mixing = torch.randn(6, 6, generator=random)
    foreground = torch.rand(4, 12, 12, generator=random) < 0.3
    features += foreground[:, None] * torch.randn(6, generator=random)[None, :, None, None]
    features = torch.einsum("bkhw,jk->bjhw", features, mixing)
    fit = DiscriminantFit(6)
    for start in (0, 1, 3):  # batches of 1, 2 and 1
        stop = {0: 1, 1: 3, 3: 4}[start]
        fit.add(features[start:stop], foreground[start:stop])
    rule = fit.solve()
    assert rule is not None
    cells = features.permute(0, 2, 3, 1).reshape(-1, 6)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05).fit(cells, foreground.flatten())
    direction = torch.from_numpy(reference.coef_[0]).float()
    assert torch.cosine_similarity(rule.weight, direction, dim=0) > 0.95
    scores = rule.scores(features)
    # 0 at the background's mean, 1 at the foreground's, shifted so that 1/2 is where both are equally probable.
    low, high = scores[~foreground], scores[foreground]
    torch.testing.assert_close(high.mean() - low.mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    middle = equally_probable(low.std().item(), high.std().item(), foreground.float().mean().item())
    torch.testing.assert_close(low.mean() + middle, torch.tensor(0.5), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("low", "high", "share"), [(0.14, 0.31, 0.2), (0.3, 0.1, 0.6), (0.25, 0.25, 0.3), (0.2, 0.4, 0.5)]
)
def test_the_threshold_is_where_neither_kind_is_more_probable(low: float, high: float, share: float) -> None:
    x = equally_probable(low, high, share)
    assert 0 < x < 1
    assert (1 - share) * norm.pdf(x, 0, low) == pytest.approx(share * norm.pdf(x, 1, high), rel=1e-6)


def test_where_one_kind_is_always_more_probable_the_threshold_is_midway() -> None:
    assert equally_probable(5.0, 5.0, 0.999) == 0.5


@pytest.mark.parametrize("foreground", [False, True])
def test_one_kind_of_cell_alone_gives_no_rule(foreground: bool) -> None:
    fit = DiscriminantFit(3)
    fit.add(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), foreground))
    assert fit.solve() is None


def test_features_all_alike_give_no_rule() -> None:
    fit = DiscriminantFit(3)
    fit.add(torch.ones(1, 3, 4, 4), torch.arange(16).reshape(1, 4, 4) > 7)
    assert fit.solve() is None
