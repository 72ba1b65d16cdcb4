"""Operators that stand in the place of cells while what is around them is traced, and cells that call one block.

MindSpore wants the source of what it traces, so that both are written as files. Worker side.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore.ops import PrimitiveWithInfer

from attnfuse.tracing.blocks.abstracts import Abstract, Constants, Fixed, Group, Leaf, answer, leaves, paths, written
from attnfuse.tracing.blocks.pieces import BLOCK, MARK, RESULT

_LITERALS = (bool, int, float, str, type(None))
_OPERATOR, _MARK = "attnfuse_operator", "attnfuse_mark"

Infer = Callable[[str, Sequence[Mapping[str, Any]]], Abstract]


class BlockOperator(PrimitiveWithInfer):  # type: ignore[misc]
    """Stands for one cell: its first argument is the cell's mark, the others are what the cell is called with."""

    infer: Infer
    """Set while something is traced; told of the cell's key and the arguments, it says what the cell gives."""
    _made = 0

    def __init__(self, key: str) -> None:
        super().__init__(BLOCK)
        BlockOperator._made += 1
        self.add_prim_attr("block", key)
        self.add_prim_attr("serial", BlockOperator._made)  # MindSpore keeps what it inferred of equal operators

    def __infer__(self, mark: Mapping[str, Any], *arguments: Mapping[str, Any]) -> dict[str, Any]:
        """MindSpore asks what the result is."""
        return answer(BlockOperator.infer(self.attrs["block"], arguments))


