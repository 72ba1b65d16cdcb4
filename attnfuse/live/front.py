"""compile() and tune() for Python: a live mindone pipeline or model, or what the command line takes.

In this process, which holds MindSpore: read the settings, trace, save the weights. In a subprocess: everything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from attnfuse import errors, processes
from attnfuse.errors import (
    AttnfuseError,
    InternalError,
    OutputError,
    RequirementError,
    TraceError,
    UsageError,
    VerificationError,
)
from attnfuse.live.given import NOT_GIVEN, PolicyLike, given_policy
from attnfuse.live.outcome import Outcome, Tuned
from attnfuse.live.plans import LivePlan, plan_live, write_others
from attnfuse.live.settings import live_rules
from attnfuse.output import place
from attnfuse.policy import PassOption, Policy, Rule
from attnfuse.preflight import check_components, check_policy, types_of
from attnfuse.progress import Progress, Silent
from attnfuse.report.model import Report
from attnfuse.report.require import parse_requirement
from attnfuse.serialisation import to_json
from attnfuse.targets import RUNTIMES, Target
from attnfuse.targets.names import soc_named
from attnfuse.terminal import BarProgress
from attnfuse.tracing.contract import Fetch, ShapeOptions, TracedComponent
from attnfuse.tracing.runner import environment

_LEVELS = ("none", "static", "sampled", "full")


def compile(  # noqa: A001  # it is what it does
    source: Any,
    output: str | os.PathLike[str] | None,
    *,
    components: Sequence[str] = (),
    inputs: Sequence[Any] | None = None,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
    sequence_length: int | Mapping[str, int] | None = None,
    frames: int | None = None,
    guidance: bool | None = None,
    timestep_dtype: Literal["float32", "int64"] | None = None,
    clip_skip: int | None = None,
    dtype: str | Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | None = None,
    vae: str | os.PathLike[str] | None = None,
    ip_adapter: str | os.PathLike[str] | None = None,
    textual_inversion: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    runtime: Literal["lite", "mindspore"] = "lite",
    soc: str = "ascend910b",
    policy: PolicyLike | None = None,
    force_cast_dtype: object = NOT_GIVEN,
    no_flash: Sequence[str] = (),
    require: Sequence[str] = (),
    verify: Literal["none", "static", "sampled", "full"] = "none",
    seed: int = 0,
    data: str | os.PathLike[str] | None = None,
    progress: Progress | Literal["auto", "never"] = "auto",
) -> Outcome:
    """Compile a live pipeline, or a single model of one, with the attention settings that are on it.

    Or what the command line compiles: `source` a path (text or a path object) to a pipeline folder or a `.mindir`, or a
    hub id, and `output` a folder or, for a `.mindir`, a `.mindir` too. Of these alone are `dtype`, the type that all
    components are traced in (or `{"unet": "float16"}`, those of single ones); `config`, the pipeline with what
    `source`, one file of weights, has not; `vae`, a VAE in the place of the pipeline's, both folders or hub ids;
    `ip_adapter`, the file of an IP-Adapter (`"FILE@0.6"` with its scale); `textual_inversion`, one file or several
    (`"FILE:TOKEN"` with its token).

    A live `source` is what `DiffusionPipeline.from_pretrained` or a model class of mindone returned, with its weights;
    it is left exactly as it was. `output` is a folder; None writes nothing. `components` selects among the pipeline's
    (docs/components.md). `batch` counts images or videos, `height` and `width` are pixels, `sequence_length` text
    tokens (or `{"unet": 154}`, those of single components), `frames` those of a video; left out, they are the
    pipeline's defaults. `guidance` says whether the denoiser gets two rows an image, `timestep_dtype` which type the
    scheduler's timesteps have; left out, as the pipeline does. `clip_skip` is how many of CLIP's layers are skipped.
    Any cell can be compiled as the call `source(*inputs)`: `inputs` are tensors (of MindSpore or numpy) of which shape
    and type are read, or tuples and lists of such; each tensor is an input of the graph.

    Rules, of which the last that matches a site wins: first the settings found on the cells (`enable_flash_sdp`,
    `set_flash_attention_force_cast_dtype`), then `policy` (a TOML file, its content as a mapping, or a list of
    rules), then `force_cast_dtype` and `no_flash` (globs), as on the command line. What attention is cast to is a
    name ("float16", "bfloat16", "none") or a type (`mindspore.float16`); None is mindone's None, no cast, which
    is not to leave it out.

    Of a pipeline with `components`, or of a single model, what stands in the output beside them stays there.

    `require` are expressions such as "fused==sites", or "deployable"; `verify` is "none", "static", "sampled" or
    "full"; `seed` is that of the inputs verification draws; `data`, an .npz file or a folder, gives it real ones in
    their place (see docs/verification-inputs.md). `progress` shows a bar in a terminal or a notebook, or tells an
    object of yours.

    Raises UsageError, PolicyError, TraceError, SourceError or OutputError for what you can fix, RequirementError
    where a requirement does not hold, VerificationError where the result differs, InternalError for a defect of
    ours. Whatever is raised, nothing was written.
    """
    given = given_policy(policy, force_cast_dtype, no_flash)
    _check_choice("verify", verify, _LEVELS)
    shapes = _shapes(batch, height, width, sequence_length, frames, guidance, timestep_dtype, clip_skip, dtype)
    beside = (dtype, config, vae, ip_adapter, textual_inversion)
    asked = _Asked(source, components, inputs, shapes, *beside, runtime, soc_named(soc))
    asked.check()
    for text in require:
        parse_requirement(text)
    target = None if output is None else place(Path(output), ())
    if target is not None and target.is_file and not asked.is_stored:
        raise UsageError(f"the output {output} is one file; name a folder.")
    if target is None and verify != "none":
        raise UsageError("without an output there is no graph that could be verified; name one or drop verify.")
    if data is not None and verify not in ("sampled", "full"):
        raise UsageError('data feeds verify="full"; drop it, or ask for that.')
    request: dict[str, Any] = {
        "output": None if target is None else str(target.path),
        "require": list(require),
        "verify": verify,
        "seed": seed,
        "data": None if data is None else str(Path(data).resolve()),
    }
    with _work_folder(None if target is None else target.path.parent) as work, _shown(progress) as shown:
        is_written = target is not None
        request |= asked.request(given, work, shown, settings=True, weights=is_written, others=is_written)
        return _finish(_run(request, work, shown), None if target is None else target.path)


def tune(
    source: Any,
    *,
    budget: float,
    data: str | os.PathLike[str] | None = None,
    seed: int = 0,
    components: Sequence[str] = (),
    inputs: Sequence[Any] | None = None,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
    sequence_length: int | Mapping[str, int] | None = None,
    frames: int | None = None,
    guidance: bool | None = None,
    timestep_dtype: Literal["float32", "int64"] | None = None,
    clip_skip: int | None = None,
    dtype: str | Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | None = None,
    vae: str | os.PathLike[str] | None = None,
    ip_adapter: str | os.PathLike[str] | None = None,
    textual_inversion: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    runtime: Literal["lite", "mindspore"] = "lite",
    soc: str = "ascend910b",
    policy: PolicyLike | None = None,
    progress: Progress | Literal["auto", "never"] = "auto",
) -> Tuned:
    """Find the cheapest policy whose error, measured end to end against float64, keeps the budget, as `attnfuse tune`.

    `source`, and what is said of its shapes, types and target, is as of `compile`. `budget` is the largest relative
    error. `data`, an .npz file or a folder (what `attnfuse run --record` kept, for one), is what it is measured on;
    left out, inputs are drawn with `seed`. Rules of `policy` stay as they are: only the rest is chosen. What is set on
    a live pipeline is not asked: `compile(pipe, …, policy=tuned.policy)` has the policy after it.

    Raises RequirementError where no policy keeps the budget, with the least error that was reached, SourceError where
    there is nothing to choose, and UsageError, PolicyError, TraceError or VerificationError for what you can fix.
    """
    given = given_policy(policy, NOT_GIVEN, ())
    if not 0 < budget < math.inf:
        raise UsageError(f"the budget {budget} is no relative error; give a number above 0, such as 1e-3.")
    shapes = _shapes(batch, height, width, sequence_length, frames, guidance, timestep_dtype, clip_skip, dtype)
    beside = (dtype, config, vae, ip_adapter, textual_inversion)
    asked = _Asked(source, components, inputs, shapes, *beside, runtime, soc_named(soc))
    asked.check()
    request: dict[str, Any] = {
        "budget": float(budget),
        "seed": seed,
        "data": None if data is None else str(Path(data).resolve()),
    }
    with _work_folder(None) as work, _shown(progress) as shown:
        request |= asked.request(given, work, shown, settings=False, weights=True, others=False)
        answer = _run(request, work, shown)
    return Tuned(answer["policy"], answer["tuning"], tuple(answer["warnings"]))


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What compile and tune have in common: a source, which of it, in which shapes and types, and for what target."""

    source: Any
    components: Sequence[str]
    inputs: Sequence[Any] | None
    shapes: ShapeOptions
    dtype: str | Mapping[str, str] | None
    config: str | os.PathLike[str] | None
    vae: str | os.PathLike[str] | None
    ip_adapter: str | os.PathLike[str] | None
    textual_inversion: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    runtime: Literal["lite", "mindspore"]
    soc: str

    def check(self) -> None:
        """Raise UsageError for what contradicts itself."""
        _check_choice("runtime", self.runtime, RUNTIMES)
        if self.is_stored and self.inputs is not None:
            raise UsageError("inputs are those of a live cell; drop them, or give the cell.")
        elsewhere = {name: getattr(self, name) for name in ("dtype", "config", "vae", "ip_adapter")}
        elsewhere["textual_inversion"] = self.inversions or None
        named = next((name for name, value in elsewhere.items() if value is not None), None)
        if not self.is_stored and named is not None:
            raise UsageError(
                f"{named} is for what is on disk, and a live pipeline has its own; drop it, or change that."
            )

    @property
    def inversions(self) -> Sequence[str | os.PathLike[str]]:
        """The files of textual inversions."""
        given = self.textual_inversion
        return [given] if isinstance(given, str | os.PathLike) else given

    @property
    def is_stored(self) -> bool:
        """Whether it is on disk, or the hub."""
        return isinstance(self.source, str | os.PathLike)

    def request(
        self, given: Policy, work: Path, progress: Progress, *, settings: bool, weights: bool, others: bool
    ) -> dict[str, Any]:
        """What the subprocess is asked, of a live source after tracing it into `work`, with its `weights`.

        `settings`: those found on its cells are rules too, before the given ones. `others`: what a pipeline has beside
        models is wanted.
        """
        request: dict[str, Any] = {"runtime": self.runtime, "soc": self.soc, "options": _plain(given.options)}
        if self.is_stored:
            request |= {"source": os.fspath(self.source), "shapes": to_json(self.shapes)}
            request |= {"components": list(self.components), "rules": _plain(given.rules)}
            request["dtype"] = self.dtype if isinstance(self.dtype, str) else None
            where = [os.fspath(path) if path else "" for path in (self.config, self.vae, self.ip_adapter)]
            request["fetch"] = to_json(Fetch(config=where[0], vae=where[1], ip_adapter=where[2]))
            request["inversions"] = [os.fspath(path) for path in self.inversions]
            return request
        configs = work / "configs"
        configs.mkdir()
        plan = plan_live(self.source, configs, self.shapes, self.components, self.inputs)
        found = live_rules(plan.cells, plan.prefix) if settings else ()
        component_types = {one.name: types_of(one) for one in plan.plans}
        target, rules = Target(self.runtime, self.soc), (*found, *given.rules)
        check_components(target, component_types, "convert it first (pipe.to), to")
        check_policy(target, Policy(rules), component_types)
        request["rules"] = _plain(rules)
        request["warnings"] = plan.warnings
        # A part of a pipeline, or one model of it: what stands in the output beside it stays.
        is_part = bool(self.components) or not plan.prefix
        request["components"] = [one.name for one in plan.plans] if is_part else []
        request["others"] = write_others(plan, configs) if others else []
        request["pipeline"] = None if self.inputs is not None else str(configs)
        request["sizes"] = dict(plan.plans[0].sizes)
        request["traces"] = [to_json(trace) for trace in _capture(plan, work, progress, weights=weights)]
        return request


