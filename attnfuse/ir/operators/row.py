"""A row of the operator table: what MindSpore defines of one operator, for every reader.

    row("BroadcastTo", "input: tensor, shape: ints", broadcast_to("input", "shape"),
        value=repeated("input"), kernel=Kernel.MOVE,
        examples=("BroadcastTo(x: float32[2, 1, 3], (2, 4, 3)) -> float32[2, 4, 3]",
                  "refused: BroadcastTo(x: float32[2, 3], (4, 3))"))

A row says nothing of what a target takes (that is the target's) nor of what an operator computes (that is
verification's). Parameters bear the names of MindSpore's own definitions, where it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from attnfuse.ir.operators.arguments import LARGEST, Arguments, NotKnown, Signature, TypeMismatch, parse_signature
from attnfuse.ir.operators.columns import COMPUTED, FRESH, Kernel, Memory, Role, Value
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType

Infer: TypeAlias = Callable[[Arguments], ValueType]
"""ValueType of the result. Raises TypeMismatch where there is none, NotKnown where the arguments do not tell."""

DEFINED = "MindSpore 2.7.1, mindspore.ops.auto_generate"
"""The operator has a definition in the installed package, from which the class there is made."""
CLASSIC = "MindSpore 2.7.1, mindspore.ops.operations"
"""An older operator: its arguments are those its class names, the rest attributes."""
CORE = "MindSpore 2.7.1, its compiler"
"""Part of the graph's own language; no class tells its parameters."""
NEWER = "MindSpore 2.10"
"""Written by a newer MindSpore; 2.7.1 carries it through and infers nothing."""
CANN = "CANN 8.1, REG_OP prototypes; MindSpore Lite's adapters"
"""MindSpore 2.7.1 infers nothing for it: the types are those of CANN's own inference."""
OTHER = "no MindSpore at hand has it"
"""A name that some exporters write; what is known of it is what its namesake does."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One row. `args` is told as `attnfuse.ir.operators.arguments` says, `examples` as `Op(…) -> kind` or
    `refused: Op(…)`: both are run against `infer`, and checked against `source`.
    """

    name: str
    args: str
    infer: Infer
    value: Value
    memory: Memory
    kernel: Kernel
    role: Role | None
    examples: tuple[str, ...]
    source: str
    is_opaque: bool = False
    """Whether there is no row of that name, so that nothing is known but what the name gives away."""
    signature: Signature = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", parse_signature(self.args))
        for argument in (self.value.argument, self.memory.argument, self.memory.unless_none):
            if argument and argument not in self.signature.positions:
                raise ValueError(f"{self.name} has no parameter {argument}")

    def result(self, arguments: Arguments) -> ValueType:
        """ValueType of a node's result, None where it is not known before run time.

        Raises TypeMismatch where the arguments are wrong in number or kind, or do not go together.
        """
        arguments.check()
        try:
            value_type = self.infer(arguments)
        except NotKnown:
            return None
        if type(value_type) is TensorType:
            _check_sizes(value_type)
        elif isinstance(value_type, tuple):
            for element in value_type:
                if type(element) is TensorType:
                    _check_sizes(element)
        return value_type

    def input(self, name: str) -> int:
        """Position of an input. KeyError for a name that is none."""
        position = self.signature.positions[name]
        if position >= len(self.signature.inputs):
            raise KeyError(name)
        return position


def _check_sizes(tensor_type: TensorType) -> None:
    dims = tensor_type.dims
    if dims and (max(dims) > LARGEST or min(dims) < UNKNOWN_DIM):
        raise TypeMismatch(f"gives {tensor_type}, which no tensor can be")


def row(
    name: str,
    args: str,
    infer: Infer,
    *,
    value: Value = COMPUTED,
    memory: Memory = FRESH,
    kernel: Kernel = Kernel.ELEMENTWISE,
    role: Role | None = None,
    examples: tuple[str, ...],
    source: str = DEFINED,
) -> Operator:
    """A row, with what most operators are where nothing else is told."""
    return Operator(name, args, infer, value, memory, kernel, role, examples, source)
