from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tlaam.data.download.archives import DATA_SETS, Archive, PublicDataSet, find
from tlaam.data.open import LAYOUTS
from tlaam.errors import ConfigError

ARCHIVES = [(data_set, archive) for data_set in DATA_SETS.values() for archive in data_set.archives]


def test_the_data_sets_are_these() -> None:
    folders = {name: data_set.folder for name, data_set in DATA_SETS.items()}
    assert folders == {
        "cub": "CUB_200_2011",
        "aircraft": "fgvc-aircraft-2013b",
        "cars": "stanford_cars",
        "pets": "oxford-iiit-pet",
        "dogs": "stanford_dogs",
        "flowers": "flowers-102",
        "nabirds": "nabirds",
    }
    assert [name for name, data_set in DATA_SETS.items() if data_set.obstacle] == ["cars", "nabirds"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_what_makes_it_whole_is_what_its_reader_knows_it_by(name: str, tmp_path: Path) -> None:
    data_set = DATA_SETS[name]
    for held in data_set.holds:
        file = tmp_path / data_set.folder / held
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    first = next(layout for layout in LAYOUTS if layout.recognises(tmp_path / data_set.folder))
    assert first.folder == data_set.folder and first.recognises(tmp_path)


@pytest.mark.parametrize(("data_set", "archive"), ARCHIVES, ids=[f"{one.name}-{two.file}" for one, two in ARCHIVES])
def test_what_is_downloaded_can_be_checked(data_set: PublicDataSet, archive: Archive) -> None:
    assert (archive.url is None) == (data_set.obstacle is not None)
    if archive.url is not None:
        assert urlsplit(archive.url).scheme in ("http", "https") and f"/{archive.file}" in archive.url
        assert archive.size and archive.digest
    if archive.digest is not None:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.digest)
    assert archive.is_packed or archive.file.endswith(".mat")
    if not archive.is_packed:
        assert archive.file in data_set.holds


def test_names_and_digests_are_told_apart() -> None:
    digests = [archive.digest for _, archive in ARCHIVES if archive.digest]
    assert len(set(digests)) == len(digests)
    for data_set in DATA_SETS.values():
        assert len({archive.file for archive in data_set.archives}) == len(data_set.archives)


@pytest.mark.parametrize(("name", "closest"), [("cubs", "cub"), ("flower", "flowers"), ("nabird", "nabirds")])
def test_a_wrong_name_gets_the_closest(name: str, closest: str) -> None:
    with pytest.raises(ConfigError, match=rf"no data set '{name}'.*aircraft.*Did you mean '{closest}'"):
        find(name)