def _shapes(
    batch: int | None,
    height: int | None,
    width: int | None,
    sequence_length: int | Mapping[str, int] | None,
    frames: int | None,
    guidance: bool | None,
    timestep_dtype: Literal["float32", "int64"] | None,
    clip_skip: int | None,
    dtype: str | Mapping[str, str] | None,
) -> ShapeOptions:
    return ShapeOptions(
        batch,
        height,
        width,
        None if isinstance(sequence_length, Mapping) else sequence_length,
        frames,
        guidance,
        sequence_lengths=tuple(sequence_length.items()) if isinstance(sequence_length, Mapping) else (),
        timestep_dtype=timestep_dtype,
        clip_skip=clip_skip,
        dtypes=tuple(dtype.items()) if isinstance(dtype, Mapping) else (),
    )


def _plain(records: Sequence[Rule | PassOption]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(record) for record in records]


def _check_choice(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise UsageError(f"{name} {given!r} is not one of {', '.join(known)}.")


@contextlib.contextmanager
def _work_folder(beside: Path | None) -> Iterator[Path]:
    """A folder for graphs and weights; beside the output, where weights have space, if it can be."""
    existing = None if beside is None else next(p for p in (beside, *beside.parents) if p.is_dir())
    try:
        folder = tempfile.TemporaryDirectory(prefix=".attnfuse-", dir=existing, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"no working folder can be made in {existing}: {error.strerror or error}.") from None
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def _shown(progress: Progress | Literal["auto", "never"]) -> Iterator[Progress]:
    if not isinstance(progress, str):
        yield progress
        return
    console = Console(stderr=True)
    if progress == "never" or not (console.is_terminal or console.is_jupyter):
        yield Silent()
        return
    with BarProgress(console) as bar:
        yield bar


def _capture(plan: LivePlan, work: Path, progress: Progress, *, weights: bool) -> list[TracedComponent]:
    """Trace every graph and save the weights of every model, once."""
    try:
        from attnfuse.live.capture import capture, save_weights
    except ImportError as error:
        raise TraceError(f"tracing needs MindSpore and mindone, and importing them failed ({error}).") from error
    traces: list[TracedComponent] = []
    try:
        for component in plan.plans:
            model = plan.models[component.model]
            progress.stage(component.name, "trace")
            file = work / f"{component.model}.safetensors" if weights else None
            traces.append(capture(component, model, work / component.name, file))
            if file is not None and not file.exists():
                progress.stage(component.name, "weights")
                save_weights(model, file, progress.amount)
    except OSError as error:
        raise OutputError(f"graphs and weights cannot be kept in {work}: {error.strerror or error}.") from None
    return traces


def _run(request: dict[str, Any], work: Path, progress: Progress) -> dict[str, Any]:
    """Run the subprocess, relay its progress, return what it left. Raises the error it met."""
    asked, result, log = work / "request.json", work / "result.json", work / "compile.log"
    asked.write_text(json.dumps({**request, "result": str(result), "parent": os.getpid()}), encoding="utf-8")
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "attnfuse.live.child", str(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment(),
        )
        try:
            for line in processes.lines(process):
                _relay(line, progress)
            code = process.wait()  # which closed its stdout as its last
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if not result.exists():
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise InternalError(f"the compiling process ended with code {code} and no result; its last words: {last[:200]}")
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if "error" in answer:
        kind: type[AttnfuseError] = getattr(errors, answer["error"])
        raise kind(answer["text"])
    return answer


def _relay(line: str, progress: Progress) -> None:
    """One line of the subprocess's stdout; what is no message of ours is a library's chatter."""
    try:
        message = json.loads(line)
    except ValueError:
        return
    if isinstance(message, dict) and "stage" in message:
        progress.stage(*message["stage"])
    elif isinstance(message, dict) and "amount" in message:
        progress.amount(*message["amount"])
    elif isinstance(message, dict) and "worker" in message:
        progress.worker(*message["worker"])


def _finish(answer: Mapping[str, Any], output: Path | None) -> Outcome:
    """The outcome; what did not hold is raised."""
    if answer["unmet"]:
        raise RequirementError(f"{'; '.join(answer['unmet'])}; nothing was written.")
    if not answer["passed"]:
        findings = [text for part in answer["verification"]["components"] for text in part.get("findings", ())]
        first_finding = findings[0] if findings else "the numbers differ by more than the formula's own error"
        raise VerificationError(f"verification failed, nothing was written: {first_finding}")
    report = Report.model_validate_json(json.dumps(answer["report"]))
    return Outcome(report, output, answer["files"], answer["verification"], answer["dropped"])
