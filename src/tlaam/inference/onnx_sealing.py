"""Finishing an exported graph: unread constants are removed, and metadata with a checksum are added.

This needs the package onnx, which reading a file does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tlaam.inference.onnx_file import CHECKSUM, model_checksum

if TYPE_CHECKING:
    import onnx


def seal(proto: onnx.ModelProto, texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a file: the graph with its metadata replaced by `texts`, and their checksum."""
    import onnx

    facts = {name: text for name, text in texts.items() if name != CHECKSUM}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, facts)
    onnx.helper.set_model_props(proto, {**facts, CHECKSUM: model_checksum(proto.SerializeToString())})
    return bytes(proto.SerializeToString())


def drop_unread(graph: onnx.GraphProto) -> set[str]:
    """Remove constants that no node of the graph or of its nested graphs reads; return the names that are read."""
    read = {output.name for output in graph.output}
    for node in graph.node:
        read.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read |= drop_unread(attribute.g)
    kept = [constant for constant in graph.initializer if constant.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return read
