"""What is not a file of `tlaam export` is refused in one line, before it is followed anywhere."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_files import FACTS, small_model, written

from tlaam.errors import ModelError
from tlaam.inference.onnx_file import _HELD, CHECKSUM, MAX_BYTES, MAX_METADATA, model_checksum, read_model_file


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model_file(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 200
    return message


def test_the_facts_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", small_model())
    file = read_model_file(path)
    assert (file.classes, file.source_size) == (("red", "green", "blue"), 32)
    assert file.content == path.read_bytes()


def test_what_is_no_file_or_too_large_is_not_opened(tmp_path: Path) -> None:
    assert "is missing" in refusal(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    assert "is no file" in refusal(tmp_path / "folder.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "is no file" in refusal(tmp_path / "pipe.onnx")
    with (tmp_path / "large.onnx").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert "2,147,483,648 bytes" in refusal(tmp_path / "large.onnx")


@pytest.mark.parametrize("content", [
    b"", b"hello world", b"\x08", b"\xff" * 40, b"PK\x03\x04 an archive", struct.pack("<Q", 2) + b"{}",
    b"\x08\x0a",  # a message without a graph
    b"\x3a\x7f\x0a",  # a graph that ends early
    b"\x3a\x02\x0a\x7f",  # a node that does
    b"\x3b\x3c",  # a group
    b"\x02\x00",  # field number 0
])  # fmt: skip
def test_other_bytes_are_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "is not an ONNX file, or is damaged" in refusal(path)


def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    whole = small_model().SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path)  # damaged, or without its metadata, which come last


@pytest.mark.parametrize(("fact", "value", "message"), [
    ("tlaam_version", None, "was not written by tlaam export: its metadata lack 'tlaam_version'"),
    ("classes", None, "lack 'classes'"),
    ("preprocessing", None, "lack 'preprocessing'"),
    ("classes", "[", "'classes' of its metadata is not JSON"),
    ("classes", "[" * 200_000, "'classes' of its metadata is not JSON"),
    ("classes", "[]", "no list of names"),
    ("classes", '"crow"', "no list of names"),
    ("classes", '["crow", 1]', "no list of names"),
    ("preprocessing", "NaN", "is None"),
    *(("preprocessing", json.dumps({"source_size": size}), "must be a whole number from 32 to 4096")
      for size in (0, 31, 4097, 10**30, -224, 224.0, True, "224", None, [224])),
    ("preprocessing", '{"source_size": ' + "9" * 5000 + "}", "is not JSON"),
])  # fmt: skip
def test_facts_that_lack_or_cannot_be_are_named(tmp_path: Path, fact: str, value: str | None, message: str) -> None:
    facts = {**FACTS, fact: value} if value is not None else {name: v for name, v in FACTS.items() if name != fact}
    assert message in refusal(written(tmp_path / "m.onnx", small_model(facts)))


def test_facts_beyond_measure_are_refused(tmp_path: Path) -> None:
    facts = {**FACTS, "more": " " * MAX_METADATA}
    assert "more than 16,777,216 bytes" in refusal(written(tmp_path / "m.onnx", small_model(facts)))


def test_facts_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(small_model({**FACTS, "classes": '["RED"]'}).SerializeToString().replace(b"RED", b"\xff\xfe\xfd"))
    assert "'classes' of its metadata is not JSON" in refusal(path)


def outside(location: str = "secret.bin") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def quiet(location: str = "secret.bin") -> TensorProto:
    """Only one of the two signs of external data."""
    tensor = outside(location)
    tensor.ClearField("data_location")
    return tensor


def quieter(location: str = "secret.bin") -> TensorProto:
    tensor = outside(location)
    tensor.ClearField("external_data")
    return tensor


def sparse() -> Any:
    return onnx.SparseTensorProto(values=outside(), dims=[4])


def with_attribute(**attribute: Any) -> Any:
    return onnx.NodeProto(op_type="Constant", output=["w"], attribute=[onnx.AttributeProto(name="a", **attribute)])


def branch(*initializers: TensorProto, nodes: tuple[Any, ...] = ()) -> Any:
    return onnx.GraphProto(name="branch", initializer=initializers, node=nodes)


PLACES: dict[str, Callable[[Any], object]] = {
    "initializer": lambda m: m.graph.initializer.append(outside()),
    "location unsaid": lambda m: m.graph.initializer.append(quiet()),
    "file unsaid": lambda m: m.graph.initializer.append(quieter()),
    "address in memory": lambda m: m.graph.initializer.append(outside("*/_ORT_MEM_ADDR_/*")),
    "sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse()),
    "constant": lambda m: m.graph.node.append(with_attribute(t=outside())),
    "constants": lambda m: m.graph.node.append(with_attribute(tensors=[outside()])),
    "sparse constant": lambda m: m.graph.node.append(with_attribute(sparse_tensor=sparse())),
    "sparse constants": lambda m: m.graph.node.append(with_attribute(sparse_tensors=[sparse()])),
    "branch": lambda m: m.graph.node.append(with_attribute(g=branch(outside()))),
    "branches": lambda m: m.graph.node.append(with_attribute(graphs=[branch(outside())])),
    "branch in a branch": lambda m: m.graph.node.append(
        with_attribute(g=branch(nodes=(with_attribute(g=branch(outside())),)))
    ),
    "function": lambda m: m.functions.append(onnx.FunctionProto(name="f", node=[with_attribute(t=outside())])),
    "default of a function": lambda m: m.functions.append(
        onnx.FunctionProto(name="f", attribute_proto=[onnx.AttributeProto(name="a", t=outside())])
    ),
    "training": lambda m: m.training_info.append(onnx.TrainingInfoProto(initialization=branch(outside()))),
    "training step": lambda m: m.training_info.append(onnx.TrainingInfoProto(algorithm=branch(outside()))),
}


@pytest.mark.parametrize("place", PLACES)
def test_data_outside_the_file_are_refused_wherever_they_are_named(tmp_path: Path, place: str) -> None:
    model = small_model()
    PLACES[place](model)
    assert "keeps data outside itself" in refusal(written(tmp_path / "m.onnx", model))


def test_every_way_to_a_tensor_that_the_format_has_is_walked() -> None:
    ways: dict[str, dict[int, str]] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        ways[message.name] = {f.number: f.message_type.name for f in message.fields if f.message_type is not None}
        pending += [f.message_type for f in message.fields if f.message_type and f.message_type.name not in ways]
    leads = {"TensorProto"}
    while more := {name for name, fields in ways.items() if leads & {*fields.values()}} - leads:
        leads |= more
    names = {
        "ModelProto": "model", "TrainingInfoProto": "training", "FunctionProto": "function", "GraphProto": "graph",
        "NodeProto": "node", "AttributeProto": "attribute", "SparseTensorProto": "sparse tensor",
        "TensorProto": "tensor",
    }  # fmt: skip
    assert leads == {*names}
    assert {
        names[name]: {number: names[held] for number, held in ways[name].items() if held in leads}
        for name in leads - {"TensorProto"}
    } == _HELD


def test_nesting_has_no_depth_that_breaks_it(tmp_path: Path) -> None:
    message = outside().SerializeToString()
    field = b"\x2a"  # number 5, of a graph the initialiser
    for number in [b"\x3a"] + [b"\x32", b"\x2a", b"\x0a"] * 3000:
        message = field + length_of(message) + message
        field = number
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + length_of(message) + message)
    refusal(path)


def length_of(message: bytes) -> bytes:
    value, encoded = len(message), b""
    while True:
        value, low = value >> 7, value & 127
        encoded += bytes([low | (128 if value else 0)])
        if not value:
            return encoded


def test_onnx_that_tlaam_did_not_write_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    path = written(
        tmp_path / "m.onnx", helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), ir_version=10)
    )
    onnxruntime.InferenceSession(path)
    assert "was not written by tlaam export" in refusal(path)


def signed(model: Any) -> Any:
    model.metadata_props.add(key=CHECKSUM, value=model_checksum(model.SerializeToString()))
    return model


def test_a_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    content = signed(small_model()).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert read_model_file(path).classes == ("red", "green", "blue")
    random = np.random.default_rng(0)
    for at in random.choice(content.index(b"sha256") - 8, 200, replace=False):  # what comes then is the checksum itself
        changed = bytearray(content)
        changed[at] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        refusal(path)


def test_a_class_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    facts = {**FACTS, "classes": '["red", "red", "blue"]'}
    assert "names a class twice" in refusal(written(tmp_path / "m.onnx", small_model(facts)))
