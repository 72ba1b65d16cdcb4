"""Small models of repeated cells, each of which shows one thing that tracing in blocks has to see. Worker side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops

WIDTH = 8


class Layer(nn.Cell):  # type: ignore[misc]
    """One block: a linear layer beside what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = mint.nn.Linear(WIDTH, WIDTH)

    def construct(self, x):  # type: ignore[no-untyped-def]
        return x + self.fc(x) * 0.5


class Chain(nn.Cell):  # type: ignore[misc]
    """Blocks one after the other."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = nn.CellList(list(layers))

    def construct(self, x):  # type: ignore[no-untyped-def]
        for layer in self.layers:
            x = layer(x)
        return x


class Scaled(Layer):
    """With a number of its own, as one made from a block's index is."""

    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale = scale

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.fc(x) * self.scale


class Two(nn.Cell):  # type: ignore[misc]
    """Two of the same within one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Layer(), Layer()

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.second(mint.nn.functional.silu(self.first(x)))


class Structured(Layer):
    """Takes tuples, dictionaries, None and keywords; gives a structure of them."""

    def construct(self, pair, named, mask=None, *more, scale=1.0, **others):  # type: ignore[no-untyped-def, override]
        x = self.fc(pair[0]) * scale + named["y"] + others["z"]
        if mask is not None:
            x = x + mask
        return {"x": x, "rest": (pair[1], None, [named["y"]])}, more[0]


class Structures(Chain):
    """Calls such blocks."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        y = x * 2
        for layer in self.layers:
            found, z = layer((x, y), {"y": y}, None, x, scale=0.5, z=x)
            x, y = found["x"] + z, found["rest"][0] + found["rest"][2][0]
        return x + y


class Sized(nn.Cell):  # type: ignore[misc]
    """A linear layer that gives another width than it takes, or the same."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.fc = mint.nn.Linear(taken, given)

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.fc(x)


class Named(nn.Cell):  # type: ignore[misc]
    """Returns what it takes under the same names, as its source says; or, `turned`, the one for the other."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.fc, self.turned = mint.nn.Linear(WIDTH, WIDTH), turned

    def construct(self, x, y):  # type: ignore[no-untyped-def]
        x = x + self.fc(x)
        if self.turned:
            x, y = y, x
        return x, y


class Pairs(Chain):
    """Calls such blocks, with tensors of two shapes."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        y = ops.concat((x, x), 0)
        for layer in self.layers:
            x, y = layer(x, y)
        return x.sum() + y.sum()


class Lazy(Layer):
    """Which MindSpore makes a function of the graph, that it calls for each."""

    @mindspore.lazy_inline  # type: ignore[untyped-decorator]
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale


class Told(Layer):
    """Takes numbers and None in one."""

    def construct(self, x, told):  # type: ignore[no-untyped-def, override]
        return self.fc(x) * told[1] if told[0] is None else x


class Telling(Chain):
    """Calls such blocks."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        for layer in self.layers:
            x = layer(x, (None, 3))
        return x


class Shapes(Chain):
    """Calls equal blocks with other shapes."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        half = x[:1]
        return self.layers[2](self.layers[0](x)), self.layers[3](self.layers[1](half))


class Writes(Layer):
    """Counts in a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Parameter(Tensor(np.zeros(1, np.float32)), name="count")

    def construct(self, x):  # type: ignore[no-untyped-def]
        ops.assign_add(self.count, Tensor([1.0], mindspore.float32))
        return self.fc(x)


class Processor:
    """As mindone's attention processors: a plain object."""

    def __init__(self, scale: float) -> None:
        self.scale = scale


class Adapted(Layer):
    """A layer with a small one beside it, as LoRA has it, in some."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.down = mint.nn.Linear(WIDTH, rank, bias=False) if rank else None

    def construct(self, x):  # type: ignore[no-untyped-def]
        y = self.fc(x)
        if self.down is not None:
            y = y + self.down(x).sum()
        return y


def _shared() -> Any:
    """All blocks have the weight of the first, which is one parameter."""
    layers = [Layer() for _ in range(3)]
    for layer in layers[1:]:
        layer.fc.weight = layers[0].fc.weight
    return Chain(*layers)


class Shifted(Layer):
    """With a weight that is cast to the type of what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = Parameter(Tensor(np.zeros(WIDTH, np.float32)), name="shift")

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.fc(x) + self.shift.to(x.dtype)


def hook(cell: Any, given: Any, made: Any) -> Any:
    """A hook that changes nothing."""
    return made


def _hooked() -> Any:
    layers = [Layer() for _ in range(3)]
    for layer in layers:
        layer.register_forward_hook(hook)
    return Chain(*layers)


def _typed() -> Any:
    """One of them holds a weight in another type."""
    layers = [Shifted() for _ in range(3)]
    layers[1].shift.set_dtype(mindspore.float16)
    return Chain(*layers)


