"""MindSpore's own inference over the result: what it re-emits is compared with what was written.

The graph is sent without its weights (types suffice), with every node renamed to its number, so that each
re-emitted node is traced back to the written one for certain. MindSpore runs in a subprocess: it cannot share one
with protobuf's fast backend, and a malformed node can crash the interpreter.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from attnfuse import processes
from attnfuse.errors import VerificationError
from attnfuse.ir.builder import value_attribute
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, short_name, tensor_type
from attnfuse.ir.operators.arguments import TypeMismatch
from attnfuse.ir.operators.columns import Role
from attnfuse.ir.operators.inference import broadcast
from attnfuse.ir.questions import role
from attnfuse.ir.types import TensorType
from attnfuse.mindir import codec
from attnfuse.mindir.schema import AttributeProto, ModelProto, NodeProto, PrimitiveProto
from attnfuse.verify.names import leaf_name

TIMEOUT_SECONDS = 1800.0
LEAST_SECONDS, SECONDS_A_NODE = 300.0, 0.3
"""What MindSpore is given, up to `TIMEOUT_SECONDS`: more than it needs, as its compiler may never end."""
Types: TypeAlias = TensorType | tuple[TensorType | None, ...] | None
_NO_SHAPE = (-2,)
"""How MindSpore writes the sizes of a tensor of which it does not know how many axes there are."""
_INSTEAD = "attnfuse_instead"
"""What primitives and constants are called that stand for what MindSpore does not take."""
_NUMBERED = re.compile(r"attnfuse_n(\d+)")


@dataclass(frozen=True, slots=True)
class Inference:
    """Findings, how many node types were compared, and the version of MindSpore that inferred them.

    `rejected` is what MindSpore said where it did not infer the graph at all; the one finding tells it.
    """

    findings: tuple[str, ...]
    compared: int
    mindspore: str
    rejected: str | None = None


def infer(model: Model, name: str, work: Path) -> Inference:
    """Compare the declared types of all nodes and outputs with those MindSpore infers.

    `work` is an existing folder for temporary files, in which MindSpore may leave an empty folder of its own.
    Raises VerificationError where MindSpore is missing or its process dies.
    """
    return infer_all({name: model}, name, work)[name]


def infer_all(models: Mapping[str, Model], name: str, work: Path) -> dict[str, Inference]:
    """The same for several graphs in one process of MindSpore, whose start takes seconds.

    `name` stands for them all in messages. A graph that crashes MindSpore takes the others with it.
    """
    emitted, version = _emit(models, name, work)
    results = {}
    for key, model in models.items():
        made = emitted[key]
        rejected = made if isinstance(made, str) else None
        findings, compared = (
            ([f"MindSpore rejects the graph: {made}."], 0) if isinstance(made, str) else _differences(model, made)
        )
        results[key] = Inference(tuple(findings), compared, version, rejected)
    return results


def types_of_all(models: Mapping[str, Model], name: str, work: Path) -> dict[str, dict[int, Types] | str]:
    """Of each graph the types that MindSpore infers from its inputs, by position in `model.nodes`; or why it does not.

    Nodes that MindSpore computes itself, as nothing in them is known only at run time, are left out.
    """
    emitted, _ = _emit(models, name, work)
    return {key: made if isinstance(made, str) else _seen(made) for key, made in emitted.items()}


def _emit(models: Mapping[str, Model], name: str, work: Path) -> tuple[dict[str, Model | str], str]:
    """Each graph as MindSpore writes it after its inference, or what it says instead; and its version."""
    files = [(work / f"infer-{i}.mindir", work / f"infer-{i}.out.mindir") for i in range(len(models))]
    try:
        jobs = []
        for (key, model), (source, target) in zip(models.items(), files, strict=True):
            source.write_bytes(codec.serialise(_stripped(model)))
            jobs.append(
                {"source": str(source.resolve()), "target": str(target.resolve()), "inputs": _inputs(model, key)}
            )
        answer = _run({"graphs": jobs}, name, work, seconds_for(models.values()))
        made: dict[str, Model | str] = {}
        for key, (_, target), error in zip(models, files, answer["errors"], strict=True):
            made[key] = (
                Model(codec.parse(codec.read_bytes(target), "the graph that MindSpore inferred"))
                if error is None
                else _one_line(error)
            )
        return made, str(answer["mindspore"])
    finally:
        for path in (path for pair in files for path in pair):
            path.unlink(missing_ok=True)


def _inputs(model: Model, name: str) -> list[list[object]]:
    inputs: list[list[object]] = []
    for value in model.proto.graph.input:
        kind = tensor_type(value.tensor[0]) if len(value.tensor) == 1 else None
        if kind is None:
            raise VerificationError(f"input {leaf_name(value.name)} of {name} is of a type that cannot be checked.")
        inputs.append([kind.dtype.name, list(kind.dims)])
    return inputs


def _stripped(model: Model) -> ModelProto:
    """A copy without weights, its nodes renamed after their position in `model.nodes`."""
    copy = ModelProto()
    copy.CopyFrom(model.proto)
    _broadcast_batches(model, copy)
    new_name = {
        node.name: f"{node.graph.name}:attnfuse_n{i}:{i}" for i, node in enumerate(model.nodes) if node.op != CONSTANT
    }
    calls = {f"REF::{old}": f"REF::{new}" for old, new in new_name.items()}
    for graph in (copy.graph, *copy.functions):
        for parameter in graph.parameter:
            parameter.ClearField("raw_data")
            parameter.ClearField("external_data")
        for message in graph.node:
            message.op_type = calls.get(message.op_type, message.op_type)
            for field in (message.input, message.output):
                for i, value in enumerate(field):
                    if value in new_name:
                        field[i] = new_name[value]
            message.name = message.output[0]
        for output in graph.output:
            output.name = new_name.get(output.name, output.name)
    _in_mindspores_words(copy)
    return copy


def _broadcast_batches(model: Model, proto: ModelProto) -> None:
    """Write out the batch of a BatchMatMul's operand that has one matrix for all of the other's.

    MindSpore's inference takes such operands for Ascend alone (BatchMatMulFuncImpl of 2.7.1), and here it is asked for
    the CPU.
    """
    repeated = {node.name: found for node in model.nodes if (found := _repeated(model, node))}
    if not repeated:
        return
    op = f"{_INSTEAD}_BroadcastTo"
    function = PrimitiveProto.PRIMITIVE_FUNCTION
    proto.primitives.add(name=op, op_type="BroadcastTo", instance_name="BroadcastTo", prim_type=function)
    for graph in (proto.graph, *proto.functions):
        written: list[NodeProto] = []
        for message in graph.node:
            for position, dims in repeated.get(message.output[0], {}).items():
                name = f"{graph.name}:{op}_{len(written)}"
                shape = NodeProto(name=f"{name}_shape", op_type=CONSTANT, output=[f"{name}_shape"])
                shape.attribute.append(value_attribute(dims))
                operands = [message.input[position], shape.name]
                written += [shape, NodeProto(name=name, op_type=f"REF::{op}", input=operands, output=[name])]
                message.input[position] = name
            written.append(message)
        if len(written) > len(graph.node):
            in_order = [NodeProto.FromString(message.SerializeToString()) for message in written]
            del graph.node[:]
            graph.node.extend(in_order)


def _repeated(model: Model, node: Node) -> dict[int, tuple[int, ...]]:
    """Positions of a BatchMatMul's operands whose batch is repeated → the sizes that they have then."""
    if node.op != "BatchMatMul":
        return {}
    one, other = (model.type_of(value) for value in node.inputs[:2])
    if one is None or other is None or not (one.is_static and other.is_static):
        return {}
    try:
        batch = broadcast(one.dims[:-2], other.dims[:-2])
    except TypeMismatch:
        return {}  # as the check of its structure says
    return {i: (*batch, *t.dims[-2:]) for i, t in enumerate((one, other)) if t.dims[:-2] != batch}


