from __future__ import annotations

from pathlib import Path

import pytest
from annotation_files import ONE_EACH, coco, photographs, written

from tlaam.data.open import open_dataset
from tlaam.runs.data import opened_again, reopenable


@pytest.mark.parametrize("opened_before", [False, True])
def test_an_option_behind_the_path_is_kept(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, opened_before: bool
) -> None:
    monkeypatch.chdir(shared_data / "formats")
    source = "fgvc-aircraft-2013b:level=family"
    images = open_dataset(source)
    words = reopenable(images if opened_before else source, images)
    assert words == f"{(shared_data / 'formats').resolve()}/{source}"
    monkeypatch.chdir("/")
    again = opened_again({"kind": images.kind, "source": words, "root": str(images.root)})
    assert again.fingerprint() == images.fingerprint()
    assert len(again.classes) == 70


def test_crops_are_opened_again_as_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(photographs(tmp_path / "birds") / "annotations.json", coco(ONE_EACH))
    monkeypatch.chdir(tmp_path)
    images = open_dataset("birds:crops=1")
    assert images.name == "birds-crops"
    for source in ("birds:crops=1", images):
        words = reopenable(source, images)
        assert words == f"{tmp_path.resolve()}/birds:crops=1"
        again = opened_again({"kind": images.kind, "source": words, "root": str(images.root)})
        assert again.fingerprint() == images.fingerprint() != open_dataset("birds").fingerprint()
