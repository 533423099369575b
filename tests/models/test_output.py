"""The record's branches and their fusion, against numbers by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from tlaam.models.output import TLAAMOutput, fuse

RAW = torch.tensor([[0.2, 0.8]]).log()
OBJECT = torch.tensor([[0.6, 0.4]]).log()
PARTS = torch.tensor([[[0.1, 0.9], [0.5, 0.5]]]).log()


def close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_each_branch_counts_once_and_the_parts_by_their_mean() -> None:
    close(fuse(RAW, OBJECT, PARTS), [(0.2 + 0.6 + 0.3) / 3, (0.8 + 0.4 + 0.7) / 3])
    close(fuse(RAW, OBJECT, None), [0.4, 0.6])
    close(fuse(RAW, None, PARTS), [0.25, 0.75])
    close(fuse(RAW, None, None), [0.2, 0.8])


def test_branches_are_those_that_ran_and_the_record_s_own_fusion() -> None:
    own = torch.tensor([[1.0, 0.0]])
    branches = TLAAMOutput(own, RAW, OBJECT, PARTS, None, None, None).branch_probabilities()
    assert list(branches) == ["raw", "object", "parts", "fused"]
    close(branches["raw"], [0.2, 0.8])
    close(branches["object"], [0.6, 0.4])
    close(branches["parts"], [0.3, 0.7])
    assert branches["fused"] is own
    assert list(TLAAMOutput(own, RAW, None, None, None, None, None).branch_probabilities()) == ["raw", "fused"]
