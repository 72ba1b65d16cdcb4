"""What tests of legalisation share whose graphs the text form of fixtures cannot say: a case, and what is held to it.

A case is a small graph around one operator, and what should stand in its place. A `test_<family>.py` lists its cases:

    cases("inline", Case("a function called once", once, ("Abs", "Mul")), …)

`test_rules.py` imports them all and holds every case to the same three checks: structure, numbers and inference. All
other operators and rules are in `tests/passes/fixtures/legalise`, of which `FIXTURES` are those that a rule replaces.
`inferred` is made once a test run, by one process of MindSpore, from all cases and fixtures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attnfuse.ir.effects import only_orders
from attnfuse.ir.graph import CONSTANT, Model
from attnfuse.ir.types import Array
from attnfuse.mindir import codec
from attnfuse.pass_manager import Context
from attnfuse.policy import Policy
from attnfuse.targets import Target
from attnfuse.targets.support import unsupported_reason
from attnfuse.testing import Fixture, read_fixtures
from attnfuse.verify.inference.inferred_types import Inference, infer_all
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import stored_weights
from attnfuse_passes.legalise.legalise import Legalise
from tests.support.graphs import GraphBuilder, seeded

LITE = Target("lite", "ascend910b")

_AROUND = {"Load", "Depend"}
"""What ties weights to a graph: no rule makes or removes it."""


Make: TypeAlias = Callable[[GraphBuilder], "str | tuple[str, ...]"]
"""Makes a graph in the builder, and returns the values that are its outputs."""


@dataclass(frozen=True)
class Case:
    """One operator in one variant of its arguments.

    `ops` are the operators of the legalised graph in order, without constants and what reads weights. `refused` is a
    pattern of the reason where a rule cannot: the graph then stays as it is. `inputs` are values by name; other inputs
    are drawn.
    """

    name: str
    make: Make
    ops: tuple[str, ...] = ()
    refused: str = ""
    inputs: Mapping[str, Array] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def model(self) -> Model:
        """The graph before."""
        g = GraphBuilder("case")
        outputs = self.make(g)
        g.output(*([outputs] if isinstance(outputs, str) else outputs))
        return g.model()


Inferred: TypeAlias = Mapping[str, Inference]
"""What MindSpore infers: by name of a graph, `<case>` before and `<case>, legalised` after."""

FIXTURES = tuple(
    fixture
    for fixture in read_fixtures(Path(__file__).parents[1] / "fixtures" / "legalise")
    if fixture.after is not None
)
"""The fixtures that a rule replaces something in."""

NEWER = frozenset(
    {
        "choose: MaskedFill with a number",
        "choose: Select with numbers",
        "create: Generator",
        "normalise: GroupNorm without both",
        "normalise: GroupNorm without gain",
        "normalise: LayerNormExt without bias",
        "normalise: LayerNormExt without both",
        "normalise: LayerNormExt without gain",
        "reduce: SumExt of one number for an axis",
        "scalars: EqScalar",
        "scalars: GreaterScalar",
        "scalars: LessScalar",
        "scalars: LessScalar in float16",
        "scalars: LessScalar in float16 with what is nearest to it in float16",
        "scalars: LessScalar in float16 with what it does not hold",
        "scalars: LessScalar of whole numbers",
        "scalars: NeScalar",
    }
)
"""Operators, or forms of them, that MindSpore 2.7.1 does not infer: it is asked only about what stands for them."""

REGISTERED: dict[str, Case] = {}
"""Every case of the families imported so far: once `test_rules.py` is imported, of all."""


def cases(family: str, *listed: Case) -> tuple[Case, ...]:
    """Register the cases of a family; their names carry it from now on."""
    named = tuple(replace(case, name=f"{family}: {case.name}") for case in listed)
    for case in named:
        assert case.name not in REGISTERED, f"two cases are named {case.name}"
        REGISTERED[case.name] = case
    return named


def legal(listed: Iterable[Case]) -> list[Case]:
    """The cases that no rule refuses."""
    return [case for case in listed if not case.refused]


def computable(listed: Iterable[Case]) -> list[Case]:
    """Those of them whose sizes are known, so that they can be run."""
    return [case for case in legal(listed) if _is_static(case.model())]


def _is_static(model: Model) -> bool:
    return all(-1 not in value.tensor[0].dims for value in model.proto.graph.input)


def legalise(model: Model, target: Target = LITE) -> dict[str, str]:
    """Run the pass in place: reasons by name of the nodes it could not legalise."""
    context = Context("unet", "unet", Policy(()), target)
    before = codec.serialise(model.proto)
    changed = Legalise().run(model, context)
    assert changed == (codec.serialise(model.proto) != before)
    Model(model.proto)
    return context.unsupported


def legalised(case: Case) -> Model:
    """The graph after; the pass must have left nothing behind."""
    model = case.model()
    assert legalise(model) == {}
    return model


def operators(model: Model) -> tuple[str, ...]:
    """Operators in order, without constants and what reads weights."""
    return tuple(
        node.op
        for node in model.nodes
        if node.op != CONSTANT and node.op not in _AROUND and not only_orders(model, node)
    )


# --- the three checks


def check_structure(case: Case) -> None:
    """The operators expected, every value that stays of the type it had; or a refusal that changes nothing."""
    before, after = case.model(), case.model()
    illegal = legalise(after)
    if case.refused:
        assert len(illegal) == 1, illegal
        (reason,) = illegal.values()
        assert re.search(case.refused, reason), reason
        assert codec.serialise(after.proto) == codec.serialise(before.proto)
        return
    assert illegal == {}
    assert operators(after) == case.ops
    assert not {node.op: why for node in after.nodes if (why := unsupported_reason(LITE, after, node)) is not None}
    for node in after.nodes:
        if before.producer(node.name) is not None:
            assert after.types_of(node.name) == before.types_of(node.name), node
    for old, new in zip(before.proto.graph.output, after.proto.graph.output, strict=True):
        assert before.types_of(old.name) == after.types_of(new.name)
    again = codec.serialise(after.proto)
    assert legalise(after) == {}
    assert codec.serialise(after.proto) == again, "what a rule makes is legalised once more"


def check_numbers(case: Case) -> None:
    """The same values bit for bit, in float64 and in the graph's own types."""
    before, after = case.model(), legalised(case)
    for arithmetic in (Arithmetic.EXACT, Arithmetic.NATIVE):
        expected, got = execute(before, case, arithmetic), execute(after, case, arithmetic)
        assert len(expected) == len(got)
        for x, y in zip(expected, got, strict=True):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            np.testing.assert_array_equal(y, x)


