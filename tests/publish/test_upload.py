"""Sending to a hub on this machine through the real client, and getting back what was sent."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants as hub
import pytest
from hub_server import TOKEN, HubServer, Repository

import tlaam
from tlaam.cli.main import main
from tlaam.errors import ModelError


def test_what_was_sent_comes_back(
    logged_in: HubServer, trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "somebody/birds", "--pictures", "2"]) == 0
    shown, said = capsys.readouterr()
    assert shown == f"Sent: {logged_in.url('/somebody/birds')}\n" and said == ""
    sent = logged_in.repositories["somebody/birds"]
    assert not sent.private and {card.encode() for card in logged_in.cards} == {sent.files["README.md"]}
    assert sent.files.keys() == {
        "README.md", "config.json", "model.safetensors", "pictures/example-01.jpg", "pictures/example-02.jpg",
    }  # fmt: skip
    assert main(["push", str(trained), "somebody/birds", "--pictures", "2", "--out", str(tmp_path / "seen")]) == 0
    assert "Written, not sent" in capsys.readouterr().out
    for name, content in sent.files.items():
        assert (tmp_path / "seen" / name).read_bytes() == content, name
    here, there = (tlaam.load(model).predict(photos / "wren") for model in (trained, "hf://somebody/birds"))
    assert [p.top() for p in here] == [p.top() for p in there]


def test_a_second_push_replaces_what_was_ours_alone(logged_in: HubServer, trained: Path) -> None:
    files = {
        "pictures/example-09.jpg": b"old",
        "gallery.npz": b"old",
        "pictures/mine.jpg": b"mine",
        "notes.txt": b"mine",
        "README.md": b"old",
    }
    logged_in.repositories["somebody/birds"] = Repository(dict(files))
    tlaam.push_to_hub(trained, "hf://somebody/birds", pictures=0)
    found = logged_in.repositories["somebody/birds"].files
    assert found.keys() == {"README.md", "config.json", "model.safetensors", "pictures/mine.jpg", "notes.txt"}
    assert found["README.md"] != b"old"


def test_private_is_private_or_refused(logged_in: HubServer, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "somebody/secret", "--private"]) == 0
    assert logged_in.repositories["somebody/secret"].private
    logged_in.repositories["somebody/open"] = Repository()
    capsys.readouterr()
    assert main(["push", str(run), "somebody/open", "--private"]) == 1
    assert "exists and is public, so that nothing was sent" in capsys.readouterr().err
    assert logged_in.repositories["somebody/open"].files == {}


def test_the_token_is_needed_first(hub_server: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"^not logged in to the Hugging Face hub: `hf auth login`"):
        tlaam.push_to_hub(run, "somebody/birds")
    assert hub_server.log == []
    Path(hub.HF_TOKEN_PATH).write_text(TOKEN)  # where `hf auth login` puts it
    tlaam.push_to_hub(run, "somebody/birds")
    assert "model.safetensors" in hub_server.repositories["somebody/birds"].files
    monkeypatch.setenv("HF_TOKEN", "hf_outlived")
    with pytest.raises(ModelError, match=r"refuses to take somebody/birds \(401\): the token must be valid"):
        tlaam.push_to_hub(run, "somebody/birds")


def test_what_the_hub_refuses_is_one_line(
    logged_in: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run), "others/birds"]) == 1
    said = capsys.readouterr().err
    assert "refuses to take others/birds (403)" in said and "may write to others" in said and said.count("\n") == 1
    for name in ("birds", "a/b@v1"):
        with pytest.raises(ModelError, match="names"):
            tlaam.push_to_hub(run, name)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"cannot send to hf://a/b: http://127\.0\.0\.1:9 does not answer.*--out"):
        tlaam.push_to_hub(run, "a/b")
    assert logged_in.repositories == {}
