"""The model card: ``README.md`` of a model on the Hugging Face hub, from its records and evaluation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tlaam.config.names import BRANCHES
from tlaam.evaluation.report import TRIVIAL_TITLES, EvaluationReport
from tlaam.hub.names import PREFIX

_TAGS = ("tlaam", "fine-grained-recognition", "image-classification")
_LEVELS = {"raw": "whole image", "object": "object", "parts": "parts", "fused": "all levels fused"}
_MEASURES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "macro_f1": "Macro-F1",
    "ece": "Calibration error",
    "debiased_calibration_error": "Debiased",
}
_BOXES = {
    "mean_iou": "Mean IoU",
    "gt_known_0.3": "IoU ≥ 0.3",
    "gt_known_0.5": "IoU ≥ 0.5",
    "gt_known_0.7": "IoU ≥ 0.7",
    "top1_loc_0.5": "Top-1 loc.",
}


@dataclass(frozen=True)
class Facts:
    """The facts that a card is written from.

    Attributes:
        description: the model's description, as stored in its ``config.json``.
        training: the settings it was trained with, and versions; empty if they are not recorded.
        data: name of the data set it was trained on; None if it is not recorded.
        report: the evaluation; None if there is none.
        measured: a sentence on what `report` was measured on, or why there is none.
        pictures: paths of the example pictures within the folder, with captions.
        tells_strangers: whether the published model can recognise out-of-distribution images.
        repository: ``owner/name``; None if not known yet.
        license: the hub's identifier of a licence; None leaves the choice to the owner.
    """

    description: Mapping[str, Any]
    training: Mapping[str, Any]
    data: str | None
    report: EvaluationReport | None
    measured: str
    pictures: Sequence[tuple[str, str]] = ()
    tells_strangers: bool = False
    repository: str | None = None
    license: str | None = None


def card(facts: Facts) -> str:
    """Return the card: YAML front matter for the hub, then Markdown with all names escaped."""
    parts = [_front_matter(facts), _what_it_is(facts), _how_well(facts), _pictures(facts), _use(facts)]
    parts += [_classes(facts), _preprocessing(facts), _training(facts), _licence(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Facts) -> str:
    values: dict[str, Any] = {"license": facts.license} if facts.license else {}
    values |= {"library_name": "tlaam", "pipeline_tag": "image-classification", "tags": list(_TAGS)}
    if facts.report is not None:
        values["model-index"] = [{"name": _name(facts), "results": [_result(facts.report)]}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _result(report: EvaluationReport) -> dict[str, Any]:
    measures = report.classification["fused"].summary()
    data = _plain(report.data)
    return {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"name": data, "type": data, "split": report.split},
        "metrics": [
            {"type": kind, "name": _MEASURES[measure], "value": round(measures[measure], 4)}
            for kind, measure in (("accuracy", "top1"), ("f1", "macro_f1"))
        ],
    }


def _name(facts: Facts) -> str:
    return facts.repository.partition("/")[2] if facts.repository else _plain(facts.data or "a tlaam model")


def _what_it_is(facts: Facts) -> str:
    model, count = facts.description["model"], len(facts.description["classes"])
    looks = []
    if model.get("localizer") not in (None, "none"):
        looks.append(f"the object, found by `{model['localizer']}`")
    if model.get("parts", "none") != "none":
        looks.append(f"parts, found by `{model['parts']}`")
    closer = f" Besides the whole image it looks at {' and at '.join(looks)}." if looks else ""
    network = "" if model.get("architecture", "tlaam") == "tlaam" else f"network `{model['architecture']}`, "
    trained = f" It was trained on {_escaped(facts.data)}, from image labels alone." if facts.data else ""
    return (
        f"# {_escaped(_name(facts))}\n\n"
        f"An image classifier of {count} classes that look alike, made with tlaam ({network}backbone "
        f"`{model.get('backbone')}` at {model.get('image_size')} pixels).{closer}{trained} Of whatever image, it "
        f"answers with one of its classes{_TOLD if facts.tells_strangers else _UNTOLD}."
    )


_TOLD = ", but says so (`verdict` is `stranger`) where the image does not look like those it learnt from"
_UNTOLD = (
    ", and it cannot tell images of something else: no answer has a `verdict`, and a high probability does not say "
    "that it can be relied on"
)


def _how_well(facts: Facts) -> str:
    report = facts.report
    if report is None:
        return f"## How often it is right\n\nNot measured: {facts.measured}"
    branches = {name: report.classification[name].summary() for name in BRANCHES if name in report.classification}
    text = f"## How often it is right\n\n{facts.measured}\n\n"
    columns = {name: title for name, title in _MEASURES.items() if name != "top5" or len(report.classes) > 5}
    text += _table("Level", columns, {_LEVELS[name]: measures for name, measures in branches.items()})
    if report.localization is not None:
        boxes = {"box found": report.localization.measures()}
        boxes |= {TRIVIAL_TITLES[name]: trivial.measures() for name, trivial in report.localization.trivial.items()}
        text += (
            f"\n\n## How well it finds the object\n\nOn the {report.localization.images} of these images whose box is "
            "known. No box was used in training; the last two rows are fixed boxes that need no model.\n\n"
            f"{_table('Box', _BOXES, boxes)}"
        )
    return text


def _table(corner: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = [[corner, *columns.values()], ["---"] * (len(columns) + 1)]
    lines += [[name, *(f"{100 * values[key]:.1f} %" for key in columns)] for name, values in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _pictures(facts: Facts) -> str:
    if not facts.pictures:
        return ""
    shown = "\n\n".join(f"![{_escaped(caption)}]({path})\n\n{_escaped(caption)}" for path, caption in facts.pictures)
    return (
        "## What it sees\n\nThe first of the images measured, of each class in turn, whatever came out; with the box "
        f"found, the heat map, the object and the parts where the model has them.\n\n{shown}"
    )


def _use(facts: Facts) -> str:
    name = f"{PREFIX}{facts.repository or 'OWNER/NAME'}"
    return f"""## How to use it

