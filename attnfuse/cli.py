"""The command line: arguments become a request, the outcome becomes a table, a document and an exit code.

The only module that prints or exits. stdout carries results only; everything for the eye goes to stderr. Exit codes:
0 done, 1 `--require` or `--check` not met, 2 usage or policy, 3 input unreadable or unsupported (or one component of
it: the others are written), 4 verification failed, 70 a defect of attnfuse, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import click
from rich.console import Console

from attnfuse import compiler, pass_manager, verify
from attnfuse.compiler import CompileRequest, Outcome, VerifyLevel
from attnfuse.errors import (
    AttnfuseError,
    InternalError,
    OutputError,
    PluginError,
    SourceError,
    TraceError,
    UsageError,
)
from attnfuse.output import LITE_CONFIG, MANIFEST, REPORT, VERIFICATION, Place
from attnfuse.policy import CAST_NAMES, CastName, Policy, command_line_rules, json_schema, read_policy
from attnfuse.printing import graph_as_text, graph_of_text, print_after, write_file
from attnfuse.processes import stop_once
from attnfuse.records import decisions
from attnfuse.report.explain import explain, summary
from attnfuse.report.parts import parts_document, render_parts
from attnfuse.report.require import parse_requirement
from attnfuse.report.table import human_bytes, render
from attnfuse.sources import SUFFIX, survey_source
from attnfuse.targets import RUNTIMES, SOCS, Target
from attnfuse.terminal import BarProgress, LineProgress
from attnfuse.tracing.contract import AUTO, FLOAT_DTYPES, ShapeOptions
from attnfuse.tracing.inputs import read_inputs
from attnfuse.verify import NOT_SHOWN, Verification, check_certificate, verify_component
from attnfuse.version import __version__

EXIT_UNMET = 1
EXIT_VERIFICATION = 4
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE  # as of others, which the signal kills
_WIDTH = 140  # of tables where stderr is no terminal

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main() -> NoReturn:
    """All of the console script but what `attnfuse.__main__` does before this can be imported."""
    stop_once()  # a run that is asked to stop cleans up after itself
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    stdout = sys.stdout
    try:
        code = cli.main(list(arguments), prog_name="attnfuse", standalone_mode=False)
    except click.exceptions.Abort:
        _say("interrupted; nothing was written.")
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit:
        # Of click, where the reader of stdout went away: it puts another in its place, and exits with 1.
        if sys.stdout is not stdout:
            return EXIT_BROKEN_PIPE
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _defect(error, arguments)
        _say("error: there is no space left where the result is written; free some and run again.")
        return OutputError.exit_code
    except InternalError as error:
        return _defect(error, arguments)
    except PluginError as error:
        kept = _keep(error, arguments)
        _say(f"error: {error} {'Its details could not be kept.' if kept is None else f'Details are in {kept}.'}")
        return error.exit_code
    except AttnfuseError as error:
        _say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        return _defect(error, arguments)
    return code if isinstance(code, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="attnfuse")
def cli() -> None:
    """Compile mindone diffusers pipelines to MindIR with every provable attention fused for Ascend."""


class _NamedPath(click.Path):
    """A path; the empty one, as of a shell's variable that is not set, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("a path is needed; it was given an empty one.", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _NamedPath(path_type=Path)


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_shape_options = (
    click.option(
        "--dtype",
        type=click.Choice((AUTO, *FLOAT_DTYPES)),
        help="Type to trace in.  [default: auto, that of each checkpoint; float16 for float32]",
    ),
    click.option("--batch", type=click.IntRange(1), help="Images per run."),
    click.option("--dynamic", type=click.Choice(["batch"]), help="Write graphs for any batch, where that is proved."),
    click.option("--height", type=click.IntRange(1), help="Height of the image in pixels."),
    click.option("--width", type=click.IntRange(1), help="Width of the image in pixels."),
    click.option("--sequence-length", type=click.IntRange(1), help="Text tokens."),
    click.option("--frames", type=click.IntRange(1), help="Frames of a video."),
    click.option("--guidance/--no-guidance", default=None, help="Trace for guidance in one batch, or without."),
    click.option(
        "--inputs",
        "inputs_file",
        type=_PATH,
        help="What components are called with, in TOML, for classes attnfuse does not know.",
    ),
)

