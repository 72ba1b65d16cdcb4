"""Parameters and effects of rows, held to the classes of the installed MindSpore, whose sources are only read."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from attnfuse.ir.operators.columns import Effect
from attnfuse.ir.operators.row import CLASSIC, DEFINED, Operator
from attnfuse.ir.operators.table import OPERATORS

pytestmark = pytest.mark.mindspore

GENERATED = ("auto_generate/gen_ops_prim.py",)
OLDER = (
    "operations/manually_defined/ops_def.py",
    *(f"operations/{name}.py" for name in ("array_ops", "nn_ops", "math_ops", "other_ops", "_sequence_ops")),
)
NO_NAMES = {"BatchNorm", "BitwiseAnd", "BitwiseOr", "FastGeLU", "Generator", "Mod"}
"""Older operators whose class inherits its names, or has none."""
RENAMED = {
    "L2Normalize": ("x",),
    "Conv2DTranspose": ("out_backprop", "filter", "input_sizes"),
}
"""Older operators whose class names no inputs; Conv2DTranspose is Conv2DBackpropInput by another name."""


MORE = {"MatMul": ("bias",)}
"""What CANN takes behind MindSpore's own parameters."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One class: its parameters in the order of a node's inputs, and what it says of memory."""

    parameters: tuple[str, ...]
    has_effect: bool
    written: frozenset[str]


@cache
def definitions(file: str) -> dict[str, Definition]:
    """By operator, from one file of `mindspore/ops`."""
    found = find_spec("mindspore")
    assert found is not None
    assert found.origin is not None
    tree = ast.parse((Path(found.origin).parent / "ops" / file).read_text(encoding="utf-8"))
    return {node.name: _definition(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _definition(node: ast.ClassDef) -> Definition:
    parameters: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    has_effect, written = False, set()
    for call in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
        name = ast.unparse(call.func)
        if name.endswith("init_prim_io_names"):
            inputs = next(k.value for k in call.keywords if k.arg == "inputs")
            parameters = tuple(ast.literal_eval(inputs))
        elif name == "super().__call__":
            called = tuple(map(_name, call.args))
        elif name.startswith("pyboost_") and len(call.args) == 2 and isinstance(call.args[1], ast.List):
            called = tuple(map(_name, call.args[1].elts))
        elif name == "self.add_prim_attr" and ast.unparse(call).endswith("('side_effect_mem', True)"):
            has_effect = True
        elif name == "sig.make_sig" and any("RW_WRITE" in ast.unparse(argument) for argument in call.args):
            written.add(ast.literal_eval(call.args[0]))
    if not called and not parameters:
        functions = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
        if "__call__" in functions:
            called = tuple(argument.arg for argument in functions["__call__"].args.args[1:])
    return Definition(called or parameters, has_effect, frozenset(written))


def _name(argument: ast.expr) -> str:
    """`x`, `self.x`, `handler("Op", "x", x)` and `x if x is None else handler("Op", "x", x)` are of the parameter x."""
    match argument:
        case ast.IfExp(body=body):
            return _name(body)
        case ast.Call(args=[*_, last]):
            return _name(last)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ast.unparse(argument)


def of_source(source: str, *, without: frozenset[str] = frozenset()) -> list[Operator]:
    return [row for row in OPERATORS.values() if row.source == source and row.name not in without]


def inputs(row: Operator) -> tuple[str, ...]:
    """Names of a row's inputs, but for the monad, which no class knows of."""
    return tuple(parameter.name for parameter in row.signature.inputs if parameter.kind != "monad")


@pytest.mark.parametrize("row", of_source(DEFINED), ids=lambda row: row.name)
def test_parameters_are_those_of_the_definition(row: Operator) -> None:
    known = next(found[row.name] for file in (*GENERATED, *OLDER) if row.name in (found := definitions(file)))
    assert inputs(row) == (*known.parameters, *MORE.get(row.name, ()))


@pytest.mark.parametrize("row", of_source(CLASSIC, without=frozenset(NO_NAMES)), ids=lambda row: row.name)
def test_parameters_are_those_of_the_older_class(row: Operator) -> None:
    """An older class may name fewer than a node may have: Conv2D's bias."""
    known = next(found[row.name] for file in (*OLDER, *GENERATED) if row.name in (found := definitions(file)))
    expected = RENAMED.get(row.name, known.parameters)
    assert inputs(row)[: len(expected)] == expected
    assert row.signature.least <= len(expected)


@pytest.mark.parametrize("row", of_source(DEFINED), ids=lambda row: row.name)
def test_effects_are_those_of_the_definition(row: Operator) -> None:
    known = next(found[row.name] for file in (*GENERATED, *OLDER) if row.name in (found := definitions(file)))
    has_monad = any(parameter.kind == "monad" for parameter in row.signature.inputs)
    assert has_monad == known.has_effect
    if row.memory.effect is Effect.WRITES:
        assert known.written == {row.memory.argument}
    else:
        assert not known.written
