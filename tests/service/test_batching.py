"""Many threads ask one model: everyone gets the answer to their own image, or hears at once that there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest
from served import COLOURS, SlowEngine, picture, until

from tlaam.data.images import ImageBytes
from tlaam.service.batching import Batcher
from tlaam.service.limits import Limits
from tlaam.service.metrics import Metrics
from tlaam.service.refusal import Refusal


@pytest.fixture
def make(predictor: SlowEngine) -> Iterator[Callable[..., Batcher]]:
    """A function that makes a batcher of the model with these limits; it is closed at the end."""
    made: list[Batcher] = []

    def make(**limits: Any) -> Batcher:
        made.append(Batcher(predictor, Limits(**limits), Metrics()))
        return made[-1]

    yield make
    for batcher in made:
        batcher.close()


def image(colour: str, name: str = "image") -> ImageBytes:
    return ImageBytes(name, picture(colour))


def test_everyone_gets_their_own_answer(make: Callable[..., Batcher], predictor: SlowEngine) -> None:
    batcher = make(queue=1000, batch_size=5)
    predictor.seconds = 0.001

    def user(number: int) -> None:
        for turn in range(8):
            colours = [list(COLOURS)[(number + turn + step) % 3] for step in range(1 + number % 3)]
            names = [f"{number}-{turn}-{step}" for step in range(len(colours))]
            answers = batcher.submit([image(colour, name) for colour, name in zip(colours, names, strict=True)])
            for answer, colour, name in zip(answers, colours, names, strict=True):
                found = answer.result(10)
                assert (found.path, found.top(1)[0][0]) == (name, colour)

    with ThreadPoolExecutor(12) as users:
        list(users.map(user, range(12)))
    assert sum(predictor.passes) == 12 * 8 * 2 and max(predictor.passes) > 1
    assert max(predictor.passes) <= 5


def test_a_lone_image_does_not_wait_for_others(make: Callable[..., Batcher]) -> None:
    batcher = make(linger=30)
    began = time.monotonic()
    batcher.submit([image("red")])[0].result(5)
    assert time.monotonic() - began < 5


def test_beyond_the_queue_all_or_none_are_taken(make: Callable[..., Batcher], predictor: SlowEngine) -> None:
    batcher = make(queue=4)
    predictor.seconds = 0.2
    first = batcher.submit([image("red")] * 3)
    with pytest.raises(Refusal) as refused:
        batcher.submit([image("red")] * 2)
    assert refused.value.status == 503 and refused.value.retry_after is not None and refused.value.retry_after >= 1
    last = batcher.submit([image("blue")])
    assert batcher.full
    assert [answer.result(5).top(1)[0][0] for answer in [*first, *last]] == ["red"] * 3 + ["blue"]
    until(lambda: not batcher.full)
    assert len(batcher.submit([image("red")] * 4)) == 4, "a place was lost"


def test_what_cannot_be_read_says_so_and_gives_its_place_back(make: Callable[..., Batcher]) -> None:
    batcher = make(queue=1)
    for _ in range(5):
        with pytest.raises(Refusal, match="not an image"):
            batcher.submit([ImageBytes("a", b"text")])[0].result(5)
    assert batcher.submit([image("red")])[0].result(5).top(1)[0][0] == "red"


def test_what_nobody_waits_for_is_not_computed(make: Callable[..., Batcher], predictor: SlowEngine) -> None:
    batcher = make(batch_size=1, queue=8)
    predictor.seconds = 0.1
    answers = batcher.submit([image("red")] * 8)
    until(lambda: bool(predictor.passes))
    assert sum(answer.cancel() for answer in answers) >= 5
    until(lambda: not batcher.full and batcher.retry_after == 1)
    until(lambda: batcher._waiting == 0)
    assert sum(predictor.passes) <= 3
    for answer in answers:
        if answer.cancelled():
            with pytest.raises(CancelledError):
                answer.result()


def test_nobody_fails_by_somebody_elses_image(
    make: Callable[..., Batcher], predictor: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make(batch_size=8)
    answer, go = predictor.answer, threading.Event()

    def fragile(batch: Any) -> Any:
        go.wait(5)
        if any(read.path == "bad" for read in batch):
            raise MemoryError("too much")
        return answer(batch)

    monkeypatch.setattr(predictor, "answer", fragile)
    answers = batcher.submit([image("red", "good"), image("red", "bad"), image("blue", "fine")])
    go.set()
    assert [answers[place].result(5).path for place in (0, 2)] == ["good", "fine"]
    with pytest.raises(MemoryError):
        answers[1].result(5)
    assert batcher.alive


def test_the_end_answers_what_was_taken(make: Callable[..., Batcher], predictor: SlowEngine) -> None:
    batcher = make(batch_size=2)
    predictor.seconds = 0.02
    answers = batcher.submit([image("green")] * 10)
    batcher.close()
    assert [answer.result(0).top(1)[0][0] for answer in answers] == ["green"] * 10
    assert not batcher.alive
    with pytest.raises(Refusal, match="being stopped"):
        batcher.submit([image("red")])
