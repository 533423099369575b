"""Checksums tell what was damaged from what was only laid out anew."""

from __future__ import annotations

import json

import pytest

from tlaam.sealed import ENTRY, SEAL_SIZE, is_intact, seal, sealed


def test_a_seal_is_of_one_payload_and_size() -> None:
    assert len(seal(b"")) == len(seal(b"x" * 999)) == SEAL_SIZE
    assert seal(b"a") != seal(b"b") and seal(b"a") == seal(memoryview(b"a"))


@pytest.mark.parametrize("values", [{}, {"a": [1, 2.5, None], "b": {"ä": "\ud800"}}, {"a": {1: (2, 3)}}])
def test_a_sealed_object_is_intact_however_it_is_laid_out(values: dict[str, object]) -> None:
    read = json.loads(json.dumps(sealed(values), indent=3))
    assert is_intact(read) and is_intact(dict(reversed(read.items()))) and sealed(read) == read
    assert not is_intact({**read, "more": 1}) and not is_intact({**read, ENTRY: "0"})
    assert is_intact({**read, ENTRY: read[ENTRY]}) and is_intact({"a": 1})
