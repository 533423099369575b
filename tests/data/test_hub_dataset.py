"""Objects of `datasets`: a stand-in of what is used of it, and the package itself where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packed_images import picture

from tlaam.data.collection import dataset_of
from tlaam.errors import DataError, InputError

JPEG = [picture(n, kind="JPEG") for n in range(6)]


class Image:
    """As `datasets.Image`."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    """As `datasets.ClassLabel`."""

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Dataset:
    """As `datasets.Dataset`: columns with features; decoding an image is an error here."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        assert not any(isinstance(f, Image) and f.decode for f in self.features.values()), "decoded"
        return {name: values[key] for name, values in self.columns.items()}

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def with_format(self, kind: None) -> Dataset:
        return self

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset({n: self.columns[n] for n in names}, {n: self.features[n] for n in names})

    def cast_column(self, name: str, feature: Any) -> Dataset:
        return Dataset(self.columns, {**self.features, name: feature})


Make = Callable[..., Any]


def _stand_in(columns: dict[str, list[Any]], names: dict[str, list[str]], images: tuple[str, ...] = ("image",)) -> Any:
    features = {name: ClassLabel(names[name]) if name in names else None for name in columns}
    return Dataset(columns, {**features, **{name: Image() for name in images}})


def _real(columns: dict[str, list[Any]], names: dict[str, list[str]], images: tuple[str, ...] = ("image",)) -> Any:
    import datasets

    features = {
        name: datasets.ClassLabel(names=names[name]) if name in names else datasets.Value("string") for name in columns
    }
    features.update({name: datasets.Image() for name in images})
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture(params=["stand-in", "datasets"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    if request.param == "datasets" and importlib.util.find_spec("datasets") is None:
        pytest.skip("datasets is not installed")
    return _real if request.param == "datasets" else _stand_in


def _cells(numbers: list[int]) -> list[dict[str, Any]]:
    return [{"bytes": JPEG[number], "path": None} for number in numbers]


NAMES = {"label": ["jay", "crow"]}


def test_bytes_are_kept_as_they_are_stored(make: Make) -> None:
    found = dataset_of(make({"image": _cells([0, 1, 2]), "label": [0, 1, 0]}, NAMES))
    assert [sample.path.read_bytes() for sample in found.samples] == JPEG[:3]
    assert [sample.path.suffix for sample in found.samples] == [".jpg"] * 3
    assert [found.classes[sample.label] for sample in found.samples] == ["jay", "crow", "jay"]
    again = dataset_of(make({"image": _cells([0, 1, 2]), "label": [0, 1, 0]}, NAMES))
    assert again.root == found.root
    assert dataset_of(make({"image": _cells([0, 1, 3]), "label": [0, 1, 0]}, NAMES)).root != found.root


def test_splits_of_a_dictionary(make: Make) -> None:
    parts = {
        "train": make({"image": _cells([0, 1]), "label": [0, 1]}, NAMES),
        "validation": make({"image": _cells([2]), "label": [1]}, NAMES),
        "test": make({"image": _cells([3, 4]), "label": [-1, -1]}, NAMES),
    }
    found = dataset_of(parts)
    assert [(found.classes[s.label], s.split) for s in found.samples] == [
        ("jay", "train"),
        ("crow", "train"),
        ("crow", "val"),
    ]
    assert "Left out: the split 'test' with 2 images: unlabelled." in found.notes
    with pytest.raises(DataError, match="split 'unsupervised', which is none of train"):
        dataset_of({**parts, "unsupervised": parts["train"]})


def test_files_that_are_named_are_read_where_they_lie(make: Make, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(JPEG[number])
    cells = [{"bytes": None, "path": str(tmp_path / f"{number}.jpg")} for number in range(2)]
    found = dataset_of(make({"photo": cells, "species": [0, 1]}, {"species": ["a", "b"]}, ("photo",)))
    assert [sample.path for sample in found.samples] == [tmp_path / "0.jpg", tmp_path / "1.jpg"]


@pytest.mark.parametrize(
    ("columns", "names", "images", "fault"),
    [
        ({"left": [0], "right": [0], "label": [0]}, NAMES, ("left", "right"), "columns of images, 'left', 'right'"),
        ({"image": [0], "fine": [0], "coarse": [0]}, {"fine": ["a"], "coarse": ["b"]}, ("image",),
         "labels are 'fine', 'coarse'"),
        ({"image": [0, 1], "label": [0, -1]}, NAMES, ("image",), "label of item 1 is -1; it must be one of the 2"),
        ({"image": [0, None], "label": [0, 1]}, NAMES, ("image",), "item 1 of the data set has no image"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused(
    make: Make, columns: dict[str, list[Any]], names: dict[str, list[str]], images: tuple[str, ...], fault: str
) -> None:
    filled = {
        name: [None if n is None else _cells([n])[0] for n in values] if name in images else values
        for name, values in columns.items()
    }
    with pytest.raises(DataError, match=fault):
        dataset_of(make(filled, names, images))


def test_streams_are_refused() -> None:
    class IterableDataset:
        def __init__(self) -> None:
            self.features = {"image": Image()}

        def __iter__(self) -> Iterator[Any]:
            yield {}

    for source in (IterableDataset(), {"train": IterableDataset()}):
        with pytest.raises(InputError, match=r"is a stream.*streaming=False") as caught:
            dataset_of(source)
        assert "\n" not in str(caught.value)