class ResultOperator(PrimitiveWithInfer):  # type: ignore[misc]
    """Stands behind what a block gives, whose structure MindSpore forgets in the graph it writes."""

    told: Callable[[Mapping[str, Any]], None]

    def __init__(self) -> None:
        super().__init__(RESULT)
        BlockOperator._made += 1
        self.add_prim_attr("serial", BlockOperator._made)

    def __infer__(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """MindSpore shows what the block gives."""
        ResultOperator.told(result)
        return {"shape": [1], "dtype": mindspore.TensorType(mindspore.float32), "value": None}


def why_not(kind: type) -> str:
    """Why no stand-in can be called as cells of that class are; empty where one can."""
    construct: Any = kind.construct  # type: ignore[attr-defined]
    if hasattr(construct, "__wrapped__"):
        return "its construct is wrapped by a decorator"
    defaults = [parameter.default for parameter in _parameters(construct)]
    if not all(default is inspect.Parameter.empty or is_literal(default) for default in defaults):
        return "it has a default that is an object, which may be changed"
    return ""


def is_literal(value: Any) -> bool:
    """Whether the value's text is the value, in any source."""
    return isinstance(value, _LITERALS) and repr(value) not in ("inf", "-inf", "nan")


def _parameters(construct: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(construct).parameters.values())[1:]


class Writer:
    """Writes sources into a folder, which must be there as long as something is traced."""

    def __init__(self, folder: Path, entry: type, constants: Constants) -> None:
        self._folder = folder
        self._entry = entry
        self._constants = constants
        self._made: dict[tuple[Any, ...], Any] = {}

    @contextmanager
    def replaced(
        self, cells: Mapping[str, Any], structures: Mapping[str, Abstract], hidden: Mapping[str, Collection[int]]
    ) -> Iterator[None]:
        """Have an operator in the place of each cell; its result has the structure that is expected of the cell.

        For the arguments in the places of `hidden` it is given None.
        """
        try:
            for key, cell in cells.items():
                vars(cell)[_OPERATOR] = BlockOperator(key)
                mark = mindspore.Tensor(np.zeros(1, np.float32))
                vars(cell)[_MARK] = mindspore.Parameter(mark, name=f"{MARK}{key}", requires_grad=False)
                vars(cell)["construct"] = types.MethodType(
                    self._stand_in(type(cell), structures[key], frozenset(hidden.get(key, ()))), cell
                )
            yield
        finally:
            for cell in cells.values():
                for name in (_OPERATOR, _MARK, "construct"):
                    vars(cell).pop(name, None)

    def _stand_in(self, kind: type, structure: Abstract, hidden: frozenset[int]) -> Any:
        """A `construct` with the signature of the class's own."""
        shape = written(structure, lambda: "x", lambda fixed: fixed.text)
        if (kind, shape, hidden) not in self._made:
            parameters = _parameters(kind.construct)  # type: ignore[attr-defined]
            signature = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
            shown = ("None" if place in hidden else p.name for place, p in enumerate(parameters))
            given = ", ".join((f"self.{_MARK}", *shown))
            call = f"self.{_OPERATOR}({given})"
            head = f"def construct(self, {str(signature)[1:]}:\n" if parameters else "def construct(self):\n"
            if isinstance(structure, Leaf):
                body = f"    return {call}\n"
            else:
                count = iter(range(len(list(leaves(structure)))))
                made = written(structure, lambda: f"result[{next(count)}]", self._literal)
                body = f"    result = {call}\n    return {made}\n"
            self._made[kind, shape, hidden] = self._run(head + body, {"__name__": __name__})["construct"]
        return self._made[kind, shape, hidden]

    def _literal(self, fixed: Fixed) -> str:
        return repr(self._constants.value(fixed))

    def entry(
        self, cell: Any, arguments: Sequence[Abstract], structure: Abstract | None = None
    ) -> tuple[Any, list[Leaf]]:
        """A cell that calls `cell` as a stand-in was called, and the tensors that it takes.

        Where the structure of what `cell` gives is told, the tensors are picked out of it.
        """
        inputs: list[Leaf] = []
        held: list[Any] = []

        def leaf(abstract: Leaf) -> str:
            inputs.append(abstract)
            return f"a{len(inputs) - 1}"

        def fixed(abstract: Fixed) -> str:
            value = self._constants.value(abstract)
            if value is None:
                return "None"
            held.append(value)
            return f"self.held_{len(held) - 1}"

        given = ", ".join(_given(cell, arguments, leaf, fixed))
        picked = "result" if structure is None else f"({', '.join(paths(structure, 'result'))},)"
        source = (
            f"class Block(Entry):\n    def construct(self, {', '.join(f'a{i}' for i in range(len(inputs)))}):\n"
            f"        result = self.block({given})\n"
            f"        return self.result_operator({picked})\n"
        )
        made = self._run(source, {"__name__": self._entry.__module__, "Entry": self._entry})["Block"]("block", cell)
        made.result_operator = ResultOperator()
        for number, value in enumerate(held):
            setattr(made, f"held_{number}", value)
        return made, inputs

    def _run(self, source: str, names: dict[str, Any]) -> dict[str, Any]:
        file = self._folder / f"source_{len(list(self._folder.iterdir()))}.py"
        file.write_text(source, encoding="utf-8")
        exec(compile(source, str(file), "exec"), names)
        return names


def _given(
    cell: Any, arguments: Sequence[Abstract], leaf: Callable[[Leaf], str], fixed: Callable[[Fixed], str]
) -> Iterator[str]:
    """The arguments of a call as Python expressions: those of a stand-in, spread as the cell's signature has them."""

    def expression(abstract: Abstract) -> str:
        if isinstance(abstract, Leaf):
            return leaf(abstract)
        if isinstance(abstract, Fixed):
            return fixed(abstract)
        parts = [expression(part) for part in abstract.parts]
        return written(Group(abstract.kind, tuple(map(Fixed, parts)), abstract.keys), str, lambda part: part.text)

    for parameter, abstract in zip(_parameters(type(cell).construct), arguments, strict=True):
        if parameter.kind is parameter.VAR_POSITIONAL and isinstance(abstract, Group):
            yield from map(expression, abstract.parts)
        elif parameter.kind is parameter.VAR_KEYWORD and isinstance(abstract, Group):
            yield from (f"{k}={expression(p)}" for k, p in zip(abstract.keys, abstract.parts, strict=True))
        elif parameter.kind is parameter.KEYWORD_ONLY:
            yield f"{parameter.name}={expression(abstract)}"
        else:
            yield expression(abstract)
