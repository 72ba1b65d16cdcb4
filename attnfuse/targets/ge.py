"""Tables of CANN's graph engine (GE) and of MindSpore's way into it: adapters, prototypes, and kernels by type and SoC.

`data/ge_operators.json` is written by tools/ge_operators.py and names the versions it was taken from, which are
`Tables.sources`. A kernel list says for which combinations of element types there is an AI Core kernel. None was run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attnfuse.targets.facts import Refusal
from attnfuse.targets.limits import Target

FILE = Path(__file__).parent / "data" / "ge_operators.json"

WITHOUT_KERNEL = frozenset(
    ("Const", "Data", "ExpandDims", "Flatten", "Identity", "IdentityN", "NoOp", "Reshape", "Shape", "Squeeze")
)
"""What the engine does itself, by giving memory another shape or name (GE, docs/ge_local_operator.md)."""
SPECIALISED = MappingProxyType({"Concat": "ConcatD", "Split": "SplitD"})
"""What the engine makes of an operator whose axis is a constant, before it looks for a kernel."""

CAST = "the engine casts"
_OTHERWISE = {
    "kernel.cast": CAST,
    "kernel.ai_cpu": "AI CPU, or a build error",
    "kernel.none": "AI CPU, or a build error",
}
_PRODUCTS = ("MatMulV2", "BatchMatMul")
_ARITHMETIC = ("Add", "BiasAdd", "Cos", "LayerNorm", "LayerNormV3", "Mul", "RealDiv", "Reciprocal", "SoftmaxV2")
"""Of those whose kernels decide about types themselves, the ones that compute: none does in double precision."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """How MindSpore's converter hands a primitive to GE. Positions count from 1, as the converter does.

    `input_attributes` are GE attributes read from an argument of the node, `attributes` those read from an attribute of
    the primitive (its name, then GE's), `attribute_inputs` primitive attributes that become an input.
    """

    ge: str
    inputs: Mapping[str, int]
    dynamic_inputs: Mapping[str, int]
    input_attributes: Mapping[str, int]
    attributes: Mapping[str, str]
    attribute_inputs: Mapping[str, str]
    outputs: int
    has_dynamic_output: bool


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a GE operator. No `dtypes`: the prototype leaves them to a rule of its own."""

    name: str
    required: bool
    dtypes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Prototype:
    """A GE operator's declaration; `attributes` by name with the kind of their values, without the required ones."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dynamic: tuple[Port, ...]
    attributes: Mapping[str, str]
    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernels:
    """AI Core kernels of a GE operator on one SoC. `combinations` are None where the kernel itself decides."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    combinations: frozenset[tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Tables:
    """All of the data file."""

    sources: Mapping[str, str]
    adapters: Mapping[str, Adapter]
    prototypes: Mapping[str, Prototype]
    kernels: Mapping[tuple[str, str], Kernels | None]
    """By GE operator and SoC; None where that SoC has none. An operator without a key has none on any."""


@cache
def tables() -> Tables:
    """The data, read once."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    return Tables(
        sources=MappingProxyType(document["sources"]),
        adapters=MappingProxyType({name: _adapter(row) for name, row in document["adapters"].items()}),
        prototypes=MappingProxyType({name: _prototype(row) for name, row in document["prototypes"].items()}),
        kernels=MappingProxyType(
            {(name, soc): _kernels(row, soc) for name, row in document["kernels"].items() for soc in row}
        ),
    )


def _adapter(row: dict[str, Any]) -> Adapter:
    return Adapter(
        row["ge"],
        row["inputs"],
        row.get("dynamic_inputs", {}),
        row.get("input_attributes", {}),
        row.get("attributes", {}),
        row.get("attribute_inputs", {}),
        len(row["outputs"]),
        "dynamic_outputs" in row,
    )


def _prototype(row: dict[str, Any]) -> Prototype:
    return Prototype(
        tuple(Port(name, need, frozenset(types)) for name, (need, *types) in row["inputs"].items()),
        tuple(Port(name, True, frozenset(types)) for name, types in row["outputs"].items()),
        tuple(Port(name, True, frozenset(types)) for name, types in row["dynamic"].items()),
        row["attributes"],
        tuple(row["required"]),
    )


def _kernels(row: dict[str, Any], soc: str) -> Kernels | None:
    listed = row[soc]
    if isinstance(listed, str):
        return _kernels(row, listed.removeprefix("as "))
    if listed is None:
        return None
    types = listed["dtypes"]
    combinations = None if types is None else frozenset(tuple(combination.split()) for combination in types)
    return Kernels(tuple(listed["inputs"]), tuple(listed["outputs"]), combinations)


@cache
def lists_kernels_of(soc: str) -> bool:
    """Whether any kernel of the SoC was read; where none was, that an operator has none is not known."""
    return any(listed == soc for _, listed in tables().kernels)


def kernel_refusal(
    target: Target, ge_operator: str, inputs: Sequence[str | None], outputs: Sequence[str | None]
) -> Refusal | None:
    """Why the SoC has no AI Core kernel for these element types; None where it has one, or needs none.

    Types are in the order of the operator's kernels, all of a dynamic port's tensors being one; None stands for an
    absent tensor or an unknown type, and goes with any. The code says what happens otherwise, with the configuration's
    precision mode (must_keep_origin_dtype):

    kernel.cast      each tensor's type is listed, or rises to float32, and not together: the engine casts, unasked
    kernel.ai_cpu    a type is not listed: the node goes to the AI CPU, or the build fails where that has no kernel
    kernel.none      there is no kernel at all: the same
    kernel.unknown   no list of the SoC's kernels was read: a rewrite does not rest on one, and nothing else is said
    """
    if ge_operator in WITHOUT_KERNEL:
        return None
    found = tables().kernels.get((ge_operator, target.soc))
    source = tables().sources["kernels"]
    if not lists_kernels_of(target.soc):
        return Refusal("kernel.unknown", "a SoC whose kernels are listed", target.soc, source)
    if found is None:
        wanted = f"operators with an AI Core kernel on {target.soc}"
        return Refusal("kernel.none", wanted, f"{ge_operator}: {_OTHERWISE['kernel.none']}", source)
    if found.combinations is None or _has_other_kernel(target, ge_operator):
        code, wanted = _decided_by_kernel(target, ge_operator, inputs, outputs)
        source = f"{source}, and the kernel's own choice of types"
    else:
        asked = (*_filled(inputs, len(found.inputs)), *_filled(outputs, len(found.outputs)))
        code = _what_happens(asked, found.combinations)
        wanted = f"types that kernels of {ge_operator} are listed for"
    if not code:
        return None
    message = f"{', '.join(map(_dtype_text, inputs))} -> {', '.join(map(_dtype_text, outputs))}"
    return Refusal(code, wanted, f"{message}: {_OTHERWISE[code]}", source)


def _dtype_text(dtype: str | None) -> str:
    return dtype or "-"


def _has_other_kernel(target: Target, ge_operator: str) -> bool:
    special = SPECIALISED.get(ge_operator)
    return special is not None and tables().kernels.get((special, target.soc)) is not None


def _filled(types: Sequence[str | None], count: int) -> tuple[str | None, ...]:
    """A type for each port: outputs of a dynamic port, and absent ports at the end, are not told."""
    return (*types[:count], *(None,) * (count - len(types)))


def _goes(asked: Sequence[str | None], combination: Sequence[str]) -> bool:
    return all(one is None or one == other for one, other in zip(asked, combination, strict=False))


def _what_happens(asked: Sequence[str | None], combinations: frozenset[tuple[str, ...]]) -> str:
    """The code, "" where there is a kernel."""
    if any(_goes(asked, combination) for combination in combinations):
        return ""
    for at, dtype in enumerate(asked):
        listed = {combination[at] for combination in combinations}
        rises = dtype == "float16" and "float32" in listed
        if dtype is not None and dtype not in listed and not rises:
            return "kernel.ai_cpu"
    return "kernel.cast"


def _decided_by_kernel(
    target: Target, ge_operator: str, inputs: Sequence[str | None], outputs: Sequence[str | None]
) -> tuple[str, str]:
    """Code and what is taken, of kernels that choose types themselves (CANN 8.1.RC1, op_select_format, read)."""
    types = {dtype for dtype in (*inputs, *outputs) if dtype is not None}
    if any(target.lacks(dtype) for dtype in types):
        return "kernel.ai_cpu", f"{ge_operator} in {' or '.join(target.floats)}"
    if ge_operator in (*_ARITHMETIC, *_PRODUCTS) and "float64" in types:
        return "kernel.ai_cpu", f"{ge_operator} in single precision or less"
    if target.soc == "ascend310p" and ge_operator in ("Conv2D", *_PRODUCTS) and "float32" in types:
        return "kernel.ai_cpu", f"{ge_operator} in float16"
    if ge_operator == "Conv2D" and "bfloat16" in types and "bfloat16" in inputs[2:3]:
        return "kernel.cast", "a bias in float32 beside bfloat16"
    return "", ""
