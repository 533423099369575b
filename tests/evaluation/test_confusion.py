from __future__ import annotations

from tlaam.evaluation.confusion import mixed_up
from tlaam.evaluation.report import ImageResult


def result(name: str, label: int, predicted: int, confidence: float) -> ImageResult:
    return ImageResult(name, label, {"raw": label, "fused": predicted}, confidence, None)


def test_pairs_are_counted_both_ways_and_shown_by_their_surest_mistake() -> None:
    results = [
        result("a", 0, 0, 0.6), result("b", 0, 0, 0.9), result("c", 1, 0, 0.7), result("d", 1, 0, 0.8),
        result("e", 0, 1, 0.5), result("f", 2, 3, 0.4), result("g", 2, 2, 0.9),
    ]  # fmt: skip
    most, least = mixed_up(results)
    assert (most.first, most.second, most.forth, most.back, most.count) == (1, 0, 2, 1, 3)
    assert most.example.name == "d"
    assert most.other is not None and most.other.name == "b"
    assert (least.first, least.second, least.count) == (2, 3, 1)
    assert least.example.name == "f" and least.other is None


def test_the_other_is_a_mistake_where_that_class_has_nothing_else() -> None:
    (pair, _) = mixed_up([result("a", 0, 1, 0.9), result("b", 1, 2, 0.3)])
    assert pair.other is not None and pair.other.name == "b"


def test_no_mistake_no_pair() -> None:
    assert mixed_up([result("a", 0, 0, 0.6)]) == []
