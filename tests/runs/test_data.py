from __future__ import annotations

from pathlib import Path

import pytest

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