With tlaam installed (from its repository: `pip install '.[train]'`):

```sh
tlaam predict {name} photo.jpg --overlays seen
```

```python
import tlaam

classifier = tlaam.load("{name}")
prediction = classifier.predict("photo.jpg")
print(prediction.label, prediction.score, prediction.verdict, prediction.object_box)
```"""


def _classes(facts: Facts) -> str:
    return f"## Classes\n\n{', '.join(map(_escaped, facts.description['classes']))}"


def _preprocessing(facts: Facts) -> str:
    given = facts.description["preprocessing"]
    mean, std = (", ".join(f"{value:g}" for value in given[name]) for name in ("mean", "std"))
    return (
        "## What an image goes through\n\nRGB, upright by its EXIF orientation, squashed to "
        f"{given['source_size']} × {given['source_size']} pixels (bilinear, antialiased). The network looks at it, and "
        f"at what it cuts out of it, at {given['image_size']} pixels, with mean {mean} and standard deviation {std} of "
        "channels in [0, 1]. tlaam does all this."
    )


def _training(facts: Facts) -> str:
    if not facts.training:
        return ""
    rows = "\n".join(f"| `{name}` | {_escaped(_value(value))} |" for name, value in facts.training.items())
    return (
        "## How it was trained\n\n<details><summary>Settings and versions</summary>\n\n"
        f"| Option | Value |\n| --- | --- |\n{rows}\n\n</details>"
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _licence(facts: Facts) -> str:
    said = f"`{facts.license}`, as its owner says." if facts.license else "Its owner has not stated one here."
    return f"## Licence\n\n{said} What it was trained on may have terms of its own."


def _plain(text: str) -> str:
    """Return a name on one line of valid text; bytes of a file name that do not decode become escapes."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


def _escaped(text: str) -> str:
    """Return a name that Markdown shows literally, in tables as well."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$!&])", r"\\\1", _plain(text))