_source_options = _options(
    click.argument("source"),
    click.option("--component", "components", multiple=True, metavar="NAME", help="Only this component (repeatable)."),
    *_shape_options,
    click.option("--runtime", type=click.Choice(RUNTIMES), default="lite", show_default=True, help="What loads it."),
    click.option("--soc", type=click.Choice(SOCS), default="ascend910b", show_default=True, help="What runs it."),
    click.option("--policy", "policy_file", type=_PATH, help="Rules in TOML."),
    click.option("--force-cast-dtype", type=click.Choice(CAST_NAMES), help="What float32 attention is cast to."),
    click.option("--no-flash", multiple=True, metavar="GLOB", help="Keep the formula there (repeatable)."),
    click.option("--require", multiple=True, metavar="EXPR", help="Fail unless it holds: fused==sites, deployable."),
    click.option(
        "--strict-config",
        is_flag=True,
        help="Leave out components whose configuration mindone's class does not take, instead of a warning.",
    ),
    click.option(
        "--cache-dir",
        type=_PATH,
        help="A folder for what the next compile need not trace or make again.",
    ),
    click.option(
        "--print-graph-after",
        "print_after",
        multiple=True,
        metavar="PASS",
        help="Print the graph as text after that pass, or after all (repeatable).",
    ),
    click.option("--print-graph-to", "print_to", type=_PATH, help="A folder to print it to, instead of stderr."),
    click.option("--report", "report_file", type=_PATH, help="Write the report (JSON) there too."),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout."),
    click.option("--progress", type=click.Choice(["auto", "never"]), default="auto", show_default=True),
)


