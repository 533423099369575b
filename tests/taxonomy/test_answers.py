"""Answers at the deepest rank that is sure enough, among all classes or those that live somewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tlaam.errors import DataError
from tlaam.taxonomy.answers import Answering, TaxonAnswer, chosen_thresholds, rank_scores
from tlaam.taxonomy.promise import NEVER
from tlaam.taxonomy.residents import Residents
from tlaam.taxonomy.shares import HALF, MOST, TOP, WHOLE, HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy

CLASSES = ("crested", "least", "ani", "wren")
TREE = Taxonomy.of_rows(
    CLASSES,
    ("genus", "family"),
    {"crested": ("Aethia", "Alcidae"), "least": ("Aethia", "Alcidae"), "ani": ("Crotophaga", ""), "wren": ("", "Trog")},
)  # fmt: skip


def answered(*rows: list[float]) -> SharedAnswers:
    return SharedAnswers.of(np.array(rows))


def held_out(rights: int, wrongs: int = 0, share: float = 0.9) -> HeldOutAnswers:
    """Return answers 'crested', of so many images of it and so many of 'least'."""
    count = rights + wrongs
    labels = np.array([0] * rights + [1] * wrongs)
    return HeldOutAnswers(labels, answered(*[[share, 1 - share, 0, 0]] * count))


def test_shares_are_whole_and_of_the_most_probable_classes() -> None:
    found = SharedAnswers.of(np.array([[0.25, 0.5, 0.25]]), top=2)
    assert found.classes.tolist() == [[1, 0]] and found.shares.tolist() == [[32767, 16383]]
    many = SharedAnswers.of(np.full((1, 100), 0.01))
    assert many.shares.shape == (1, TOP) and many.shares.sum() == TOP * 655
    assert SharedAnswers.of(np.array([[0.7, 0.7]])).shares.sum() <= WHOLE, "a sum above 1 is brought down"


def test_ranks_are_scored_by_sums() -> None:
    found = rank_scores(TREE, answered([0.4, 0.4, 0.2, 0.0], [0.1, 0.1, 0.8, 0.0], [0.0, 0.1, 0.0, 0.9]))
    assert TREE.ranks == ("label", "genus", "family")
    assert found.shares.T.tolist() == [[26214, 52428, 52428], [52428, 52428, 0], [58981, 0, 58981]]
    assert found.members.T.tolist()[0][0] == 0 and found.members.T.tolist()[2] == [3, 3, 3]


def test_an_answer_is_the_deepest_rank_that_reaches_its_threshold() -> None:
    way = Answering(TREE, promise=0.9, thresholds=(60000, 50000, 40000))
    rows = [[0.95, 0.05, 0, 0], [0.5, 0.4, 0.1, 0], [0.4, 0.3, 0.3, 0], [0.2, 0.2, 0.6, 0], [0, 0, 0.8, 0.2]]
    rows.append([0.1, 0, 0, 0.9])  # a wren, of which no genus is known
    found = way.answers(np.array(rows))
    assert [(answer.rank, answer.taxon) for answer in found] == [
        ("label", "crested"), ("genus", "Aethia"), ("family", "Alcidae"), (None, None), ("genus", "Crotophaga"),
        ("family", "Trog"),
    ]  # fmt: skip
    assert found[0].lineage == {"label": "crested", "genus": "Aethia", "family": "Alcidae"}
    assert found[1].lineage == {"genus": "Aethia", "family": "Alcidae"} and found[1].depth == 1
    assert found[1].probability == pytest.approx(0.9, abs=1e-4) and found[3] == TaxonAnswer()
    assert Answering(TREE).answer(np.array(rows[0])) is None, "nothing is promised"


def test_thresholds_are_chosen_on_what_each_rank_gets_right() -> None:
    """22 answers of 0.95 are right; 22 of 0.7, and 0.96 with their sister species, name that one in her place."""
    rows = answered(*[[0.95, 0.05, 0, 0]] * 22, *[[0.7, 0.26, 0.04, 0]] * 22)
    images = HeldOutAnswers(np.array([0] * 22 + [1] * 22), rows)
    assert chosen_thresholds(Taxonomy.of_labels(CLASSES), images, 0.9) == (62258,), "0.95; from 0.7 on half are wrong"
    found = chosen_thresholds(TREE, images, 0.9)
    assert found == (62258,) * 3, "at a threshold of 0.95 all 44 are right, half of them as a genus"
    way = Answering(TREE, promise=0.9, thresholds=found)
    assert way.answers(np.array([[0.7, 0.26, 0.04, 0]]))[0].rank == "genus"
    assert chosen_thresholds(TREE, held_out(22), 0.9) == (58981,) * 3, "that all are sure of the genus asks for no more"
    certain = 65534  # 0.9 and 0.1, each rounded down
    assert chosen_thresholds(TREE, held_out(22, 22), 0.9) == (NEVER, certain, certain), "of the species half are wrong"


def test_too_few_answers_are_refused_with_what_is_missing() -> None:
    with pytest.raises(DataError, match=r"promise of 0\.95 needs at least 45 held-out answers, .* 40: 5 are missing"):
        Answering.of(TREE, held_out(40), promise=0.95)
    with pytest.raises(DataError, match="keeps no answers"):
        Answering.of(TREE, None, promise=0.95)
    assert Answering.own(TREE, held_out(44)) is None and Answering.own(None, held_out(45)) is None
    own = Answering.own(TREE, held_out(45))
    assert own is not None and own.promise == 0.95 and own.chosen_on == 45
    assert own.said().startswith("promise 0.95: label from 90.0%, genus from 90.0%, family from 90.0%; chosen on 45 h")
    never = Answering.of(TREE, held_out(22, 22), promise=0.9)
    assert "label never" in never.said()


probabilities = arrays(np.float64, 4, elements=st.floats(0.001, 1)).map(lambda row: row / row.sum())


@settings(deadline=None, max_examples=200)
@given(probabilities, st.lists(st.integers(HALF, NEVER), min_size=3, max_size=3))
def test_what_is_said_nests(row: np.ndarray, found: list[int]) -> None:
    """A threshold of more than half names one taxon, and the taxa above it are those that would be named there."""
    needed = tuple(sorted(found, reverse=True))
    deep = Answering(TREE, promise=0.9, thresholds=needed).answers(row[None])[0]
    for depth in range(3):
        alone = Answering(TREE, promise=0.9, thresholds=tuple(needed[depth] if d == depth else NEVER for d in range(3)))
        coarse = alone.answers(row[None])[0]
        if deep.depth is not None and depth >= deep.depth and TREE.ranks[depth] in deep.lineage:
            assert coarse.taxon == deep.lineage[TREE.ranks[depth]]
    lower = Answering(TREE, promise=0.9, thresholds=tuple(max(HALF, n - 5000) for n in needed)).answers(row[None])[0]
    if deep.depth is not None:
        assert lower.depth is not None and lower.depth <= deep.depth, "asking for less never says less"


def test_only_what_lives_here_shares_the_probability() -> None:
    here = Residents.of(TREE, ["ani", "Aethia"], None)
    assert here.weights.tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(here.probabilities(np.array([0.3, 0.1, 0.1, 0.5])), [0.6, 0.2, 0.2, 0])
    assert here.outside(np.array([0.1, 0.1, 0.1, 0.7])) == 3 and here.outside(np.array([0.3, 0.1, 0.1, 0.5])) is None
    assert here.probabilities(np.array([0, 0, 0, 1.0])).tolist() == [1 / 3, 1 / 3, 1 / 3, 0], "nothing speaks for any"
    found = here.answers(answered([0.3, 0.1, 0.1, 0.5], [0.2, 0.1, 0.1, 0.6]))
    assert found.shares[0].tolist() == [0, 39321, 13106, 13106] and found.classes[0].tolist() == [3, 0, 1, 2]
    # 19660, 6553 and 6553 of 32766 shares, each times 65535 and rounded down
    assert not found.shares[1].any(), "what looks like a wren is not called something else"


def test_a_prior_weighs_and_takes_as_many_held_out_images() -> None:
    here = Residents.of(TREE, None, {"crested": 4, "least": 1, "ani": 0, "wren": 2})
    assert here.weights.tolist() == [1, 0.25, 0, 0.5]
    np.testing.assert_allclose(here.probabilities(np.array([0.2, 0.4, 0.2, 0.2])), [0.5, 0.25, 0, 0.25])
    labels = np.repeat([0, 1, 2], 1000)
    of = here.held_out(HeldOutAnswers(labels, answered(*[[0.4, 0.4, 0.1, 0.1]] * 3000)))
    counts = np.bincount(of.labels, minlength=4).tolist()
    assert counts[0] == 1000 and 200 < counts[1] < 300 and counts[2] == 0
    assert of.answers.shares[0].tolist() == [47662, 11915, 0, 5957], "0.4 : 0.1 : 0 : 0.05"


@pytest.mark.parametrize(
    "only, prior, message",
    [
        (["anni"], None, r"'anni' is none of the model's 4 classes\. Did you mean 'ani'\?"),
        (None, {"ani": 1.0}, r"no weight for class 'crested' and 2 more"),
        (["ani"], {"ani": 0.0}, r"no class of the model lives here"),
        (None, {"Aethia": 1.0}, r"'Aethia' is none"),
    ],
)
def test_who_is_not_known_is_said(only: list[str] | None, prior: dict[str, float] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Residents.of(TREE, only, prior)


def test_held_out_answers_are_kept_as_text() -> None:
    answers = held_out(3, 2)
    found = HeldOutAnswers.from_text(answers.to_text(), 4)
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.answers.classes.tolist() == answers.answers.classes.tolist()
    assert found.answers.shares.tolist() == answers.answers.shares.tolist()
    many = HeldOutAnswers(np.zeros(9000, int), SharedAnswers(np.zeros((9000, 1), int), np.zeros((9000, 1), int)))
    assert len(many.bounded()) == MOST and len(answers.bounded()) == 5
    full = HeldOutAnswers(np.zeros(MOST, int), SharedAnswers.of(np.full((MOST, 100), 0.01)))
    assert len(full.to_text()) < 600_000, "of a file's metadata, 16 MB"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 4}, "equally long"), ({"count": -1}, "no answers"), ({"count": MOST + 1}, "no answers"),
        ({"kept": 0}, "no answers"), ({"kept": TOP + 1}, "no answers"), ({"count": True}, "no answers"),
        ({"labels": None}, "lacks"), ({"labels": "!"}, "base64|padding|Only"), ({"shares": "AAAA"}, "multiple|equally"),
    ],
)  # fmt: skip
def test_text_from_somewhere_else_is_believed_in_nothing(change: dict[str, object], message: str) -> None:
    facts = json.loads(held_out(3).to_text()) | change
    with pytest.raises(ValueError, match=message):
        HeldOutAnswers.from_text(json.dumps(facts), 4)
    with pytest.raises(ValueError, match="a class is none"):
        HeldOutAnswers.from_text(held_out(3).to_text(), 1)
