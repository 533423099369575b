"""Checksums tell what was damaged from what was only laid out anew."""

from __future__ import annotations

import json

import pytest

from tlaam.utils.checksums import ENTRY, TRAILER_SIZE, is_intact, trailer, with_checksum


def test_a_seal_is_of_one_payload_and_size() -> None:
    assert len(trailer(b"")) == len(trailer(b"x" * 999)) == TRAILER_SIZE
    assert trailer(b"a") != trailer(b"b") and trailer(b"a") == trailer(memoryview(b"a"))


@pytest.mark.parametrize("values", [{}, {"a": [1, 2.5, None], "b": {"ä": "\ud800"}}, {"a": {1: (2, 3)}}])
def test_a_sealed_object_is_intact_however_it_is_laid_out(values: dict[str, object]) -> None:
    read = json.loads(json.dumps(with_checksum(values), indent=3))
    assert is_intact(read) and is_intact(dict(reversed(read.items()))) and with_checksum(read) == read
    assert not is_intact({**read, "more": 1}) and not is_intact({**read, ENTRY: "0"})
    assert is_intact({**read, ENTRY: read[ENTRY]}) and is_intact({"a": 1})
