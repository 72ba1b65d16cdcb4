"""What the operator table tells the short form: the type of a result, and the names and defaults of arguments.

Given to the parser: `parse_program(text, infer=infer, signature=signature)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnfuse.ir.operators import arguments as table
from attnfuse.ir.operators.table import operator
from attnfuse.ir.text.lexer import quoted
from attnfuse.ir.text.messages import float_text
from attnfuse.ir.text.program import Argument
from attnfuse.ir.types import Special, declaration, declared_type
from attnfuse.ir.values import applied, read_constant
from attnfuse.mindir.schema import AttributeProto


def infer(op: str, arguments: Sequence[Argument], attributes: Mapping[str, AttributeProto]) -> AttributeProto | None:
    """The type of a result as the operator's row infers it; None where that leaves it open, or there is no row.

    Raises TypeMismatch for arguments that the operator does not take.
    """
    if operator(op).is_opaque:
        return None
    given = [
        table.Argument(declared_type(argument.type)) if argument.value is None else read_constant(argument.value)
        for argument in arguments
    ]
    value_type = applied(op, given, {name: read_constant(proto) for name, proto in attributes.items()}).value_type
    return AttributeProto(type=AttributeProto.UMONAD) if value_type is Special.MONAD else declaration(value_type)


def signature(op: str) -> Mapping[str, str] | None:
    """The inputs of an operator in order, each with its default as text; None of an operator that has no row."""
    row = operator(op)
    if row.is_opaque:
        return None
    return {one.name: _literal(one.default.value) if one.has_default else "" for one in row.signature.inputs}


def _literal(value: table.Known) -> str:
    """A default: a number, a word, a truth value, None, or a tuple of them."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        return quoted(value)
    return float_text(value) if isinstance(value, float) else str(value)
