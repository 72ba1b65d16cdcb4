"""Running a lowered graph: weights one at a time, errors as sentences."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import VerificationError
from attnfuse.mindir.dtypes import BFLOAT16
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.numbers.weights import stored_weights
from tests.support.console import environment
from tests.support.graphs import GraphBuilder, seeded, transformer

LAYERS, WIDTH = 20, 2304  # more than 32 MiB each: of smaller ones the C library keeps some when they are freed

_MEASURE = f"""
import numpy as np
from attnfuse.processes import peak_memory
from attnfuse.verify.numbers.execution import run
from attnfuse.verify.lowering import Arithmetic, lower
from tests.support.graphs import FLOAT16, GraphBuilder

g = GraphBuilder("deep", weights=False)
x = g.input("x", (1, {WIDTH}), FLOAT16)
shared = np.zeros(({WIDTH}, {WIDTH}), np.float16)
for i in range({LAYERS}):
    x = g.node("Dense", [x, g.parameter(f"w{{i}}", shared), g.constant(None)], g.type_of(x))
g.output(x)
model = g.model()
lowered = lower(model, Arithmetic.EXACT)
inputs = {{model.proto.graph.input[0].name: np.zeros((1, {WIDTH}), np.float16)}}
before = peak_memory()
run(lowered, inputs, lambda parameter: shared)
print(peak_memory() - before)
"""


def test_float64_weights_are_held_one_at_a_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    one = WIDTH * WIDTH * 8
    assert int(done.stdout) < LAYERS * one / 4


def test_bfloat16_weights_and_inputs() -> None:
    g = GraphBuilder("b")
    weight = seeded("w", (3,), BFLOAT16)
    g.output(g.mul(g.input("x", (3,), BFLOAT16), g.parameter("w", weight)))
    model = g.model()
    x = seeded("x", (3,), BFLOAT16)
    read = stored_weights(model.proto, Path("/none/x.mindir"))
    (got,) = run(lower(model, Arithmetic.EXACT), {model.proto.graph.input[0].name: x}, read)
    np.testing.assert_array_equal(got, x.astype(np.float64) * weight.astype(np.float64))


def test_a_weight_without_a_value_is_named() -> None:
    model = transformer(sites=1, weights=False).model()
    inputs = {v.name: np.zeros(tuple(v.tensor[0].dims), np.float16) for v in model.proto.graph.input}
    with pytest.raises(VerificationError, match=r"to_.\.weight has no value"):
        run(lower(model, Arithmetic.EXACT), inputs, stored_weights(model.proto, Path("/none/x.mindir")))


def test_what_onnxruntime_says_is_one_sentence() -> None:
    g = GraphBuilder("wrong")
    g.output(g.matmul_ext(g.input("x", (2, 3)), g.input("y", (3, 4))))
    model = g.model()
    values = [np.zeros((2, 3), np.float32), np.zeros((5, 4), np.float32)]
    inputs = {v.name: a for v, a in zip(model.proto.graph.input, values, strict=True)}
    with pytest.raises(VerificationError, match="onnxruntime cannot run the lowered graph") as caught:
        run(lower(model, Arithmetic.NATIVE), inputs, stored_weights(model.proto, Path("/none/x.mindir")))
    assert "\n" not in str(caught.value)


_LONG = """
import sys, tempfile, threading
import numpy as np
from attnfuse.processes import stop_once
from attnfuse.verify.lowering import Arithmetic, lower
from attnfuse.verify.numbers.execution import run
from tests.support.graphs import GraphBuilder

stop_once()
g = GraphBuilder("long", weights=False)
x = g.input("x", (512, 512))
for i in range(20000):
    x = g.matmul_ext(x, x)
g.output(x)
model = g.model()
lowered = lower(model, Arithmetic.NATIVE)
inputs = {model.proto.graph.input[0].name: np.zeros((512, 512), np.float32)}
start = threading.Thread.start
threading.Thread.start = lambda thread: (start(thread), print("runs", flush=True))
with tempfile.TemporaryDirectory(dir=sys.argv[1]):
    run(lowered, inputs, lambda parameter: None)
print("ended", flush=True)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_in_its_middle(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    """Not when it ends: that would take a minute. Nothing is left behind."""
    with subprocess.Popen(
        [sys.executable, "-c", _LONG, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(sent)
        assert process.stdout.read() == ""
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_reported_by_onnxruntime(tmp_path: Path) -> None:
    """It would leave a file of its session with what it reports to."""
    settings = {key: value for key, value in environment().items() if key != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", "import attnfuse.verify.numbers.execution"]
    subprocess.run(command, env={**settings, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []
