"""Names as cells of spreadsheets."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tlaam.inference.prediction import Prediction, Predictions
from tlaam.utils.text import safe_cell, valid_text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("'=1", "''=1"),
        ("＝1", "'＝1"),
        ("\n=1", "'\n=1"),
        ("jay", "jay"),
        ("'jay'", "'jay'"),
        ("", ""),
    ],
)
def test_what_would_be_computed_becomes_text(text: str, cell: str) -> None:
    assert safe_cell(text) == cell


def test_bytes_that_are_no_text_become_escapes() -> None:
    assert valid_text("a\udcffé") == "a\\udcffé"


def test_tables_of_predictions_in_python_are_text_as_well() -> None:
    attack = "=cmd|' /C calc'!A0"
    answer = Prediction("-a.jpg", classes=(attack, "jay"), probabilities={"fused": np.array([0.75, 0.25])})
    (row,) = csv.DictReader(io.StringIO(Predictions([answer]).to_csv()))
    assert (row["path"], row["label"], row["score"], row["second"]) == ("'-a.jpg", f"'{attack}", "0.75", "jay")