@cli.command("compile")
@_source_options
@click.option("-o", "--output", type=_PATH, help="A folder, or for a .mindir a .mindir path.")
@click.option("--dry-run", is_flag=True, help="Do all but write.")
@click.option("--check", is_flag=True, help="Write nothing; fail unless OUTPUT is what would be written.")
@click.option("--verify", "level", type=click.Choice(["none", "static", "full"]), default="none", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the inputs verification draws.")
@click.option(
    "--data",
    type=_PATH,
    help="Inputs for --verify full: an .npz file, or a folder of COMPONENT.npz files or COMPONENT folders of them.",
)
def compile_command(
    output: Path | None,
    dry_run: bool,
    check: bool,
    level: VerifyLevel,
    seed: int,
    data: Path | None,
    **rest: Any,
) -> int:
    """Compile SOURCE: a pipeline folder, a hub id, demo:stable-diffusion, or a .mindir file.

    A component that cannot be traced is left out and named; the others are written, and the exit code is 3. With
    --require failed==0 nothing is written then, and the exit code is 1. Where none can be traced there is nothing to
    count: nothing is written, and the exit code is 3 either way. --check asks about OUTPUT alone: one that was written
    without such a component, and would be so now, is up to date.
    """
    if dry_run and check:
        raise UsageError("--dry-run and --check exclude each other; drop one.")
    if output is None and not dry_run:
        raise UsageError("an output is needed: give -o OUTPUT, or --dry-run.")
    shared = _Shared(**rest)
    request = dataclasses.replace(
        shared.request(), output=None if dry_run else output, check=check, verify=level, seed=seed, data=data
    )
    outcome = shared.execute(compiler.compile, request)
    code = shared.tell(outcome)
    if outcome.written:
        size = sum(found.bytes for found in (outcome.files or {}).values())
        _say(f"wrote {output} ({len(outcome.files or {})} files, {human_bytes(size)}).")
        if outcome.kept:
            _say(f"{', '.join(outcome.kept)} stayed there as before.")
        if outcome.dropped:
            _say(f"warning: {outcome.dropped}.")
    if check and not outcome.unmet:
        # What was left out is left out there too: a difference would have been raised.
        left = len(outcome.report.failed)
        _say(f"{output} is up to date{f', without the {left} left out' if left else ''}.")
        return 0
    return code


@cli.command("inspect")
@_source_options
def inspect_command(**options: Any) -> int:
    """Tell what compile would do with every attention site of SOURCE, and with its operators; nothing is written.

    For --runtime lite: the operators that would be legalised, and those of the result that MindSpore Lite does not
    take, with why and where.
    """
    shared = _Shared(**options)
    return shared.tell(shared.execute(compiler.inspect, shared.request()), operators=True)


@cli.command("components")
@_options(click.argument("source"), *_shape_options)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def components_command(source: str, dtype: str | None, inputs_file: Path | None, as_json: bool, **shapes: Any) -> int:
    """Tell what parts the pipeline SOURCE has and what each would be traced with, or why not; nothing is traced.

    Where parts do not fit together (a text encoder and the attention over its text, latents and the denoiser, a
    ControlNet and the UNet) it says so, and the exit code is 3.
    """
    given = () if inputs_file is None else read_inputs(inputs_file)
    parts = survey_source(source, dtype, ShapeOptions(**shapes), given)
    if as_json:
        click.echo(json.dumps(parts_document(parts), indent=1, ensure_ascii=False))
    else:
        click.echo(render_parts(parts), nl=False)
    told = list(dict.fromkeys(text for part in parts for text in part.contradictions))
    for text in told:
        _say(f"error: {text}")
    return SourceError.exit_code if told else 0


@cli.command("explain")
@_source_options
@click.argument("site", required=False)
def explain_command(site: str | None, **options: Any) -> int:
    """Tell in full what was found, proved and decided at SITE of SOURCE; without SITE, list the sites."""
    shared = _Shared(**options)
    outcome = shared.execute(compiler.inspect, shared.request())
    sites = {name: record for result in outcome.components for name, record in result.sites.items()}
    if site is None:
        for name, record in sites.items():
            click.echo(summary(name, record))
        return 0
    name = _find_site(site, list(sites))
    click.echo(explain(name, sites[name]), nl=False)
    return 0


def _find_site(wanted: str, names: Sequence[str]) -> str:
    """The site of that id, or the only one whose id ends in it."""
    if wanted in names:
        return wanted
    ends = [name for name in names if name.endswith(("/" + wanted, "." + wanted))]
    if len(ends) == 1:
        return ends[0]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0)
    hint = f"{len(ends)} end in it" if ends else f"the nearest is {near[0]}" if near else "there is none at all"
    raise UsageError(f"there is no single site {wanted!r} ({hint}); attnfuse explain SOURCE lists the sites.")


