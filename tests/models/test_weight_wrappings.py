"""Weights in every wrapping of training programs: the same tensors arrive, and a line says what was left."""

from __future__ import annotations

import argparse
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tlaam.errors import ModelError
from tlaam.models.backbone import Backbone
from tlaam.models.pretrained import load_pretrained

NAME = "test_convnext"
State = dict[str, Tensor]


def donor(seed: int = 0, name: str = NAME, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(name, num_classes=7, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


@pytest.fixture(scope="module")
def state() -> State:
    return {key: value.contiguous() for key, value in donor().state_dict().items()}


@pytest.fixture(scope="module")
def other() -> State:
    return dict(donor(1).state_dict())


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


class AttributeDict(dict[str, Any]):
    """As Lightning's hyper-parameters: a dictionary of another kind."""


class Options:
    """A record of somebody's training program."""

    def __init__(self) -> None:
        self.rate, self.folder = 0.1, Path("runs")


OPTIONS = argparse.Namespace(lr=0.1, model=NAME, folder=Path("out"), crop=None, mean=(0.5, 0.5))
Wrap = Callable[[State, State], Any]
WRAPPINGS: dict[str, tuple[Wrap, str]] = {
    "bare": (lambda s, o: s, "left: the classifier of 7 classes"),
    "ordered": (lambda s, o: OrderedDict(s), "taken"),
    "state_dict": (lambda s, o: {"state_dict": s, "epoch": 3}, "of state_dict"),
    "model": (lambda s, o: {"model": s}, "of model"),
    "model_state": (lambda s, o: {"model_state": s}, "of model_state"),
    "model_state_dict": (
        lambda s, o: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}},
        "model_state_dict",
    ),
    "net": (lambda s, o: {"net": s, "acc": 93.1}, "of net"),
    "nested": (lambda s, o: {"checkpoint": {"model": {"state_dict": s}}}, "of checkpoint.model.state_dict"),
    "module.": (lambda s, o: under("module.", s), "prefix module. cut off"),
    "model.": (lambda s, o: {"state_dict": under("model.", s)}, "prefix model. cut off"),
    "backbone.": (lambda s, o: under("backbone.", s), "prefix backbone. cut off"),
    "encoder.": (lambda s, o: under("encoder.", s), "prefix encoder. cut off"),
    "net.": (lambda s, o: under("net.", s), "prefix net. cut off"),
    "_orig_mod.": (lambda s, o: under("_orig_mod.", s), "prefix _orig_mod. cut off"),
    "stacked": (
        lambda s, o: {"state_dict": under("_orig_mod.module.model.backbone.", s)},
        "_orig_mod.module.model.backbone.",
    ),
    "of no known name": (lambda s, o: under("branch_a.trunk.", s), "prefix branch_a.trunk. cut off"),
    "beside another's": (lambda s, o: {**under("backbone.", s), "neck.weight": torch.ones(3)}, "taken"),
    "beside two heads": (lambda s, o: {**s, "aux_head.fc.weight": torch.ones(7, 3)}, "taken"),
    "ema": (lambda s, o: {"state_dict": o, "state_dict_ema": s}, "averaged weights, rather than state_dict"),
    "model_ema": (lambda s, o: {"model": o, "model_ema": under("module.", s)}, "averaged weights, rather than model"),
    "ema with a count": (
        lambda s, o: {"model": o, "ema": {"module": s, "n_averaged": torch.tensor(3)}},
        "of ema.module",
    ),
    "dino": (
        lambda s, o: {"student": under("module.backbone.", o), "teacher": under("backbone.", s), "args": OPTIONS},
        "of teacher taken, averaged weights, rather than student",
    ),
    "dino in one": (
        lambda s, o: under("student.backbone.", o) | under("teacher.backbone.", s),
        "rather than student.backbone",
    ),
    "moco": (
        lambda s, o: under("module.encoder_k.", o) | under("module.encoder_q.", s),
        "prefix module.encoder_q. cut off",
    ),
    "timm's train.py": (
        lambda s, o: {
            "epoch": 9,
            "arch": NAME,
            "state_dict": s,
            "args": OPTIONS,
            "version": 2,
            "metric": np.float64(81.2),
        },
        "of state_dict",
    ),
    "timm's train.py with ema": (
        lambda s, o: {"state_dict": o, "state_dict_ema": s, "args": OPTIONS, "metric": np.float32(1)},
        "of state_dict_ema taken, averaged weights, rather than state_dict",
    ),
    "numpy scalars": (
        lambda s, o: {"model": s, "best": np.float64(0.9), "steps": np.int64(7), "ok": np.bool_(True)},
        "taken",
    ),
    "numpy arrays": (lambda s, o: {"model": {key: value.numpy() for key, value in s.items()}}, "of model"),
    "lightning": (
        lambda s, o: {
            "state_dict": under("model.", s),
            "hyper_parameters": AttributeDict(lr=0.1, options=Options()),
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9), "dirpath": "a"}},
            "loops": {"fit_loop": {}},
            "pytorch-lightning_version": "2.4.0",
        },
        "of state_dict",
    ),
    "histories": (
        lambda s, o: {"model": s, "loss": deque([1.0]), "log": defaultdict(list, a=[1]), "seen": {1, 2}},
        "taken",
    ),
    "parameters": (
        lambda s, o: {key: nn.Parameter(value) if value.is_floating_point() else value for key, value in s.items()},
        "taken",
    ),
    "half precision": (lambda s, o: {key: value.half().float() for key, value in s.items()}, "taken"),
}
"""Each makes what is saved, of the weights meant and of others; and what the line has to say."""


