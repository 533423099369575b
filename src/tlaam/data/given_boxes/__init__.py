"""Boxes that another program has found in photographs: read from its file, looked up by photograph."""

from __future__ import annotations

from tlaam.data.given_boxes.files import read_boxes
from tlaam.data.given_boxes.given import BoxTable, GivenBoxes, Listed, NumberedBoxes, YoloBoxes

__all__ = ["BoxTable", "GivenBoxes", "Listed", "NumberedBoxes", "YoloBoxes", "read_boxes"]
