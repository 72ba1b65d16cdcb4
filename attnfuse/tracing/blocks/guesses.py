"""What a block gives, guessed from the source of its class: blocks mostly give what they take, computed anew.

A guess spares a trace that would be given up where the first block of a class is called. It is compared with a trace of
the block like any other, and costs what it would have spared where it is wrong. Worker side.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache

from attnfuse.tracing.blocks.abstracts import Abstract, Group, Leaf

_ANY = Leaf((), "")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def guessed_structure(kind: type) -> Abstract | None:
    """The structure that cells of a class seem to give, around tensors of no type; None where nothing is guessed."""
    returned = _returned(kind)
    if returned is None:
        return None
    names, is_tuple = returned
    return Group("tuple", (_ANY,) * len(names)) if is_tuple else _ANY


def guessed_result(kind: type, told: Sequence[Abstract]) -> Abstract | None:
    """What a cell of that class seems to give that is called with `told`, one for each parameter of its `construct`.

    What is returned under the name of a parameter is taken to be of the argument's type; a single tensor of another
    name, as residual blocks return, to be of that of the first tensor.
    """
    returned = _returned(kind)
    if returned is None:
        return None
    names, is_tuple = returned
    given = dict(zip(list(inspect.signature(kind.construct).parameters)[1:], told, strict=True))  # type: ignore[attr-defined]
    first = next((one for one in told if isinstance(one, Leaf)), None)
    found = [given.get(name, first if len(names) == 1 else None) for name in names]
    leaves = tuple(one for one in found if isinstance(one, Leaf))
    if len(leaves) < len(names):
        return None
    return Group("tuple", leaves) if is_tuple else leaves[0]


@cache
def _returned(kind: type) -> tuple[tuple[str, ...], bool] | None:
    """The names that a class's `construct` returns first in its source, and whether as a tuple; None for no names."""
    try:
        source = textwrap.dedent(inspect.getsource(kind.construct))  # type: ignore[attr-defined]
        (function,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    for statement in _returns(function):
        values = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
        names = tuple(value.id for value in values if isinstance(value, ast.Name))
        if names and len(names) == len(values):
            return names, isinstance(statement.value, ast.Tuple)
    return None


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    """The return statements of a function, not those of functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, _SCOPES):
            yield from _returns(child)
