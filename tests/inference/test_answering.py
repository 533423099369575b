"""Verdicts of an engine that answers by a promise, and predictions that were made before there was one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from stub_model import StubModel

from tlaam.errors import DataError
from tlaam.inference.answering import answer_by
from tlaam.inference.backend import Answers
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import OODDetector
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy

CLASSES = ("crow", "jay", "wren")
TREE = Taxonomy(CLASSES, ("label", "family"), (("crow", "Corvidae"), ("jay", "Corvidae"), ("wren", "Trog")))
SHARES = SharedAnswers.of(np.array([[0.9, 0.08, 0.02]] * 60))
HELD_OUT = HeldOutAnswers(np.zeros(60, int), SHARES)


class Colours(StubModel):
    """A model that takes red and green of a plain image for percentages of crow and jay, and blue for strangeness."""

    classes = CLASSES

    def answer(self, inputs: NDArray[np.uint8]) -> Answers:
        """Answer by one pixel."""
        red, green, blue = (inputs[:, channel, 0, 0] / 100 for channel in range(3))
        rows = np.stack([red, green, 1 - red - green], axis=1)
        rows[blue > 2.5] = np.nan
        embeddings = np.stack([np.ones(len(rows)), blue], axis=1)
        return Answers({"raw": rows[:, ::-1], "fused": rows}, None, None, None, embeddings)


def index(**parts: Any) -> ReferenceIndex:
    detector = OODDetector(np.array([[1, 0]] * 3, np.float16), 0.9, 0.5, "nothing")
    nothing = np.zeros((0, 2), np.float16), np.zeros(0, np.int32)
    return ReferenceIndex(detector, CLASSES, *nothing, (), **parts)


def asked(engine: Engine, *colours: tuple[int, int, int]) -> list[Prediction]:
    return list(engine.predict([Image.new("RGB", (32, 32), colour) for colour in colours]))


IMAGES = ((95, 4, 0), (60, 39, 0), (40, 30, 0), (95, 4, 200))


def test_sure_is_what_the_deepest_rank_is() -> None:
    engine = Engine(Colours(), index=index(held_out=HELD_OUT))
    assert [p.verdict for p in asked(engine, *IMAGES)] == ["sure", "sure", "unsure", "stranger"]
    answer_by(engine, promise=0.95)
    found = asked(engine, *IMAGES)
    assert [p.verdict for p in found] == ["sure", "unsure", "unsure", "stranger"]
    assert [p.taxon for p in found] == ["crow", None, None, None], "of a stranger nothing is said"
    assert found[3].answer is not None and found[3].to_dict()["rank"] is None


def test_a_coarser_rank_is_an_answer_and_not_sure() -> None:
    engine = Engine(Colours(), index=index(held_out=HELD_OUT, taxonomy=TREE))
    found = asked(engine, *IMAGES)
    assert [(p.rank, p.verdict) for p in found] == [
        ("label", "sure"), ("family", "unsure"), (None, "unsure"), (None, "stranger"),
    ]  # fmt: skip
    assert engine.answering is not None and engine.answering.promise == 0.95


def test_predictions_made_before_there_was_an_index_are_judged_as_others_are() -> None:
    engine = Engine(Colours(), embeddings=True)
    before = asked(engine, *IMAGES)
    assert {p.verdict for p in before} == {None} and before[0].answer is None
    engine.use_index(index(held_out=HELD_OUT, taxonomy=TREE))
    later = [engine.with_verdict(p) for p in before]
    assert [(p.rank, p.verdict, p.similarity) for p in later] == [
        (p.rank, p.verdict, p.similarity) for p in asked(engine, *IMAGES)
    ]


def test_a_class_that_does_not_live_here_is_never_sure() -> None:
    engine = Engine(Colours(), index=index(held_out=HELD_OUT))
    answer_by(engine, only=["jay", "wren"])
    crow, jay = asked(engine, (70, 25, 0), (10, 60, 0))
    assert crow.label == "jay" and crow.score == pytest.approx(25 / 30) and crow.verdict == "unsure"
    assert crow.outside == ("crow", pytest.approx(0.7))
    assert crow.probabilities["raw"].tolist() == pytest.approx([0, 25 / 95, 70 / 95]), "every branch is"
    assert jay.outside is None and jay.verdict == "sure" and jay.score == pytest.approx(60 / 90)
    assert engine.with_verdict(jay) is jay, "its probabilities are not shared out twice"


def test_numbers_that_are_none_stay_an_error() -> None:
    engine = Engine(Colours(), index=index(held_out=HELD_OUT, taxonomy=TREE))
    with pytest.raises(DataError, match=r"promise of 0\.5 needs at least 4 held-out answers, and there are 0"):
        answer_by(engine, only=["jay", "Trog"], promise=0.5)
    answer_by(engine, only=["crow", "Trog"], promise=0.5)
    (found,) = asked(engine, (95, 4, 255))
    assert found.error is not None and "not finite" in found.error and found.answer is None


def test_the_index_keeps_what_a_promise_rests_on() -> None:
    kept = index(held_out=HELD_OUT, taxonomy=TREE).without_images()
    assert kept.held_out is HELD_OUT and kept.taxonomy is TREE
    assert replace(kept, taxonomy=None).taxonomy is None
