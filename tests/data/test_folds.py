"""Folds: even over classes, the same whatever the order, no group on two sides."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tlaam.data.folds import stratified_folds

LABELS = [number % 3 for number in range(60)]
NAMES = [f"class{label}/{number}.jpg" for number, label in enumerate(LABELS)]


def test_each_fold_has_its_share_of_each_class() -> None:
    folds = stratified_folds(LABELS, NAMES, 5)
    assert Counter(zip(folds.tolist(), LABELS, strict=True)) == {(f, c): 4 for f in range(5) for c in range(3)}


def test_the_order_of_the_images_changes_nothing_the_seed_does() -> None:
    folds = dict(zip(NAMES, stratified_folds(LABELS, NAMES, 5), strict=True))
    order = np.random.default_rng(0).permutation(60)
    again = stratified_folds([LABELS[i] for i in order], [NAMES[i] for i in order], 5)
    assert {NAMES[i]: fold for i, fold in zip(order, again, strict=True)} == folds
    other = stratified_folds(LABELS, NAMES, 5, seed=1)
    assert other.tolist() != list(folds.values())


def test_a_group_stands_on_one_side() -> None:
    groups = [number // 4 for number in range(60)]  # of mixed classes
    folds = stratified_folds(LABELS, NAMES, 5, groups=groups)
    assert all(len(set(folds[np.array(groups) == group].tolist())) == 1 for group in set(groups))
    assert max(Counter(folds.tolist()).values()) - min(Counter(folds.tolist()).values()) <= 4


def test_a_class_of_fewer_images_than_folds_is_spread_as_far_as_it_goes() -> None:
    folds = stratified_folds([0, 0, 1, 1, 1], list("abcde"), 5)
    assert len(set(folds[:2].tolist())) == 2 and len(set(folds[2:].tolist())) == 3
