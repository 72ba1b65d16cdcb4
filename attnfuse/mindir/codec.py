"""Bytes to a MindIR message and back, with every refusal a user can meet worded here.

Facts about the format: a file is one `ModelProto`; `mind_ir_version` 3 means that primitives are functions whose
arguments are inputs (the only version written by MindSpore 2.4 and later); an encrypted file starts with a
four-byte magic number of MindSpore's `crypto.cc`. Protobuf messages stop at 2 GiB.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError

from attnfuse.errors import SourceError
from attnfuse.mindir.foreign import what_lies_there
from attnfuse.mindir.key_names import adapter_of
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.original_names import is_original

SUPPORTED_VERSION = 3
_ENCRYPTED = (b"\xd8\x5e\x3a\x7f", b"\xd9\x5e\x3a\x7f")  # AES-GCM and AES-CBC / SM4-CBC
_MAX_BYTES = 2**31 - 1


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises SourceError for a missing, unreadable, empty or too large file."""
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a folder, not a .mindir file; name the graph file inside it.")
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise SourceError(f"{path} is not a regular file; name a .mindir file.")
        check_format(path)
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise SourceError(
                f"{path} has {size} bytes, more than a protobuf message can hold (2 GiB); "
                "export it with its weights beside it (X_graph.mindir and X_variables/)."
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not data:
        raise SourceError(f"{path} is empty; export the model again.")
    return data


def check_format(path: Path) -> None:
    """Raise SourceError for a file that somebody may take for a source and is none, saying what it is (see `foreign`).

    OSError where it cannot be read.
    """
    found = what_lies_there(path)
    if found:
        raise SourceError(f"{path} {found}.")
    if path.suffix == ".safetensors":
        tensors = TensorFile(path).tensors
        if tensors and (kind := adapter_of(tensors)):
            raise SourceError(f"{path} holds {kind}, and no model; give the pipeline folder that it was made for.")
        if is_original(tensors):
            raise SourceError(
                f"{path} holds weights under the names they were first published with, and no configuration: give"
                " --config FOLDER, a pipeline in diffusers layout with configurations, tokenizers and scheduler."
            )
        raise SourceError(f"{path} is a file of weights; give the pipeline folder in diffusers layout it belongs to.")
    if path.name in ("model_index.json", "config.json"):
        raise SourceError(f"{path} is a configuration; give the folder that it lies in, {path.parent}.")


def parse(data: bytes, where: str) -> ModelProto:
    """The message in `data`; `where` names it in errors.

    Raises SourceError for bytes that are no MindIR, an encrypted file, another `mind_ir_version` than 3,
    a message without a graph, or one with names that are not text.
    """
    if data[:4] in _ENCRYPTED:
        raise SourceError(f"{where} is encrypted; export it without enc_key, attnfuse holds no keys.")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise SourceError(f"{where} is not a MindIR file, or is truncated or encrypted; export it again.") from None
    if not model.HasField("ir_version") or not model.HasField("graph"):
        raise SourceError(f"{where} is not a MindIR file: it holds no graph; name a file written by mindspore.export.")
    version = model.mind_ir_version
    if version != SUPPORTED_VERSION:
        raise SourceError(
            f"{where} has mind_ir_version {version}, and attnfuse reads version {SUPPORTED_VERSION}; "
            "export it with MindSpore 2.7 or 2.10."
        )
    if set(map(type, _names(model))) != {str}:
        raise SourceError(f"{where} is damaged: it holds a name that is not UTF-8 text; export it again.")
    return model


def _names(model: ModelProto) -> list[str]:
    """Every name that the graph is read by. Protobuf hands out bytes where one is not UTF-8."""
    names = list[str]()
    for primitive in model.primitives:
        names += (primitive.name, primitive.op_type)
    for graph in (model.graph, *model.functions):
        names.append(graph.name)
        names += [value.name for value in (*graph.input, *graph.output)]
        for parameter in graph.parameter:
            names += (parameter.name, parameter.external_data.location)
        for node in graph.node:
            names += (node.name, node.op_type, node.domain, *node.input, *node.output)
            names += [attribute.name for attribute in node.attribute]
    return names


def serialise(model: ModelProto) -> bytes:
    """The message's bytes, the same for the same content. Raises SourceError past 2 GiB."""
    try:
        return model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise SourceError(
            f"the rewritten graph cannot be encoded ({error}); keep the weights beside the graph."
        ) from None