def check_inference(name: str, inferred: Inferred) -> None:
    """MindSpore infers the types written, before (so that the graph is no fiction) and after."""
    for graph in (name, f"{name}, legalised")[name in NEWER :]:
        assert inferred[graph].findings == (), graph
        assert inferred[graph].compared > 0


def execute(model: Model, case: Case, arithmetic: Arithmetic) -> list[npt.NDArray[Any]]:
    """The outputs, for the case's inputs, or drawn ones."""
    given: dict[str, Array] = {}
    for value in model.proto.graph.input:
        tensor_type, leaf = model.type_of(value.name), leaf_name(value.name)
        assert tensor_type is not None
        given[value.name] = (
            case.inputs[leaf] if leaf in case.inputs else seeded(leaf, tensor_type.dims, tensor_type.dtype)
        )
    return run(lower(model, arithmetic), given, stored_weights(model.proto, Path("/none/x.mindir")))


def shown() -> list[Case | Fixture]:
    """All cases registered so far that no rule refuses, and all fixtures; `str` of one is its name."""
    return [*legal(REGISTERED.values()), *FIXTURES]


def infer_registered(work: Path) -> Inferred:
    """All cases registered so far and all fixtures, before and after, in one process of MindSpore."""
    models: dict[str, Model] = {}
    for made in shown():
        if str(made) not in NEWER:
            models[str(made)] = made.model()
        after = made.model()
        assert legalise(after) == {}
        models[f"{made}, legalised"] = after
    return infer_all(models, "the cases of legalisation", work)
