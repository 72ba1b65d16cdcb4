"""The options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from attnfuse.cli.sizes import size_option
from attnfuse.errors import UsageError
from attnfuse.names import counted, nearest
from attnfuse.policy import CAST_NAMES
from attnfuse.store.places import KEY_VARIABLE, place_of
from attnfuse.targets import RUNTIMES, SOCS
from attnfuse.targets.names import soc_named
from attnfuse.tracing.contract import AUTO, DEFAULT_WAY, FLOAT_DTYPES, Fetch, ShapeOptions, Way

Command = TypeVar("Command", bound=Callable[..., Any])


class NamedPath(click.Path):
    """A path; the empty one, as of a shell's variable that is not set, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("a path is needed; it was given an empty one.", param, ctx)
        return super().convert(value, param, ctx)


class CachePlace(NamedPath):
    """A folder, or a place by its URL."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            place = place_of(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)
        if isinstance(place, str):
            return place
        return super().convert(place if "://" in str(value) else value, param, ctx)


class SocName(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases
    """A SoC, by its name or that of a board."""

    name = "soc"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return soc_named(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(SOCS)}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in SOCS if name.startswith(incomplete.lower())]


class Dtypes(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases
    """A type for all components, or `NAME=TYPE` for one, several of these parted by commas: (name, type) of each."""

    name = "types"
    _KNOWN = (AUTO, *FLOAT_DTYPES)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[str, str], ...]:
        found = []
        for text in str(value).split(","):
            name, equals, dtype = (part.strip() for part in text.rpartition("="))
            if dtype not in self._KNOWN or (equals and not name):
                self.fail(
                    f"{text!r} is no type; give one of {', '.join(self._KNOWN)}, or NAME=TYPE for one component"
                    f"{self._meant(dtype)}",
                    param,
                    ctx,
                )
            found.append((name, dtype))
        return tuple(found)

    def _meant(self, dtype: str) -> str:
        near = nearest(dtype, self._KNOWN)
        return "." if near is None else f"; did you mean {near}?"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        begun, last = re.fullmatch(r"((?:.*[,=])?)([^,=]*)", incomplete, re.DOTALL).groups()  # type: ignore[union-attr]
        return [CompletionItem(f"{begun}{name}") for name in self._KNOWN if name.startswith(last)]


PATH = NamedPath(path_type=Path)
CACHE_PLACE = CachePlace(path_type=Path)


_LEAST = 2**26
"""Bytes: less than any program of Python that imports numpy takes."""


def size(value: str) -> int:
    """A number of bytes: `8GiB`, `8G` (the same), `512MiB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(?:i?B)?", value, re.IGNORECASE)
    number = 0.0 if found is None else float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")
    count = int(number) if number < 2**63 else 0
    if count <= 0:
        raise click.BadParameter(f"{value!r} is no size; give one such as 8GiB.")
    if count < _LEAST:
        raise click.BadParameter(
            f"{value!r} is {counted(count, 'byte')}, which nothing can do with; write 8GiB for 8 GiB."
        )
    return count


def length(value: str) -> tuple[str, int]:
    """A number of tokens, `154` (of no name), or that of one component, `unet=154`."""
    name, equals, number = value.rpartition("=")
    if re.fullmatch("0*[1-9][0-9]{0,8}", number) is None or (equals and not name):
        raise click.BadParameter(f"{value!r} is no length; give a number of tokens, or NAME=N for one component.")
    return name, int(number)


def max_memory(command: Command) -> Command:
    """What verification may hold."""
    return click.option("--max-memory", type=size, metavar="SIZE", help="What verification may hold, such as 8GiB.")(
        command
    )


SHAPES = (
    "batch",
    "height",
    "width",
    "sequence_lengths",
    "frames",
    "guidance",
    "dynamic",
    "timestep_dtype",
    "clip_skip",
    "dtypes",
)
"""What of `shape_options`, as the command's parameters are called, says which shapes and types inputs have."""


def shapes_of(options: Mapping[str, Any]) -> ShapeOptions:
    """What `shape_options` say of shapes. Raises UsageError where they say two things of one."""
    lengths: dict[str, int] = {}
    for name, length in options["sequence_lengths"]:
        if lengths.setdefault(name, length) != length:
            of = f" of {name}" if name else ""
            raise UsageError(f"--sequence-length{of} is given twice, {lengths[name]} and {length}; drop one.")
    plain = lengths.pop("", None)
    types = _types(options)
    types.pop("", None)
    return ShapeOptions(
        **{name: options[name] for name in SHAPES if name not in ("sequence_lengths", "dtypes")},
        sequence_length=plain,
        sequence_lengths=tuple(lengths.items()),
        dtypes=tuple(types.items()),
    )


def refuse_given(context: click.Context, parameters: Collection[str], why: str) -> None:
    """Raise UsageError for one of these that the command line gives: what it asks for would not be done."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in parameters and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{parameter.opts[0]} {why}")


def dtype_of(options: Mapping[str, Any]) -> str | None:
    """The type that `shape_options` name for all components. Raises UsageError where they name two for one."""
    return _types(options).get("")


def _types(options: Mapping[str, Any]) -> dict[str, str]:
    """Types by the names of components; that for all has none."""
    types: dict[str, str] = {}
    for name, dtype in (one for several in options["dtypes"] for one in several):
        if types.setdefault(name, dtype) != dtype:
            of = f" of {name}" if name else ""
            raise UsageError(f"--dtype{of} is given twice, {types[name]} and {dtype}; drop one.")
    return types


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """The options as one decorator, in the order in which help lists them."""

    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


shape_options = (
    click.option(
        "--dtype",
        "dtypes",
        type=Dtypes(),
        multiple=True,
        metavar="[NAME=]TYPE",
        help="Data type to trace in, of all components or of one (unet=float16,vae=float32; repeatable): auto, float16,"
        " bfloat16 or float32.  [default: auto, that of each checkpoint; float16 for float32]",
    ),
    click.option("--batch", type=click.IntRange(1), help="Images per run."),
    click.option("--dynamic", type=click.Choice(["batch"]), help="Graphs are for any batch, where that is proved."),
    click.option("--height", type=click.IntRange(1), help="Height of the image in pixels."),
    click.option("--width", type=click.IntRange(1), help="Width of the image in pixels."),
    click.option(
        "--sequence-length",
        "sequence_lengths",
        type=length,
        multiple=True,
        metavar="[NAME=]N",
        help="Text tokens, of all components or of one (unet=154; repeatable).",
    ),
    click.option(
        "--timestep-dtype",
        type=click.Choice(["float32", "int64"]),
        help="Data type of the scheduler's timesteps.  [default: as the scheduler has them]",
    ),
    click.option(
        "--clip-skip",
        type=click.IntRange(1),
        metavar="N",
        help="Skip the last N layers of CLIP, as pipelines' clip_skip does.",
    ),
    click.option("--frames", type=click.IntRange(1), help="Frames of a video."),
    click.option("--guidance/--no-guidance", default=None, help="Trace for guidance in one batch, or without."),
    click.option(
        "--inputs",
        "inputs_file",
        type=PATH,
        help="Calls of components (TOML), for classes that attnfuse does not know.",
    ),
)

component_option = click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME",
    help="Only this component, or all of this part: vae is both of its halves (repeatable).",
)

target_options = (
    click.option("--runtime", type=click.Choice(RUNTIMES), default="lite", show_default=True, help="Target runtime."),
    click.option(
        "--soc",
        type=SocName(),
        default="ascend910b",
        show_default=True,
        help="Target SoC, or a board as npu-smi names it: 910B4, 310P3.",
    ),
    click.option("--policy", "policy_file", type=PATH, help="Policy file (TOML)."),
    click.option(
        "--force-cast-dtype", type=click.Choice(CAST_NAMES), help="Data type that float32 attention is cast to."
    ),
    click.option("--no-flash", multiple=True, metavar="GLOB", help="Keep matching attention unfused (repeatable)."),
    click.option(
        "--pass",
        "pass_options",
        multiple=True,
        metavar="NAME.OPTION=VALUE",
        help="Set an option of a pass (repeatable); attnfuse passes lists them.",
    ),
)


def _one(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str:
    """The one value of an option, or nothing; of several the last would win in silence."""
    if len(values) > 1:
        raise click.BadParameter(f"it is given {len(values)} times; one is supported.")
    if values and not values[0]:
        raise click.BadParameter("a file is needed; it was given an empty one.")
    return values[0] if values else ""


def fetch_of(options: Mapping[str, Any]) -> Fetch:
    """Which files of a source are read, by the options that say so."""
    names = ("revision", "subfolder", "variant", "offline", "config", "vae", "ip_adapter")
    return Fetch(**{name: options[name] for name in names if name in options})


#: Of what is read beside SOURCE.
beside_options = (
    click.option(
        "--config",
        default="",
        metavar="FOLDER",
        help="Pipeline (folder or hub id) with what SOURCE, one file of weights, has not: configurations, tokenizers.",
    ),
    click.option(
        "--vae", default="", metavar="FOLDER", help="VAE (folder or hub id) that takes the place of the pipeline's."
    ),
    click.option(
        "--ip-adapter",
        multiple=True,
        callback=_one,
        metavar="FILE[@SCALE]",
        help="Give the UNet an IP-Adapter, with a scale of 1 or that one where a run says nothing else.",
    ),
)


Checked = Callable[[click.Context, click.Parameter, Path | None], Path | None]


def _of_a_cache(context: click.Context, _: click.Parameter, key: Path | None) -> Path | None:
    """The key. Refused where the command line names one and no cache; of the environment it may be for other runs."""
    is_named = context.get_parameter_source("cache_key") is ParameterSource.COMMANDLINE
    if is_named and context.params.get("cache_dir") is None:
        raise click.UsageError("--cache-key signs entries of a cache, and there is none; give --cache-dir too.")
    return key


def _cache_key(check: Checked | None = None) -> Callable[[Command], Command]:
    return click.option(
        "--cache-key",
        type=PATH,
        callback=check,
        envvar=KEY_VARIABLE,
        metavar="FILE",
        help=f"Sign entries of the cache with what FILE holds, and take no others.  [env var: {KEY_VARIABLE}]",
    )


_cache_dir = click.option(
    "--cache-dir",
    type=CACHE_PLACE,
    is_eager=True,  # known before the key, which is of it
    metavar="PLACE",
    help="Cache, a folder or a URL (s3://bucket/farm): traces and results that the next compile takes over.",
)
cache_key_option = _cache_key()
cache_options = (_cache_dir, cache_key_option)

trace_options = (
    *beside_options,
    click.option("--variant", default="", metavar="NAME", help="Weights of this variant, where a part has it: fp16."),
    click.option("--revision", metavar="NAME", help="Branch, tag or commit of a hub repository."),
    click.option("--subfolder", default="", metavar="PATH", help="Folder within SOURCE that is compiled."),
    click.option("--offline", is_flag=True, help="Use what the hub's cache has; fetch nothing."),
    click.option(
        "--lora",
        "loras",
        multiple=True,
        metavar="FILE[:SCALE]",
        help="Merge a LoRA into the weights, with a scale of 1 or that one (repeatable).",
    ),
    click.option(
        "--textual-inversion",
        "inversions",
        multiple=True,
        metavar="FILE[:TOKEN]",
        help="Give text encoders and tokenizers the vectors of a file, as its token or that one (repeatable).",
    ),
    click.option(
        "--strict-config",
        is_flag=True,
        help="Leave out components whose configuration mindone's class does not take, instead of a warning.",
    ),
    click.option(
        "--trace",
        type=click.Choice(get_args(Way)),
        default=DEFAULT_WAY,
        show_default=True,
        help="Trace each distinct block once, or the whole model as one graph.",
    ),
    _cache_dir,
    _cache_key(_of_a_cache),
)

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Components to trace at a time.  [default: as many as cores, fewer where memory is short]",
)

progress_option = click.option(
    "--progress",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="Show what is being done on stderr, a bar on a terminal and lines elsewhere.",
)

log_options = (
    click.option("-v", "--verbose", is_flag=True, help="Tell versions, decisions and what each stage took on stderr."),
    click.option("--log-file", type=PATH, help="Write that to this file too, each line with its time."),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result, or an error, as JSON on stdout.")

require_option = click.option(
    "--require",
    multiple=True,
    metavar="EXPR",
    help="Fail unless this holds: fused==sites, deployable, bytes<=0.5 (repeatable).",
)

#: Of every command that takes a source through the passes.
census_options = with_options(
    click.argument("source"),
    component_option,
    click.option(
        "--exclude", multiple=True, metavar="NAME", help="Not this component, or nothing of this part (repeatable)."
    ),
    *shape_options,
    size_option,
    *target_options,
    click.option(
        "--strict-policy", is_flag=True, help="Fail where a rule of the policy, or a --no-flash, matches no site."
    ),
    *trace_options,
    jobs_option,
    click.option(
        "--print-graph-after",
        "print_after",
        multiple=True,
        metavar="PASS",
        help="Print the graph as text after that pass, or after all (repeatable).",
    ),
    click.option("--time-passes", is_flag=True, help="Print how long each pass took, on stderr."),
    click.option("--print-graph-to", "print_to", type=PATH, help="Folder to print graphs to, instead of stderr."),
    json_option,
    progress_option,
    *log_options,
)

#: Of those whose result is the report.
source_options = with_options(
    census_options,
    require_option,
    click.option("--report", "report_file", type=PATH, help="Also write the report (JSON) to this file."),
)
