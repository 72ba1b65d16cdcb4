"""What the options about a source come to: a request, and its run with progress on stderr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from attnfuse import pass_manager
from attnfuse.cli.console import say_lines, shown, stderr_console
from attnfuse.cli.destinations import check_apart, check_writable
from attnfuse.cli.log import check_log, log_outcome, log_request, log_to
from attnfuse.cli.options import SHAPES, dtype_of, fetch_of, shapes_of
from attnfuse.cli.sizes import sizes_of
from attnfuse.compiler import CompileOutcome, CompileRequest
from attnfuse.errors import UsageError
from attnfuse.lora.given import parse_lora
from attnfuse.lora.inversion import parse_inversion
from attnfuse.pass_times import PassTimes
from attnfuse.policy import CastName, Policy, command_line_options, command_line_rules, read_policy
from attnfuse.printing import print_after
from attnfuse.report.require import parse_requirement
from attnfuse.rewriting import Between
from attnfuse.store.places import Place
from attnfuse.targets import Target
from attnfuse.terminal import Account
from attnfuse.tracing.contract import Way
from attnfuse.tracing.inputs import read_inputs
from attnfuse.tracing.ip_adapter import parse_ip_adapter


def policy_of(file: Path | None, cast: CastName | None, no_flash: Sequence[str], pass_options: Sequence[str]) -> Policy:
    """The policy that a file and the options on the command line come to."""
    policy = Policy() if file is None else read_policy(file)
    return policy.and_then(command_line_rules(cast, no_flash), command_line_options(pass_options))


def request_at_one_batch(source: str, options: Mapping[str, Any], policy: Policy, not_dynamic: str) -> CompileRequest:
    """What `compile` would be asked for with the options of a source and the target, as a command has them.

    Raises UsageError, which says `not_dynamic`, for --dynamic.
    """
    if options["dynamic"] is not None:
        raise UsageError(not_dynamic)
    given = options["inputs_file"]
    return CompileRequest(
        source=source,
        components=options["components"],
        dtype=dtype_of(options),
        shapes=shapes_of(options),
        given=() if given is None else read_inputs(given),
        fetch=fetch_of(options),
        target=Target(options["runtime"], options["soc"]),
        policy=policy,
        jobs=1,  # what is done with each takes the memory that a trace beside it was to have
    )


@dataclasses.dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options that `compile`, `inspect`, `explain` and `policy show` have in common."""

    source: str
    components: tuple[str, ...]
    exclude: tuple[str, ...]
    dtypes: tuple[tuple[tuple[str, str], ...], ...]
    batch: int | None
    dynamic: Literal["batch"] | None
    height: int | None
    width: int | None
    sequence_lengths: tuple[tuple[str, int], ...]
    timestep_dtype: Literal["float32", "int64"] | None
    sizes: tuple[dict[str, int], ...]
    clip_skip: int | None
    frames: int | None
    guidance: bool | None
    inputs_file: Path | None
    variant: str
    revision: str | None
    subfolder: str
    offline: bool
    config: str
    vae: str
    ip_adapter: str
    loras: tuple[str, ...]
    inversions: tuple[str, ...]
    runtime: str
    soc: str
    policy_file: Path | None
    force_cast_dtype: CastName | None
    no_flash: tuple[str, ...]
    pass_options: tuple[str, ...]
    strict_policy: bool
    strict_config: bool
    trace: Way
    jobs: int | None
    cache_dir: Place | None
    cache_key: Path | None
    print_after: tuple[str, ...]
    time_passes: bool
    print_to: Path | None
    as_json: bool
    progress: str
    verbose: bool
    log_file: Path | None
    require: tuple[str, ...] = ()
    report_file: Path | None = None

    def request(self) -> CompileRequest:
        """The request so far, without an output."""
        if self.ip_adapter:
            parse_ip_adapter(self.ip_adapter)
        shapes, sizes = sizes_of(self.sizes, shapes_of({name: getattr(self, name) for name in SHAPES}))
        return CompileRequest(
            source=self.source,
            components=self.components,
            exclude=self.exclude,
            dtype=dtype_of({"dtypes": self.dtypes}),
            shapes=shapes,
            sizes=sizes,
            given=() if self.inputs_file is None else read_inputs(self.inputs_file),
            loras=(*map(parse_lora, self.loras), *map(parse_inversion, self.inversions)),
            fetch=fetch_of(dataclasses.asdict(self)),
            target=Target(self.runtime, self.soc),
            policy=policy_of(self.policy_file, self.force_cast_dtype, self.no_flash, self.pass_options),
            require=tuple(parse_requirement(text) for text in self.require),
            strict_policy=self.strict_policy,
            cache=self.cache_dir,
            cache_key=self.cache_key,
            strict_config=self.strict_config,
            trace=self.trace,
            jobs=self.jobs,
        )

    def check_destinations(self, output: Path | None) -> None:
        """Raise UsageError, before the long work, where what is written beside the output would lie in or over that, or
        the source; OutputError where it cannot be written."""
        if self.report_file is not None:
            check_apart("report", self.report_file, Path(self.source), output)
            check_writable(self.report_file)
        if self.print_to is not None:
            check_apart("folder of printed graphs", self.print_to, Path(self.source), output)
        if self.log_file is not None:
            check_log(self.log_file, (Path(self.source), output))

    def execute(self, action: Callable[..., CompileOutcome], request: CompileRequest) -> CompileOutcome:
        """Run the request with progress on stderr, and what was asked of the passes."""
        return self.measured(action, request)[0]

    def measured(
        self, action: Callable[..., CompileOutcome], request: CompileRequest
    ) -> tuple[CompileOutcome, Account]:
        """As `execute`; and what it took."""
        self.check_destinations(request.output)
        printed = print_after(self.print_after, self.print_to, pass_manager.discover(), say_lines)
        times = PassTimes() if self.time_passes else None
        called = [callback for callback in (printed, times) if callback is not None]
        if called:
            request = dataclasses.replace(request, between=partial(_call_each, called))
        with (
            log_to(verbose=self.verbose, file=self.log_file, apart=(Path(self.source), request.output)) as log,
            shown(silent=self.progress == "never") as progress,
        ):
            log_request(log, request)
            account = Account(progress, log.info)
            outcome = action(request, account)
            account.end()
            log_outcome(log, outcome)
        if times is not None:
            stderr_console().print(times.table())
        return outcome, account


def _call_each(callbacks: Sequence[Between], component: str, ran: pass_manager.Ran) -> None:
    for callback in callbacks:
        callback(component, ran)
