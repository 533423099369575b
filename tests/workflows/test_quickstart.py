"""The quick start, cut to a size that tests can afford: it runs to its page, and is continued rather than repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlaam.data.synthetic import SyntheticOptions
from tlaam.errors import RunError


def test_it_writes_results_and_a_page_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tlaam.workflows import quickstart as module

    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    small = {"backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 2}
    monkeypatch.setattr(module, "SETTINGS", {**module.SETTINGS, **small, "workers": 0})
    monkeypatch.setattr(
        module,
        "SyntheticOptions",
        lambda **o: SyntheticOptions(**{**o, "classes": 2, "images_per_class": 4, "test_per_class": 2, "size": 96}),
    )
    said: list[str] = []
    page = module.quickstart(tmp_path / "out", say=said.append)
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure") == 4 and html.count("data:image/") == 16 and "Mean IoU" in html
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (
        set(results) == {"command", "seed", "settings", "machine", "plain", "tlaam"} and results["tlaam"]["images"] == 4
    )
    plain, both = results["plain"]["classification"]["fused"], results["tlaam"]["classification"]["fused"]
    assert f"{100 * (both['top1'] - plain['top1']):+.1f}".replace("-", "−") in html
    assert "points over the plain backbone" in html and "95 % interval" in html
    assert "localization" in results["tlaam"] and any("right" in line for line in said)

    before = (tmp_path / "out" / "tlaam" / "model.safetensors").stat().st_mtime_ns
    assert module.quickstart(tmp_path / "out", say=said.append) == page
    assert (tmp_path / "out" / "tlaam" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="other settings"):
        module.quickstart(tmp_path / "out", seed=1, say=said.append)
    with pytest.raises(RunError, match="not empty"):
        module.quickstart(tmp_path / "cache", say=said.append)
