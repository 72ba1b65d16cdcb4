"""The subprocess that compiles, or tunes, what was captured: `python -m attnfuse.live.child REQUEST.json`.

Progress goes to stdout, a JSON document a line; the outcome, or the error, to the file the request names. Imports the
compiler, and no MindSpore.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnfuse import compiler, verify
from attnfuse.compiler import CompileOutcome, CompileRequest
from attnfuse.component import Component
from attnfuse.errors import AttnfuseError, InternalError
from attnfuse.lora.given import Lora
from attnfuse.lora.inversion import parse_inversion
from attnfuse.policy import PassOption, Policy, Rule
from attnfuse.preflight import ComponentTypes, types_of
from attnfuse.processes import die_with, stop_once
from attnfuse.progress import Progress
from attnfuse.report.require import parse_requirement
from attnfuse.serialisation import from_json
from attnfuse.sources import Load, from_trace
from attnfuse.targets import Target
from attnfuse.tracing.carried import Carried, carried
from attnfuse.tracing.contract import ComponentPlan, Fetch, ShapeOptions, TracedComponent

_WARNING = "warning: "
_LIVE_TYPE = "the live model has this type"
"""Where the type of a component comes from that was captured."""


@dataclass(frozen=True, slots=True)
class CapturedSource:
    """Graphs that were traced elsewhere.

    `pipeline` is a folder with what a pipeline's has beside weights, None for the call of any cell, and `sizes` are
    those its components were planned with; `unsaved` is why something is not in the folder.
    """

    traces: Mapping[str, TracedComponent]
    warnings: Mapping[str, tuple[str, ...]]
    pipeline: Path | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unsaved: tuple[str, ...] = ()
    loras: tuple[Lora, ...] = ()

    @property
    def single_file(self) -> bool:
        return False

    @property
    def paths(self) -> Iterable[Path]:
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.traces)

    @property
    def owners(self) -> tuple[str, ...]:
        return tuple(traced.plan.model for traced in self.traces.values())

    @property
    def bases(self) -> tuple[str, ...]:
        return ()

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self.traces)

    @property
    def failures(self) -> Mapping[str, str]:
        return {}

    @property
    def component_types(self) -> Mapping[str, ComponentTypes]:
        return {name: types_of(traced.plan) for name, traced in self.traces.items()}

    @property
    def plans(self) -> tuple[ComponentPlan, ...]:
        """See `Source.plans`."""
        return ()

    @property
    def least_bytes(self) -> int:
        return 0  # the weights are on the disk already, beside the output

    def carried(self) -> Carried | None:
        """See `attnfuse.sources.Source`."""
        if self.pipeline is None:
            return None
        found = carried(self.pipeline, self.sizes, next(iter(self.traces.values())).plan.model)
        return dataclasses.replace(found, warnings=(*self.unsaved, *found.warnings))

    @contextlib.contextmanager
    def opened(self, work: Path, jobs: int) -> Iterator[Load]:
        """See `attnfuse.sources.Source`."""
        yield self._load

    def _load(self, name: str, progress: Progress, *, weights: bool) -> Component:
        progress.stage(name, "read")
        traced = self.traces[name]
        inputs = {path.name: path for path in sorted({source.file for source in traced.weights})}
        plan = dataclasses.replace(traced.plan, dtype_from=_LIVE_TYPE, warnings=self.warnings.get(name, ()))
        return from_trace(dataclasses.replace(traced, plan=plan), inputs)


class _Lines:
    """Progress as lines of JSON."""

    def stage(self, component: str, stage: str) -> None:
        """See `attnfuse.progress.Progress`."""
        self._send({"stage": [component, stage]})

    def amount(self, done: int, total: int) -> None:
        """See `attnfuse.progress.Progress`."""
        self._send({"amount": [done, total]})

    def worker(self, seconds: float, peak: int) -> None:
        """See `attnfuse.progress.Progress`."""
        self._send({"worker": [seconds, peak]})

    def _send(self, message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Do what the request file says; 0, or 1 with the error in the result file."""
    stop_once()  # so that it cleans up after itself
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    die_with(request["parent"])
    try:
        result: dict[str, Any] = _tuned(request) if "budget" in request else _compiled(request)
    except AttnfuseError as error:
        result = {"error": type(error).__name__, "text": str(error)}
    except Exception as error:
        traceback.print_exc()  # for the log
        result = {"error": InternalError.__name__, "text": f"a defect of attnfuse: {type(error).__name__}: {error}"}
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 1 if "error" in result else 0


def _compiled(data: Mapping[str, Any]) -> dict[str, Any]:
    request = dataclasses.replace(
        _request(data),
        output=None if data["output"] is None else Path(data["output"]),
        require=tuple(parse_requirement(text) for text in data["require"]),
        verify=data["verify"],
        seed=data["seed"],
        data=None if data["data"] is None else Path(data["data"]),
    )
    return _plain_outcome(compiler.compile(request, _Lines()))


def _tuned(data: Mapping[str, Any]) -> dict[str, Any]:
    verify.require_executor("numbers")
    from attnfuse.tuning.jobs import tune_source  # onnxruntime

    told: list[str] = []
    tuning = tune_source(
        dataclasses.replace(_request(data), jobs=1),
        budget=data["budget"],
        seed=data["seed"],
        data=None if data["data"] is None else Path(data["data"]),
        tell=told.append,
        progress=_Lines(),
    )
    warnings = [text.removeprefix(_WARNING) for text in told if text.startswith(_WARNING)]
    return {"policy": tuning.to_toml(), "tuning": tuning.to_json(), "warnings": warnings}


def _request(data: Mapping[str, Any]) -> CompileRequest:
    """What both ask for."""
    return CompileRequest(
        source=data["source"] if "source" in data else _captured(data),
        dtype=data.get("dtype"),
        shapes=from_json(ShapeOptions, data.get("shapes", {})),
        fetch=from_json(Fetch, data.get("fetch", {})),
        loras=tuple(map(parse_inversion, data.get("inversions", ()))),
        components=tuple(data["components"]),
        target=Target(data["runtime"], data["soc"]),
        policy=Policy(
            tuple(Rule(**rule) for rule in data["rules"]), tuple(PassOption(**option) for option in data["options"])
        ),
    )


def _captured(data: Mapping[str, Any]) -> CapturedSource:
    traces = [from_json(TracedComponent, trace) for trace in data["traces"]]
    warnings = {name: tuple(texts) for name, texts in data["warnings"].items()}
    return CapturedSource(
        {trace.plan.name: trace for trace in traces},
        warnings,
        None if data["pipeline"] is None else Path(data["pipeline"]),
        data["sizes"],
        tuple(data["others"]),
    )


def _plain_outcome(outcome: CompileOutcome) -> dict[str, Any]:
    return {
        "report": outcome.report.to_json(),
        "unmet": list(outcome.unmet),
        "verification": None if outcome.verification is None else outcome.verification.to_json(),
        "passed": outcome.verification is None or outcome.verification.passed,
        "dropped": outcome.dropped,
        "files": {name: found.bytes for name, found in (outcome.files or {}).items()},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
