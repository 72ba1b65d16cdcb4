"""A graph as a compile for Lite leaves it, run by MindSpore Lite 2.0.0 and held against onnxruntime.

Relative errors are of float64 values of the graph before the passes: ‖x − exact‖₂ / ‖exact‖₂.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.codec import parse
from attnfuse.pass_manager import Context, discover, run
from attnfuse.policy import Policy, Rule
from attnfuse.targets import Target
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers.comparison import FLOOR, relative_error
from attnfuse.verify.numbers.execution import run as execute
from attnfuse.verify.numbers.inputs import draw_inputs
from attnfuse.verify.numbers.weights import WeightProvider, drawn_weights, first_of, stored_weights
from attnfuse_passes.composites.composites import Composites
from tests.lite.downlevel import down_level
from tests.lite.runtime import run_lite

SEED = 1
KERNELS = 8.0
"""How much less exact than onnxruntime's Lite's kernels may leave a graph: three bits.

Its 3×3 convolutions are Winograd's and its exponential is a short polynomial; alone they lose three bits or four of a
float32's 24 (test_limits.py). The mistakes this is to find (a wrong attribute, wire or layout) cost ten or more.
"""


@dataclass(frozen=True, slots=True)
class Error:
    """Relative errors of one output, and the most that Lite's may be."""

    shape: tuple[int, ...]
    onnxruntime: float
    lite: float

    @property
    def allowed(self) -> float:
        return KERNELS * self.onnxruntime + FLOOR


def compiled_for_lite(source: bytes) -> Model:
    """The graph after the installed passes for Lite, with flash attention off and without composites.

    Lite 2.0.0 knows no fused node, and for a CPU no Lite has CANN's composites: what stands where a device refuses them
    is run.
    """
    model = Model(parse(source, "the test's graph"))
    policy = Policy((Rule("*", "test", flash=False),))
    context = Context("model", "model", policy, Target("lite", "ascend910b"))
    run(model, context, [step for step in discover() if step.id != Composites.id])
    assert context.unsupported == {}
    assert {site.status for site in context.sites} <= {"kept"}
    return model


def errors(source: Model, compiled: Model, where: Path, *, steps: int | None = None) -> list[Error]:
    """Run `compiled` in Lite, `source` in onnxruntime, on the same drawn inputs; one record per output.

    Weights are those of `where`'s folder, or drawn where there are none. `steps` is the time to give inputs that are
    a time step. Raises RefusedError where Lite does not take the graph.
    """
    weights = first_of(stored_weights(source.proto, where), drawn_weights(SEED))
    inputs = draw_inputs(source, SEED)
    for name, value in inputs.items():
        if steps is not None and "timestep" in leaf_name(name):
            inputs[name] = np.full_like(value, steps)
    exact, native = (execute(lower(source, a), inputs, weights) for a in (Arithmetic.EXACT, Arithmetic.NATIVE))
    results = run_lite(down_level(compiled, weights), inputs)
    return [_error(e, n, r) for e, n, r in zip(exact, native, results, strict=True)]


def _error(exact: Array, native: Array, result: Array) -> Error:
    assert result.shape == exact.shape
    everywhere = np.ones(exact.shape, bool)
    assert np.isfinite(exact).all()
    return Error(
        shape=tuple(exact.shape),
        onnxruntime=relative_error(native, exact, everywhere),
        lite=relative_error(result, exact, everywhere),
    )


def alone(model: Model, values: Mapping[str, Array], *, plain: Collection[str] = ()) -> tuple[list[Array], list[Array]]:
    """A graph as it is, without passes, on those inputs (by leaf name): what Lite gives, and float64.

    `plain` are operators that the writer leaves without its work-around. Raises RefusedError as above.
    """
    weights: WeightProvider = stored_weights(model.proto, Path())
    inputs = {value.name: values[leaf_name(value.name)] for value in model.proto.graph.input}
    exact: Sequence[Array] = execute(lower(model, Arithmetic.EXACT), inputs, weights)
    return run_lite(down_level(model, weights, plain=plain), inputs), list(exact)