def _in_mindspores_words(proto: ModelProto) -> None:
    """What MindSpore Lite takes and MindSpore does not, as the operator of MindSpore that gives the same types.

    A product with a bias is one without; GE's SwiGlu, a `Custom` there, has a namesake.
    """
    functions = {name: found for name, found in map(_function, proto.primitives) if found is not None}
    for op in sorted({op for op, _, _ in functions.values()}):
        function = PrimitiveProto.PRIMITIVE_FUNCTION
        proto.primitives.add(name=f"{_INSTEAD}_{op}", op_type=op, instance_name=op, prim_type=function)
    for graph in (proto.graph, *proto.functions):
        constants: dict[str, NodeProto] = {}
        for message in graph.node:
            if message.op_type not in functions:
                continue
            op, operands, arguments = functions[message.op_type]
            del message.input[operands:]
            for argument in arguments:
                name = f"{graph.name}:{_INSTEAD}_{argument.type}_{argument.i}"
                message.input.append(name)
                if name not in constants:
                    constants[name] = NodeProto(name=name, op_type=CONSTANT, output=[name])
                    constants[name].attribute.add(name="value", type=argument.type, i=argument.i)
            message.op_type = f"REF::{_INSTEAD}_{op}"
        for constant in constants.values():
            graph.node.insert(0, constant)


def _function(primitive: PrimitiveProto) -> tuple[str, tuple[str, int, list[AttributeProto]] | None]:
    """A primitive's name, and where MindSpore does not take it the operator in its place, how many operands that has,
    and which attributes are arguments behind these.
    """
    held = {a.name: a for a in primitive.attribute}
    name = f"REF::{primitive.name}"
    if primitive.op_type == "MatMul" and primitive.prim_type == PrimitiveProto.PRIMITIVE:
        return name, ("MatMul", 2, [held["transpose_a"], held["transpose_b"]])
    if primitive.op_type == "Custom" and held["reg_op_name"].s == b"SwiGlu":
        return name, ("Swiglu", 1, [held["dim"]])
    return name, None


