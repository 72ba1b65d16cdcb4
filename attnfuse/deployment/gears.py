"""The sizes that MindSpore Lite is to convert a graph of open sizes for: CANN compiles one graph for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnfuse.dynamic.lines import Line, line_through
from attnfuse.mindir import codec
from attnfuse.tracing.contract import TensorSpec

IMAGES = (1, 2, 4)
"""The batches, in images or videos."""


@dataclass(frozen=True, slots=True)
class Gears:
    """What `[acl_option_cfg_param]` is told of a graph.

    `input_shape` has every input, with -1 where it is open. `rows` are the sizes of the first dimension of each open
    input, where that is all that is open, and the same for all; else `dims` has, for each batch, one size for every -1
    in the order of `input_shape`. Neither where nobody knows which sizes there are.
    """

    input_shape: str
    rows: tuple[int, ...] = ()
    dims: tuple[tuple[int, ...], ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """As the section has them."""
        shape = f"input_shape={self.input_shape}"
        if self.rows:
            return (shape, f"dynamic_batch_size={','.join(map(str, self.rows))}")
        if self.dims:
            return (shape, f"dynamic_dims={';'.join(','.join(map(str, one)) for one in self.dims)}")
        return (f"# {shape}", "# dynamic_dims=")


def gears_of(inputs: Sequence[TensorSpec], batches: Mapping[int, bytes], where: str) -> Gears | None:
    """Those of a graph with these inputs, None where no size of them is open.

    `batches` are the source's graphs at several batches, by batch: each open size follows the batch in a line.
    """
    shape = ";".join(f"{one.name}:{','.join(map(str, one.shape))}" for one in inputs)
    places = [(i, axis) for i, one in enumerate(inputs) for axis, size in enumerate(one.shape) if size < 0]
    if not places:
        return None
    lines = _lines(places, batches, where)
    if lines is None:
        return Gears(shape)
    sizes = tuple(tuple(line.at(images) for line in lines) for images in IMAGES)
    alike = all(axis == 0 for _, axis in places) and all(len(set(one)) == 1 for one in sizes)
    return Gears(shape, rows=tuple(one[0] for one in sizes)) if alike else Gears(shape, dims=sizes)


def _lines(places: Sequence[tuple[int, int]], batches: Mapping[int, bytes], where: str) -> list[Line] | None:
    """How each open size follows the batch; None where that is not known."""
    if len(batches) < 2:
        return None
    shapes = []
    for data in batches.values():
        graph = codec.parse(data, where).graph
        shapes.append([tensor.dims for value in graph.input for tensor in value.tensor])
    found = [line_through([int(one[i][axis]) for one in shapes], list(batches)) for i, axis in places]
    known = [line for line in found if line is not None]
    return known if len(known) == len(found) else None
