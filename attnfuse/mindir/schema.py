"""Message classes of the MindIR wire format, built from `mindir.desc` in a private descriptor pool.

A private pool, because `mindspore` registers its own copy of the schema in the default pool: two
registrations of one name clash, and whichever comes second fails to import.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from attnfuse.mindir.mindir_pb2 import (
        AttributeProto,
        GraphProto,
        ModelProto,
        NodeProto,
        PrimitiveProto,
        TensorProto,
        ValueInfoProto,
    )
else:

    def _classes() -> dict[str, Any]:
        pool = descriptor_pool.DescriptorPool()
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(
            files("attnfuse.mindir").joinpath("mindir.desc").read_bytes()
        )
        for descriptor in descriptors.file:
            pool.AddSerializedFile(descriptor.SerializeToString())
        return {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"mind_ir.{name}"))
            for name in pool.FindFileByName("mindir.proto").message_types_by_name
        }

    _CLASSES = _classes()
    AttributeProto = _CLASSES["AttributeProto"]
    GraphProto = _CLASSES["GraphProto"]
    ModelProto = _CLASSES["ModelProto"]
    NodeProto = _CLASSES["NodeProto"]
    PrimitiveProto = _CLASSES["PrimitiveProto"]
    TensorProto = _CLASSES["TensorProto"]
    ValueInfoProto = _CLASSES["ValueInfoProto"]

__all__ = [
    "AttributeProto",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "PrimitiveProto",
    "TensorProto",
    "ValueInfoProto",
]