def seconds_for(models: Iterable[Model]) -> float:
    """How long MindSpore may take over the graphs."""
    return min(TIMEOUT_SECONDS, LEAST_SECONDS + SECONDS_A_NODE * sum(len(model.nodes) for model in models))


def _run(request: object, name: str, work: Path, seconds: float) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"}
    environment["GLOG_v"] = "3"  # errors only: warnings of MindSpore are not the user's
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "attnfuse.verify.inference.worker", str(os.getpid())]
    try:
        # In `work`, because MindSpore leaves folders where it runs.
        done = processes.run(
            command, said=json.dumps(request), seconds=seconds, env=environment, cwd=work,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VerificationError(
            f"MindSpore's inference over {name} did not end within {seconds:.0f} s; try --verify none."
        ) from None
    if "No module named 'mindspore'" in done.stderr:
        raise VerificationError("MindSpore is not installed, and --verify needs it: pip install 'attnfuse[trace]'.")
    try:
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        answer = None
    if done.returncode or not isinstance(answer, dict):
        last = done.stderr.strip().rpartition("\n")[2]
        raise VerificationError(
            f"MindSpore's inference over {name} died (exit code {done.returncode}); "
            f"the graph crashes its loader or the machine is out of memory: {_one_line(last) or 'no message'}."
        )
    return answer


def _agree(declared: Types, found: Types, *, is_open: bool) -> bool:
    """Whether the types are the same; in a graph for any batch, MindSpore may not know a size (-1) that is written.

    It gives up all of them where it meets an open one in some operators (PadV3). What is written is checked against its
    inference at given batches as well.
    """
    if declared == found:
        return True
    if isinstance(declared, tuple) and isinstance(found, tuple):
        return len(declared) == len(found) and all(
            _agree(a, b, is_open=is_open) for a, b in zip(declared, found, strict=True)
        )
    if not is_open or not isinstance(declared, TensorType) or not isinstance(found, TensorType):
        return False
    sizes = zip(declared.dims, found.dims, strict=False)
    return (
        declared.dtype == found.dtype
        and len(declared.dims) == len(found.dims)
        and all(size in (-1, written) for written, size in sizes)
    )


def _seen(inferred: Model) -> dict[int, Types]:
    """Types of the nodes that are those of the graph that was sent, by position there."""
    seen: dict[int, Types] = {}
    for node in inferred.nodes:
        if node.op == CONSTANT or (match := _NUMBERED.search(node.name)) is None:
            continue
        seen[int(match.group(1))] = inferred.types_of(node.name)
    return seen


def _gives_no_shape(node: Node, declared: Types, found: Types, without_shape: Set[str]) -> bool:
    """Whether MindSpore infers the element type alone, and only as it infers no more of a fused node.

    Of PromptFlashAttention in the layouts BSND and BNSD_BSND its inference gives the element type and leaves even the
    number of axes open, and with it sizes of what is made of the result up to the next shape that is given. The
    operator table and the structural check hold what is written there.
    """
    if not isinstance(declared, TensorType) or not isinstance(found, TensorType) or declared == found:
        return False
    if role(node) is not Role.FUSED_ATTENTION and without_shape.isdisjoint(node.inputs):
        return False
    if found.dims == _NO_SHAPE:
        return declared.dtype == found.dtype
    return role(node) is not Role.FUSED_ATTENTION and _agree(declared, found, is_open=True)


def _differences(model: Model, inferred: Model) -> tuple[list[str], int]:
    """Findings, and how many types were compared."""
    seen = _seen(inferred)
    is_open = any(size < 0 for value in model.proto.graph.input for size in value.tensor[0].dims)
    findings = []
    compared = 0
    without_shape: set[str] = set()
    for i, node in enumerate(model.nodes):
        declared, found = model.types_of(node.name), seen.get(i)
        if node.op == CALL or declared is None or found is None:
            continue
        if _gives_no_shape(node, declared, found, without_shape):
            without_shape.add(node.name)
            continue
        compared += 1
        if not _agree(declared, found, is_open=is_open):
            findings.append(
                f"{node.op} {short_name(node.name)} is written as {_text(declared)}, inferred as {_text(found)}."
            )
    written, emitted = model.proto.graph.output, inferred.proto.graph.output
    if len(written) != len(emitted):
        findings.append(f"the graph is written with {len(written)} outputs, inferred with {len(emitted)}.")
    for a, b in zip(written, emitted, strict=False):
        was, now = ([tensor_type(t) for t in value.tensor] for value in (a, b))
        if not _agree(tuple(was), tuple(now), is_open=is_open):
            findings.append(f"output {leaf_name(a.name)} is written as {_text(was)}, inferred as {_text(now)}.")
    return findings, compared


def _text(value_type: TensorType | Sequence[TensorType | None] | None) -> str:
    if isinstance(value_type, TensorType) or value_type is None:
        return str(value_type)
    return f"({', '.join(str(k) for k in value_type)})" if len(value_type) != 1 else str(value_type[0])


def _one_line(text: str) -> str:
    """The first sentence of MindSpore's message, which goes on with its own sources and call stacks."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return line.strip().rstrip(".")[:400]
