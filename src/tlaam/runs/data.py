"""Which words open a run's data again, whatever it was begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import RunError


def reopenable(source: str | Path | LabelledImages, images: LabelledImages) -> str:
    """Return what opens the same data again from any working folder: a path with its option, or ``synthetic:...``.

    Args:
        source: what the run was begun with.
        images: the same, opened.
    """
    if images.kind == "synthetic":  # its folder is a cache, in which the order of the classes is not written down
        values = json.loads((images.root / "options.json").read_text(encoding="utf-8"))
        values.pop("drawing_version")
        return str(SyntheticOptions(**values))
    if isinstance(source, LabelledImages):
        return str(source.root.resolve()) + (f":{source.option}" if source.option else "")
    return str(Path(source).expanduser().resolve())  # with the option behind it, where there is one


def opened_again(facts: Mapping[str, Any]) -> LabelledImages:
    """Open the data of a run by its ``data.json``.

    Raises:
        DataError: it can no longer be opened.
        RunError: it is drawn, and this version draws it differently.
    """
    if facts["kind"] != "synthetic":
        return open_dataset(facts["source"])
    root = Path(facts["root"])
    images = synthetic_images(SyntheticOptions.parse(facts["source"]), root.parent)
    if images.root.name != root.name:  # named by a hash of options and drawing version
        raise RunError(
            f"The run was begun on '{facts['source']}', which this version draws differently; begin a new run."
        )
    return images