@cli.command("verify")
@click.argument("original", type=_PATH, required=False)
@click.argument("fused", type=_PATH, required=False)
@click.option("--certificate", type=_PATH, help="Hold the files to its digests; run nothing.")
@click.option("--level", type=click.Choice(["static", "full"]), default="full", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the inputs that are drawn.")
@click.option("--data", type=_PATH, help="Inputs to run on in place of drawn ones: an .npz file, or a folder of them.")
@click.option("--measure-memory", is_flag=True, help="Tell the peak memory of both graphs in onnxruntime instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on stdout.")
def verify_command(
    original: Path | None,
    fused: Path | None,
    certificate: Path | None,
    level: Literal["static", "full"],
    seed: int,
    data: Path | None,
    measure_memory: bool,
    as_json: bool,
) -> int:
    """Tell whether the graph FUSED (.mindir) means what ORIGINAL (.mindir) means; exit 4 where it does not.

    With --certificate FILE (a verification.json), tell whether the files are still those that were verified: both
    graphs and their weights, or, without ORIGINAL and FUSED, the compiled ones beside FILE.

    Inputs are drawn, or those of --data: arrays by the names that the manifest gives the graph's inputs, one set a file
    (docs/verification-inputs.md).
    """
    if certificate is not None and (original is None) == (fused is None):
        checked = check_certificate(certificate, original, fused)
        _say(f"{checked} files are those that {certificate} is about.")
        return 0
    if original is None or fused is None:
        raise UsageError("two graphs are needed: attnfuse verify ORIGINAL FUSED.")
    if data is not None and level == "static":
        raise UsageError("--data feeds level full; drop it or --level static.")
    files = () if data is None else verify.data_files(data, [fused.stem])[fused.stem]
    if measure_memory:
        if len(files) > 1:
            raise UsageError(
                f"--data {data} holds {len(files)} sets of inputs; memory is measured on one: name a file."
            )
        figures = verify.measure_memory(original, fused, seed, *files)
        if as_json:
            click.echo(json.dumps(figures, indent=1))
        for name, value in figures.items():
            _say(f"{name.replace('_', ' ')}: {human_bytes(value) if '_bytes' in name else value}")
        return 0
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        result = verify_component(
            name=fused.stem, original=original, fused=fused, level=level, seed=seed, work=Path(work), data=files
        )
    verification = Verification((result,))
    if as_json:
        click.echo(json.dumps(verification.to_json(), indent=1, ensure_ascii=False))
    _tell_verification(verification)
    return 0 if verification.passed else EXIT_VERIFICATION


@cli.command("text")
@click.argument("file", type=_PATH)
@click.option("--parse", is_flag=True, help="FILE is text; make the .mindir again.")
@click.option("--short", is_flag=True, help="Only the main graph, one node a line, for reading.")
@click.option("-o", "--output", type=_PATH, help="Write it there.  [default: stdout; needed with --parse]")
def text_command(file: Path, parse: bool, short: bool, output: Path | None) -> int:
    """Print the graph FILE (.mindir) as text, of which --parse makes the same bytes again.

    What a bug report needs: the text can be cut down and edited. Data that lie beside the graph stay there.
    """
    if parse and short:
        raise UsageError("--short is for reading, and --parse makes a graph of the whole text; drop one.")
    if parse and output is None:
        raise UsageError("an output is needed: give -o OUTPUT.mindir.")
    if output is not None and output.resolve() == file.resolve():
        raise UsageError(f"the output {output} is the file that is read; name another.")
    content = graph_of_text(file) if parse else graph_as_text(file, short=short).encode()
    if output is None:
        click.echo(content, nl=False)
    else:
        write_file(output, content)
    return 0


@cli.group("policy")
def policy_group() -> None:
    """Look at policies before anything is compiled."""


@policy_group.command("show")
@_source_options
def policy_show_command(**options: Any) -> int:
    """Tell what the rules decide for every attention site of SOURCE, and which of them decides."""
    shared = _Shared(**options)
    request = shared.request()
    outcome = shared.execute(compiler.inspect, request)
    shown = decisions(request.policy, outcome.components)
    if shared.as_json:
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        for site in shown:
            click.echo(f"{site['id']}: {_decision_text(site)}")
    for warning in outcome.report.warnings:
        _say(f"warning: {warning}")
    return 0


def _decision_text(site: Mapping[str, Any]) -> str:
    """`flash on (default); cast to float16 (p.toml [defaults]); float32, cross, head_dim 64, 4096 × 77`."""
    cast = site["force_cast_dtype"]
    parts = [
        f"flash {'on' if site['flash'] else 'off'} ({site['flash_rule']})",
        f"{'keep what is not 16 bits' if cast is None else f'cast to {cast}'} ({site['force_cast_dtype_rule']})",
    ]
    if site["masked_rows"] == "attended":
        parts.append(f"rows attended ({site['masked_rows_rule']})")
    lengths = [site["query_length"], site["key_length"]]
    known = [site["dtype"], site["attention"]]
    known.append(None if site["head_dim"] is None else f"head_dim {site['head_dim']}")
    known.append(None if lengths == [None, None] else " × ".join("?" if n is None else str(n) for n in lengths))
    facts = ", ".join(fact for fact in known if fact is not None)
    return "; ".join([*parts, facts] if facts else parts)


@policy_group.command("schema")
def policy_schema_command() -> int:
    """Print the JSON Schema of a policy file."""
    click.echo(json.dumps(json_schema(), indent=1))
    return 0


@cli.command("passes")
def passes_command() -> int:
    """List the installed passes in the order they run, each with its options."""
    for step in pass_manager.discover():
        click.echo(f"{step.order:>4}  {step.id}: {step.summary}  ({type(step).__module__})")
        for option in _options_of(step):
            click.echo(f"        {option} = {getattr(step, option)!r}")
    return 0


def _options_of(step: object) -> list[str]:
    return [f.name for f in dataclasses.fields(step)] if dataclasses.is_dataclass(step) else []


@dataclasses.dataclass(frozen=True, slots=True)
class _Shared:
    """The options that `compile` and `inspect` have in common."""

    source: str
    components: tuple[str, ...]
    dtype: str | None
    batch: int | None
    dynamic: Literal["batch"] | None
    height: int | None
    width: int | None
    sequence_length: int | None
    frames: int | None
    guidance: bool | None
    inputs_file: Path | None
    runtime: str
    soc: str
    policy_file: Path | None
    force_cast_dtype: CastName | None
    no_flash: tuple[str, ...]
    require: tuple[str, ...]
    strict_config: bool
    cache_dir: Path | None
    print_after: tuple[str, ...]
    print_to: Path | None
    report_file: Path | None
    as_json: bool
    progress: str

    def request(self) -> CompileRequest:
        """The request so far, without an output."""
        policy = Policy() if self.policy_file is None else read_policy(self.policy_file)
        return CompileRequest(
            source=self.source,
            components=self.components,
            dtype=self.dtype,
            shapes=ShapeOptions(
                self.batch, self.height, self.width, self.sequence_length, self.frames, self.guidance, self.dynamic
            ),
            given=() if self.inputs_file is None else read_inputs(self.inputs_file),
            target=Target(self.runtime, self.soc),
            policy=policy.and_then(command_line_rules(self.force_cast_dtype, self.no_flash)),
            require=tuple(parse_requirement(text) for text in self.require),
            cache=self.cache_dir,
            strict_config=self.strict_config,
        )

    def execute(self, action: Callable[..., Outcome], request: CompileRequest) -> Outcome:
        """Run the request with progress on stderr."""
        if self.report_file is not None:
            _check_apart("report", self.report_file, Path(self.source), request.output)
            _probe(self.report_file)
        if self.print_to is not None:
            _check_apart("folder of printed graphs", self.print_to, Path(self.source), request.output)
        if self.print_after or self.print_to is not None:
            between = print_after(self.print_after, self.print_to, pass_manager.discover(), _say_lines)
            request = dataclasses.replace(request, between=between)
        if self.progress == "never":
            return action(request)
        console = _console()
        with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
            return action(request, progress)

    def tell(self, outcome: Outcome, *, operators: bool = False) -> int:
        """Print and write the report, with `operators` each one that was legalised; the exit code it comes to."""
        document = outcome.report.to_json()
        if outcome.verification is not None:
            document["verification"] = outcome.verification.to_json()
        text = json.dumps(document, indent=1, ensure_ascii=False)
        if self.report_file is not None:
            try:
                self.report_file.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise OutputError(
                    f"the report {self.report_file} cannot be written: {error.strerror or error}."
                ) from None
        if self.as_json:
            click.echo(text)
            for warning in outcome.report.warnings:  # which the table has among its lines
                _say(f"warning: {warning}")
        else:
            _console().print(render(outcome.report, operators=operators))
        if outcome.trouble:
            _say(f"warning: {outcome.trouble}; the next compile may take longer.")
        for failed in outcome.report.failed:
            _say(f"error: component {failed.name} was left out: {failed.reason}.")
        for unmet in outcome.unmet:
            _say(f"error: {unmet}; nothing was written.")
        if outcome.verification is not None:
            _tell_verification(outcome.verification)
            if not outcome.verification.passed:
                _say("error: verification failed; nothing was written.")
                return EXIT_VERIFICATION
        if outcome.unmet:
            return EXIT_UNMET
        return TraceError.exit_code if outcome.report.failed else 0


def _tell_verification(verification: Verification) -> None:
    for component in verification.components:
        if component.passed:
            _say(f"{component.name}: verified ({component.level}; {', '.join(component.executors)})")
        for figures in component.outputs:
            _say(
                f"{component.name}: output {figures.output}: relative error {figures.fused:.2e}, "
                f"of the formula {figures.formula:.2e}, allowed {figures.bound:.2e}"
            )
        worst = max(component.sites, key=lambda site: site.figures.fused, default=None)
        if worst is not None:
            count = len({site.figures.output for site in component.sites})  # of any batch each is run at several
            _say(
                f"{component.name}: {count} sites each alone: relative error at most "
                f"{worst.figures.fused:.2e} (allowed there {worst.figures.bound:.2e})"
            )
        for file in component.data:
            _say(f"{component.name}: run on {file.name} (sha256 {file.sha256})")
        for note in component.notes:
            _say(f"{component.name}: note: {note}")
        for warning in component.warnings:
            _say(f"warning: {component.name}: {warning}")
        for finding in component.findings:
            _say(f"{component.name}: DIFFERS: {finding}")
    _say(f"not shown: {'; '.join(NOT_SHOWN)}")


def _check_apart(what: str, report: Path, source: Path, output: Path | None) -> None:
    """Raise UsageError where the report, or `what`, would be written over, or into, the source or the output."""
    path = report.resolve()
    for other in filter(None, (source, output)):
        held = other.resolve()
        graph = held if held.suffix == SUFFIX else None
        # Weights beside a graph lie in a folder of this name, and those of source and output may be one file.
        among_weights = graph is not None and any(
            folder.parent == graph.parent and folder.name.endswith("_variables") for folder in path.parents
        )
        if path == held or held in path.parents or among_weights:
            raise UsageError(f"the {what} {report} would lie in or over {other}; name another place for it.")
    if output is not None and output.suffix == SUFFIX:
        target = Place(output.resolve(), is_file=True)
        if path in (target.folder / target.beside(name) for name in (MANIFEST, REPORT, VERIFICATION, LITE_CONFIG)):
            raise UsageError(f"the {what} {report} would lie over what is written beside {output}; name another place.")


def _probe(file: Path) -> None:
    """Raise OutputError, before the long work, where a report cannot be written."""
    try:
        if file.is_dir():
            raise OutputError(f"the report {file} is a folder; name a file.")
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise OutputError(f"the report {file} cannot be written: {error.strerror or error}.") from None


def _console() -> Console:
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=_WIDTH)


def _say(text: str) -> None:
    click.echo(" ".join(text.split()), err=True)


def _say_lines(text: str) -> None:
    click.echo(text, err=True)


def _defect(error: Exception, arguments: Sequence[str]) -> int:
    """Say that this is a defect of ours, and where what reproduces it lies; a traceback is not for the terminal."""
    file = _keep(error, arguments)
    kept = "; its details could not be kept" if file is None else f"; please report it with {file}"
    _say(f"error: a defect of attnfuse: {type(error).__name__}: {error}{kept}")
    return EXIT_DEFECT


def _keep(error: Exception, arguments: Sequence[str]) -> str | None:
    """Write down what is needed to reproduce a defect; the file's name, None where it cannot be written."""
    content = {
        "attnfuse": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "arguments": list(arguments),
        "error": f"{type(error).__name__}: {error}",
        "traceback": traceback.format_exception(error),
    }
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="attnfuse-defect-", suffix=".json", delete=False, encoding="utf-8"
        ) as file:
            json.dump(content, file, indent=1)
            return file.name
    except OSError:
        return None
