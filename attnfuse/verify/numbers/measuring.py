"""How far rewrites of one graph are off its float64 values, whole, on the same inputs: for whoever tries many of them.

`comparison` judges one rewrite by bounds; here nothing is judged. The original is run once in float64, each rewrite at
its own types. Of a rewrite the largest relative error (‖x − reference‖₂ / ‖reference‖₂) of an output on a set of inputs
is told, over the elements that the original defines in float64: infinite where the rewrite leaves one of these NaN or
infinite, as where it overflows a type.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnfuse.errors import VerificationError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.verify import watch
from attnfuse.verify.graph.assigned import read_through
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from attnfuse.verify.numbers.comparison import Side, output_names, relative_error, uncompared
from attnfuse.verify.numbers.data import read_sets
from attnfuse.verify.numbers.execution import Executable
from attnfuse.verify.numbers.inputs import OPEN, draw_inputs
from attnfuse.verify.numbers.work import cost, work

KEPT_BYTES = 2**28
"""References of no more bytes are worth keeping beside what they were measured with."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Sets of inputs by the original's names; `told` says what they are, and tells those of one run from another's."""

    sets: Sequence[Mapping[str, Array]]
    told: tuple[str, ...]


def inputs_of(model: Model, files: Sequence[Path], seed: int) -> Inputs:
    """Those of the files, each a set; without any one that is drawn, whose masks leave each row a key.

    Raises as `data.read_sets` and `inputs.draw_inputs` do.
    """
    if not files:
        return Inputs((draw_inputs(model, seed, OPEN),), (f"drawn with seed {seed}",))
    found = read_sets(model, files)
    return Inputs([one.inputs for one in found], tuple(f"{one.file.name} (sha256 {one.file.sha256})" for one in found))


class Yardstick:
    """The float64 values of one graph on some sets of inputs, and how far others are off them."""

    def __init__(self, original: Side, inputs: Inputs) -> None:
        """Nothing is run before it is asked for."""
        self.inputs = inputs
        self._original = replace(original, model=read_through(original.model))
        self._exact: list[list[Array]] = []
        self._work = work(self._original.model) * len(inputs.sets)

    @property
    def is_known(self) -> bool:
        """Whether the float64 values are there."""
        return bool(self._exact)

    def expect(self, runs: int) -> None:
        """So many rewrites more are to be measured."""
        watch.expect(self._work * runs)

    def did(self) -> None:
        """One of them was measured elsewhere."""
        watch.did(self._work)

    def error(self, rewritten: Side) -> float:
        """The largest error of an output on a set of inputs.

        Raises VerificationError where one of the two graphs cannot be run, or the original defines nothing.
        """
        exact = self.exact()
        executable = _executable(replace(rewritten, model=read_through(rewritten.model)), Arithmetic.NATIVE)
        names = [value.name for value in rewritten.model.proto.graph.input]
        own = [value.name for value in self._original.model.proto.graph.input]
        errors = [0.0]
        for values, reference in zip(self.inputs.sets, exact, strict=True):
            given = {name: values[called] for name, called in zip(names, own, strict=True)}
            result = executable.run(given, rewritten.weights)
            for a, b in zip(reference, result, strict=True):
                errors.append(relative_error(b, a, np.isfinite(a)))
        return max(errors)

    def exact(self) -> list[list[Array]]:
        """The original's outputs in float64, by set; run when they are first asked for."""
        if not self._exact:
            watch.expect(self._work * cost(Arithmetic.EXACT))
            executable = _executable(self._original, Arithmetic.EXACT)
            weights = self._original.weights
            for values in self.inputs.sets:
                self._exact.append([a.astype(np.float64) for a in executable.run(values, weights)])
            self._check_defined()
        return self._exact

    def _check_defined(self) -> None:
        """Raise VerificationError for an output that has no finite value on any of the sets."""
        for number, several in enumerate(zip(*self._exact, strict=True)):
            if not any(np.isfinite(a).any() or not a.size for a in several):
                name = output_names(self._original.model, len(self._exact[0]))[number]
                raise VerificationError(uncompared(f"output {name}", ", and on ".join(self.inputs.told)))

    def kept(self) -> bytes | None:
        """The float64 values as bytes that `recall` takes; None where they are too many to be kept."""
        arrays = [a for several in self.exact() for a in several]
        if sum(a.nbytes for a in arrays) > KEPT_BYTES:
            return None
        held = io.BytesIO()
        for array in arrays:
            np.save(held, array, allow_pickle=False)
        return held.getvalue()

    def recall(self, content: bytes) -> bool:
        """Take values that were kept, of the same graph on the same inputs; False for bytes that are no such values."""
        held, found = io.BytesIO(content), list[Array]()
        try:
            while held.tell() < len(content):
                found.append(np.load(held, allow_pickle=False))
        except Exception:  # of numpy's reader, of Python's tokenizer, which that has read the header, of memory
            return False
        shapes = [shape for one in self._original.model.proto.graph.output for shape in self._shapes(one.name)]
        wanted = shapes * len(self.inputs.sets)
        if len(found) != len(wanted) or any(
            one.dtype != np.float64 or shape not in (None, one.shape) for one, shape in zip(found, wanted, strict=True)
        ):
            return False
        self._exact = [found[at : at + len(shapes)] for at in range(0, len(found), len(shapes))]
        return True

    def _shapes(self, output: str) -> Iterator[tuple[int, ...] | None]:
        """Of an output, or of each tensor in it; None for one that is not known."""
        types = self._original.model.types_of(output)
        for one in types if isinstance(types, tuple) else (types,):
            yield None if one is None or any(size < 0 for size in one.dims) else one.dims


def _executable(side: Side, arithmetic: Arithmetic) -> Executable:
    try:
        return side.executable(arithmetic)
    except UnsupportedOpError as error:
        raise VerificationError(
            f"the graph cannot be run on this machine, so no error can be told ({error})."
        ) from None