def _processed() -> Any:
    layers = [Scaled(0.5) for _ in range(4)]
    for number, layer in enumerate(layers):
        layer.processor = Processor(number // 2)
    return Chain(*layers)


MODELS: dict[str, Callable[[], Any]] = {
    "plain": lambda: Chain(*(Layer() for _ in range(4))),
    "nested": lambda: Chain(*(Two() for _ in range(3))),
    "structures": lambda: Structures(*(Structured() for _ in range(3))),
    "shapes": lambda: Shapes(*(Layer() for _ in range(4))),
    "sizes": lambda: Chain(*(Sized(*s) for s in ((WIDTH, WIDTH),) * 2 + ((WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH)) * 2)),
    "named": lambda: Pairs(*(Named() for _ in range(3))),
    "misnamed": lambda: Pairs(*(Named(turned=True) for _ in range(4))),
    "lazy": lambda: Chain(*(Lazy(0.5) for _ in range(3))),
    "told": lambda: Telling(*(Told() for _ in range(3))),
    "shared": _shared,
    "by number": lambda: Chain(*(Scaled(0.5 * number) for number in range(3))),
    "by tensor": lambda: Chain(*(Scaled(Tensor([0.5 * (n // 2)], mindspore.float32)) for n in range(4))),
    "hooked": _hooked,
    "typed": _typed,
    "adapted": lambda: Chain(*(Adapted(rank) for rank in (0, 2, 2, 4))),
    "unknown": _processed,
    "writes": lambda: Chain(*(Writes() for _ in range(3))),
}
"""What makes each model; what becomes of it is in tests/tracing/blocks/test_tracer.py."""


def _with(change: Callable[[Any], None], make: Callable[[], Any] = Layer) -> Any:
    cell = make()
    change(cell)
    return cell


def _share(cell: Any) -> None:
    cell.second.fc.weight = cell.first.fc.weight


_CONFIG = {"layers": [1, 2.0, "three", None], "type": mindspore.float16, "array": np.arange(3)}
SAME: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "made alike": (Layer, Layer),
    "nested": (Two, Two),
    "values of weights": (Layer, lambda: _with(lambda c: c.fc.bias.set_data(Tensor(np.ones(WIDTH, np.float32))))),
    "names of weights": (Layer, lambda: _with(lambda c: setattr(c.fc.bias, "name", "other"))),
    "equal attributes": (lambda: Scaled({**_CONFIG}), lambda: Scaled({**_CONFIG})),
    "one function": (lambda: Scaled(hook), lambda: Scaled(hook)),
    "own method": (lambda: _with(lambda c: setattr(c, "f", c.construct)),) * 2,
    "equal primitives": (lambda: Scaled(ops.Softmax(-1)), lambda: Scaled(ops.Softmax(-1))),
    "equal tensors": (lambda: Scaled(Tensor([1.0, 2.0])), lambda: Scaled(Tensor([1.0, 2.0]))),
}
"""Pairs of cells that compute the same, by what is alike or may differ."""

OTHER: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "class": (Layer, lambda: Scaled(0.5)),
    "number": (lambda: Scaled(0.5), lambda: Scaled(0.25)),
    "kind of number": (lambda: Scaled(1), lambda: Scaled(1.0)),
    "in a list": (lambda: Scaled([1, [2]]), lambda: Scaled([1, [3]])),
    "in a dictionary": (lambda: Scaled({"a": 1}), lambda: Scaled({"a": 2})),
    "order of keys": (lambda: Scaled({"a": 1, "b": 1}), lambda: Scaled({"b": 1, "a": 1})),
    "element type": (lambda: Scaled(mindspore.float16), lambda: Scaled(mindspore.float32)),
    "tensor": (lambda: Scaled(Tensor([1.0])), lambda: Scaled(Tensor([2.0]))),
    "array": (lambda: Scaled(np.arange(3)), lambda: Scaled(np.arange(3) + 1)),
    "function": (lambda: Scaled(hook), lambda: Scaled(_with)),
    "two lambdas": (lambda: Scaled(lambda x: x),) * 2,
    "primitive": (lambda: Scaled(ops.Softmax(-1)), lambda: Scaled(ops.Softmax(0))),
    "training": (Layer, lambda: _with(lambda c: c.set_train(True))),
    "training of a child": (Layer, lambda: _with(lambda c: c.fc.set_train(True))),
    "hook": (Layer, lambda: _with(lambda c: c.register_forward_hook(hook))),
    "type of a weight": (Shifted, lambda: _with(lambda c: c.shift.set_dtype(mindspore.float16), Shifted)),
    "shape of a weight": (lambda: Adapted(2), lambda: Adapted(3)),
    "no child": (lambda: Adapted(2), lambda: Adapted(0)),
    "gradient": (Layer, lambda: _with(lambda c: setattr(c.fc.bias, "requires_grad", False))),
    "one weight for two": (Two, lambda: _with(_share, Two)),
    "unknown objects": (lambda: Scaled(Processor(1.0)), lambda: Scaled(Processor(1.0))),
    "a cell that is no child": (lambda: Scaled([Layer()]), lambda: Scaled([Layer()])),
    "mixed precision": (Layer, lambda: _with(lambda c: c.to_float(mindspore.float16))),
}
"""Pairs of cells that may compute otherwise, by what differs."""
