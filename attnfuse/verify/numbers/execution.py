"""Running a lowered graph in onnxruntime, step by step, with weights fed from where they lie.

Weights are inputs of the ONNX model in the type they are stored in and are converted inside it, each just before
its use: a float64 run of a large model needs its weights in float64 one at a time, not all at once. They are loaded for
the step that reads them (`planning`). No optimiser of onnxruntime runs: it fuses attention of its own accord, with a
scale it assumes.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import json
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from attnfuse.errors import MemoryLimitError, VerificationError
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.processes import resident_memory
from attnfuse.verify import limits, profile, watch
from attnfuse.verify.lowering import Lowered
from attnfuse.verify.lowering.arithmetic import onnx_type
from attnfuse.verify.names import leaf_name
from attnfuse.verify.numbers.planning import Step, steps
from attnfuse.verify.numbers.runtime import onnxruntime
from attnfuse.verify.numbers.weights import WeightProvider

_SESSIONS = 128
"""Sessions that are kept for equal steps; they hold constants, and no weights."""
_RUNTIME = 2**27
_LARGE = 2**26
"""Bytes that a graph holds, from which on what is freed is given back: it takes longer than a small graph."""
_MORE = 2
"""Of onnxruntime and the C library: what they take beside values, and as many times as values; a convolution has a
buffer of its operand's size and more. SD 1.5's UNet takes 1.3 to 2.4 times its values (measured)."""
_SESSION_BYTES = 2**27
"""What the models of the kept sessions take together: that is their constants."""


class Executable:
    """A lowered graph as onnxruntime runs it, any number of times.

    `lane` is what a profile calls its runs, `work` what one of them is of all that is watched.
    """

    def __init__(self, lowered: Lowered, lane: str = "", work: float = 0.0) -> None:
        """Raises VerificationError where onnxruntime does not take it."""
        self._feeds = {feed.name: feed for feed in lowered.feeds}
        self._results = [o.name for o in lowered.model.graph.output]
        self._lane = lane
        self._work = work
        self._steps = steps(lowered)
        held = max((step.held for step in self._steps), default=0)
        _check_fits(held)
        self._is_large = held > _LARGE
        if len(self._steps) == 1:
            session_of(self._steps[0])

    @property
    def results(self) -> int:
        """How many outputs there are, taps and peaks among them."""
        return len(self._results)

    def run(
        self,
        inputs: Mapping[str, Array],
        weights: WeightProvider,
        kept: Callable[[int, Array], Array] | None = None,
    ) -> list[Array]:
        """The outputs, float32 or float64 where they are floating-point; or what `kept` makes of each, by its number,
        as soon as it is known.

        `inputs` are by MindIR name. Raises VerificationError where a value is missing or onnxruntime fails.
        """
        held: dict[str, onnxruntime.OrtValue] = {}
        found: dict[str, Array] = {}
        numbers = {name: number for number, name in enumerate(self._results)}
        for step in self._steps:
            for name in step.inputs:
                if name not in held:
                    held[name] = self._value(name, inputs, weights)
            made = _run_step(step, [held[name] for name in step.inputs], self._lane)
            watch.did(self._work / len(self._steps))
            for name in step.last:
                held.pop(name, None)
            for name, value in zip(step.outputs, made, strict=True):
                if name in numbers:
                    array = value if isinstance(value, np.ndarray) else _array(value)
                    found[name] = array if kept is None else kept(numbers[name], array)
                else:
                    held[name] = _ort_value(value) if isinstance(value, np.ndarray) else value
            del made
            if self._is_large:
                _give_back()
        return [found[name] for name in self._results]

    def _value(self, name: str, inputs: Mapping[str, Array], weights: WeightProvider) -> onnxruntime.OrtValue:
        feed = self._feeds[name]
        value = inputs.get(feed.value) if feed.parameter is None else weights(feed.parameter)
        if value is None:
            raise VerificationError(f"{leaf_name(feed.value)} has no value to run with; export the model with weights.")
        return _ort_value(value)


def _check_fits(needed: int) -> None:
    """Raise MemoryLimitError where the user allows less than what the process holds and the graph needs."""
    most = limits.current().most
    if most is None:
        return
    needed = _MORE * needed + _RUNTIME + resident_memory()
    if needed > most:
        raise MemoryLimitError(
            f"--max-memory allows {most / 2**30:.2f} GiB, and running the graph by the steps that fit takes about "
            f"{needed / 2**30:.2f} GiB: allow more, or use --verify static.",
            needed,
        )


def run(lowered: Lowered, inputs: Mapping[str, Array], weights: WeightProvider) -> list[Array]:
    """The outputs of a graph that is run once, as `Executable.run` gives them; nothing of it is held afterwards."""
    return Executable(lowered).run(inputs, weights)


# --- steps


def _run_step(step: Step, values: Sequence[onnxruntime.OrtValue], lane: str) -> Sequence[onnxruntime.OrtValue | Array]:
    """The results; those that are put together of parts are arrays."""
    session = session_of(step)
    if step.by_rows is None:
        return session.run(values, lane)
    by_rows = step.by_rows
    whole: list[Array | None] = [None] * len(step.outputs)
    for begin in range(0, by_rows.rows, by_rows.at_once):
        end = min(begin + by_rows.at_once, by_rows.rows)
        bounds = [_ort_value(np.array([n], np.int64)) for n in (begin, end)]
        for number, part in enumerate(map(_array, session.run([*values, *bounds], lane))):
            told, known = by_rows.told.get(number), whole[number]
            if told is not None:
                more = np.maximum if told == "max" else np.minimum
                whole[number] = part if known is None else np.asarray(more(known, part))
                continue
            if known is None:
                known = np.empty((*part.shape[:-2], by_rows.rows, part.shape[-1]), part.dtype)
                whole[number] = known
            known[..., begin:end, :] = part
    return [array for array in whole if array is not None]


class Session:
    """A step as onnxruntime holds it."""

    def __init__(self, model: bytes, profiled: Path | None = None) -> None:
        """Raises VerificationError where onnxruntime does not take it."""
        try:
            self._session = onnxruntime.InferenceSession(model, _options(profiled), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _failed(error) from None
        self._inputs = [i.name for i in self._session.get_inputs()]
        self._outputs = [o.name for o in self._session.get_outputs()]
        self._model = model

    def run(self, values: Sequence[onnxruntime.OrtValue], lane: str) -> list[onnxruntime.OrtValue]:
        """The results on these values, in the order of the model's inputs. Raises VerificationError where it fails."""
        running = profile.running()
        return self._run(values) if running is None else self._profiled(values, running, lane)

    def _run(self, values: Sequence[onnxruntime.OrtValue]) -> list[onnxruntime.OrtValue]:
        """In a thread, so that a signal is obeyed at once: this one only waits, and tells the other when to stop.

        onnxruntime looks whether it should before every node.
        """
        options = onnxruntime.RunOptions()
        feeds = dict(zip(self._inputs, values, strict=True))
        results: list[onnxruntime.OrtValue] = []
        errors: list[Exception] = []
        ended = threading.Event()

        def work() -> None:
            try:
                results.extend(self._session.run_with_ort_values(self._outputs, feeds, options))
            except Exception as error:
                errors.append(error)
            finally:
                ended.set()

        # An event, as a join that a signal interrupts takes the thread for ended (Python 3.11).
        worker = threading.Thread(target=work, daemon=True)
        try:
            worker.start()  # here, as a signal may come when it has begun and this has not yet returned
            while not ended.wait(_LOOK_SECONDS):
                pass
        except BaseException:
            options.terminate = True
            if worker.is_alive():
                atexit.register(ended.wait, _PATIENCE)  # a thread within a node cannot outlive the interpreter
            raise
        if errors:
            raise _failed(errors[0]) from None
        return results

    def _profiled(
        self, values: Sequence[onnxruntime.OrtValue], running: profile.Profile, lane: str
    ) -> list[onnxruntime.OrtValue]:
        """In a session of its own, which tells how long each node took; CPU seconds are shared out by that."""
        with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as folder:
            session = Session(self._model, Path(folder) / "run")
            begin = time.process_time()
            results = session._run(values)
            seconds = time.process_time() - begin
            told = json.loads(Path(session._session.end_profiling()).read_bytes())
        nodes = [event for event in told if event.get("cat") == "Node" and event["name"].endswith(_TIME)]
        total = sum(event["dur"] for event in nodes) or 1
        for event in nodes:
            cost = running.operator(lane, event["name"].removesuffix(_TIME).rpartition("#")[0])
            size = int(event["args"].get("output_size", 0))
            cost.add(seconds * event["dur"] / total, event["dur"] / 1e6, size)
        return results