def arrived(backbone: Backbone, state: State, **close: float) -> None:
    own = backbone.state_dict()
    assert len(own) == len(state) - 2  # all but the classifier's rows
    for name, value in own.items():
        there = name.replace("pooled_norm.norm.", "head.norm.").removeprefix("network.")
        torch.testing.assert_close(value, state[there], **(close or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_arrive_out_of_every_wrapping(tmp_path: Path, wrapping: str, state: State, other: State) -> None:
    wrap, said = WRAPPINGS[wrapping]
    torch.save(wrap(state, other), tmp_path / "weights.pth")
    backbone = Backbone(NAME, 64)
    line = load_pretrained(backbone, str(tmp_path / "weights.pth"))
    arrived(backbone, state, **({"rtol": 1e-2, "atol": 1e-2} if wrapping == "half precision" else {}))
    assert line.startswith("file weights.pth: ") and said in line and "\n" not in line
    assert backbone.remarks == [f"Weights: {line}."]


@pytest.mark.parametrize(
    "name", ["w.pth", "w.pth.tar", "w.pt", "w.ckpt", "w.bin", "w.tar", "w.safetensors", "checkpoint", "w-best.model"]
)
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_weights_arrive_whatever_the_file_is_called(tmp_path: Path, name: str, kind: str, state: State) -> None:
    path = tmp_path / name
    if name.endswith(".safetensors") or kind == "safetensors":
        save_file(under("module.", state), path)
    else:
        torch.save({"state_dict": state, "args": OPTIONS}, path, _use_new_zipfile_serialization=kind == "zip")
    backbone = Backbone(NAME, 64)
    load_pretrained(backbone, str(path))
    arrived(backbone, state)


def test_a_vits_positions_are_fitted_as_timm_fits_them(tmp_path: Path) -> None:
    state = donor(name="test_vit", img_size=160).state_dict()
    torch.save({"model": state}, tmp_path / "w.pth")
    backbone = Backbone("test_vit", 224)
    line = load_pretrained(backbone, str(tmp_path / "w.pth"))
    expected = timm.create_model("test_vit", img_size=224, num_classes=7)
    timm.models.load_checkpoint(
        expected, str(tmp_path / "w.pth"), filter_fn=timm.models.vision_transformer.checkpoint_filter_fn
    )
    assert state["pos_embed"].shape != expected.pos_embed.shape
    torch.testing.assert_close(backbone.network.pos_embed, expected.pos_embed)
    assert "pos_embed fitted to this input size" in line


@pytest.mark.parametrize(
    ("name", "there", "here"), [("test_vit2", "norm.", "fc_norm."), ("test_vit", "fc_norm.", "norm.")]
)
def test_the_last_norm_arrives_under_its_other_name(tmp_path: Path, name: str, there: str, here: str) -> None:
    state = donor(name=name).state_dict()
    renamed = {
        f"{there}{key.removeprefix(here)}" if key.startswith(here) else key: value for key, value in state.items()
    }
    assert set(renamed) != set(state)
    torch.save(renamed, tmp_path / "w.pth")
    backbone = Backbone(name, 96)
    load_pretrained(backbone, str(tmp_path / "w.pth"))
    norm = backbone.pooled_norm.norm if here == "fc_norm." else backbone.network.norm
    torch.testing.assert_close(norm.weight, state[f"{here}weight"])


def test_names_of_the_authors_are_brought_to_timms(tmp_path: Path) -> None:
    """As ConvNeXt's own repository calls them."""
    state = donor().state_dict()
    theirs = {}
    for key, value in state.items():
        name = key.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.").replace("head.fc.", "head.")
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
        parts = name.split(".")
        if parts[0] == "stages":
            name = ".".join(parts).replace(".blocks.", ".")
            if "downsample" in parts:
                name = f"downsample_layers.{parts[1]}.{'.'.join(parts[3:])}"
        theirs[name] = value
    assert set(theirs) != set(state)
    torch.save({"model": theirs}, tmp_path / "w.pth")
    backbone = Backbone(NAME, 64)
    load_pretrained(backbone, str(tmp_path / "w.pth"))
    arrived(backbone, state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "test_resnet",
            r"does not fit test_convnext: \d+ of \d+ tensors are absent .*first .* and \d+ more; what it holds",
        ),
        ("test_vit", r"does not fit test_convnext: \d+ of \d+ tensors"),
    ],
)
def test_another_architecture_is_refused_in_a_line(tmp_path: Path, name: str, message: str) -> None:
    torch.save({"state_dict": donor(name=name).state_dict()}, tmp_path / "w.pth")
    backbone = Backbone(NAME, 64)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ModelError, match=message) as caught:
        load_pretrained(backbone, str(tmp_path / "w.pth"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_one_tensor_of_another_shape_is_named_with_both(tmp_path: Path, state: State) -> None:
    torch.save({**state, "stem.0.weight": torch.ones(24, 1, 4, 4)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"1 of \d+ tensors .*first stem\.0\.weight \(24×1×4×4 there, 24×3×4×4 here\)"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))


def test_weights_of_a_training_that_diverged_are_refused(tmp_path: Path, state: State) -> None:
    torch.save({**state, "stem.0.weight": torch.full_like(state["stem.0.weight"], torch.nan)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"holds 1 tensors that are not finite, first stem\.0\.weight"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {}}, [1, 2], torch.ones(3), {0: torch.ones(3)}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth holds no state dict of tensors"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))


class _Calls:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called


def _note(path: str) -> None:
    Path(path).write_text("executed")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("function", [exec, eval, getattr, __import__, Path.touch, _note, torch.hub.load, print])
def test_a_function_beside_good_weights_is_refused_and_not_called(
    tmp_path: Path, function: Callable[..., Any], old: bool, state: State
) -> None:
    arguments = {exec: ("raise SystemExit",), eval: ("1/0",), print: ("executed",)}.get(
        function, (str(tmp_path / "x"),)
    )
    holder = {"state_dict": state, "args": _Calls(function, *arguments)}
    torch.save(holder, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(ModelError, match=r"w\.pth holds more than tensors"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))
    assert not (tmp_path / "x").exists()


def test_a_records_own_code_is_not_run(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": state, "options": Options()}, tmp_path / "w.pth")

    def explode(*_: Any) -> None:
        raise AssertionError("executed")

    for name in ("__new__", "__init__", "__setstate__"):
        monkeypatch.setattr(Options, name, explode, raising=False)
    load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))


def test_a_whole_network_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(donor(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"a whole network.*torch\.save\(model\.state_dict\(\)"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))


def test_the_image_half_of_a_clip_model_arrives(tmp_path: Path) -> None:
    """As OpenCLIP writes it, and BioCLIP with it: the text half beside it, whose names end alike, is left."""
    name = "vit_xsmall_patch16_clip_224"
    state = donor(name=name).state_dict()
    theirs = {}
    for key, value in state.items():
        there = key.replace("patch_embed.proj", "conv1").replace("pos_embed", "positional_embedding")
        there = there.replace("blocks.", "transformer.resblocks.").replace("norm_pre", "ln_pre")
        there = (
            there.replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj").replace("attn.proj", "attn.out_proj")
        )
        there = there.replace("qkv.", "in_proj_").replace(".norm", ".ln_")
        there = "ln_post" + there.removeprefix("norm") if there.startswith("norm.") else there
        if key == "head.weight":
            theirs["visual.proj"] = value.T
        elif key != "head.bias":
            theirs[f"visual.{there}"] = value
    theirs["visual.class_embedding"] = theirs.pop("visual.cls_token")[0, 0]
    theirs["visual.positional_embedding"] = theirs["visual.positional_embedding"][0]
    text = {key.removeprefix("visual."): torch.ones(3) for key in theirs if "resblocks" in key}
    torch.save({**theirs, **text, "logit_scale": torch.tensor(4.6)}, tmp_path / "open_clip_pytorch_model.bin")
    backbone = Backbone(name, 224)
    load_pretrained(backbone, str(tmp_path / "open_clip_pytorch_model.bin"))
    own = backbone.state_dict()
    assert len(own) == len(state) - 2
    for key, value in own.items():
        torch.testing.assert_close(value, state[key.removeprefix("network.")], rtol=0, atol=0)


def test_a_model_of_tlaam_is_sent_to_where_it_is_continued(tmp_path: Path) -> None:
    state = {f"backbone.network.{key}": value for key, value in donor(name="test_resnet").state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"\. A model of tlaam is continued by --from\.$"):
        load_pretrained(Backbone(NAME, 64), str(tmp_path / "w.pth"))