_TIME = "_kernel_time"
_PATIENCE = 5.0
"""Seconds for a node that runs when it is told to stop. The command does not wait for it: see `attnfuse.cli.entry`."""
_LOOK_SECONDS = 0.1
"""How long a signal may go unseen that comes just before the wait: see `attnfuse.processes`."""


@dataclass(slots=True)
class _Kept:
    """Sessions by what they run, the one that was used last at the end."""

    sessions: OrderedDict[bytes, tuple[Session, int]] = field(default_factory=OrderedDict)
    total: int = 0

    def of(self, model: bytes) -> Session:
        """A session of that model, the same as before where it is still held."""
        key = hashlib.sha256(model).digest()
        if key not in self.sessions:
            self.sessions[key] = Session(model), len(model)
            self.total += len(model)
        self.sessions.move_to_end(key)
        while len(self.sessions) > 1 and (len(self.sessions) > _SESSIONS or self.total > _SESSION_BYTES):
            _, (_, size) = self.sessions.popitem(last=False)
            self.total -= size
        return self.sessions[key][0]


_KEPT = _Kept()


def session_of(step: Step) -> Session:
    """What runs the step: equal steps, of other graphs too, have one session."""
    return _KEPT.of(step.model)


def _options(profiled: Path | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # In the order the nodes were written. The default order goes back from the output, and converts every weight
    # before it computes anything: a float64 run would hold them all.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # The arena keeps what it once took and grows by doubling; single tensors here are gigabytes.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # A buffer that a later value of the same size will use is otherwise kept until then: all sizes at their largest.
    options.enable_mem_reuse = False
    # Threads that wait would otherwise spin: for a graph of few nodes that costs more than the graph, and what runs
    # beside this process goes without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its message reaches the caller as an exception
    if profiled is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profiled)
    return options


def _failed(error: Exception) -> VerificationError:
    """onnxruntime's message as one sentence: its exceptions have no common base but Exception."""
    first = str(error).strip().splitlines()[0][:400]
    return VerificationError(f"onnxruntime cannot run the lowered graph: {first}")


def _ort_value(array: Array) -> onnxruntime.OrtValue:
    """Shares the array's memory where it is contiguous, as weights in a file are."""
    array = np.ascontiguousarray(array) if array.ndim else array
    if array.dtype == dtypes.BFLOAT16.numpy:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), onnx_type(dtypes.BFLOAT16)
        )
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _array(value: onnxruntime.OrtValue) -> Array:
    """What onnxruntime made. It shares its memory, and holds it; of what was given to it, it would not."""
    return np.asarray(value.numpy())


def _give_back() -> None:
    """Have the C library give back what was freed: it keeps pieces that lie below one that is in use."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
