"""`README.md` of an output folder: what lies there, and what to do with it on the host with the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attnfuse.deployment.lite import lite_series
from attnfuse.names import counted
from attnfuse.output import CONVERT, MANIFEST, REPORT, VERIFICATION
from attnfuse.report.model import ONLY_GRAPHS, Manifest, ManifestComponent, ManifestInput, ManifestPipeline, Report
from attnfuse.report.units import human_bytes
from attnfuse.tracing.contract import TensorSpec


def readme(manifest: Manifest, report: Report) -> str:
    """The text, of the output's manifest and report."""
    title = (manifest.pipeline and manifest.pipeline.class_name) or ", ".join(one.name for one in manifest.components)
    parts = [
        f"# {title} for {_runtime(manifest)} on {manifest.soc}",
        _made(manifest, report),
        "\n".join(_table(manifest)),
        "\n".join(_pipeline(manifest.pipeline)),
        "## Environment\n\n" + _environment(manifest),
        "## Convert\n\n" + _convert(manifest),
        "## Run\n\n" + _run(manifest),
        "## Compare\n\n" + _compare(manifest),
        "## Not verified\n\n" + "\n".join(f"- {text}" for text in _not_verified(manifest, report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _runtime(manifest: Manifest) -> str:
    return "MindSpore Lite" if manifest.runtime == "lite" else "MindSpore"


def _made(manifest: Manifest, report: Report) -> str:
    # Nodes that the source had fused already are among both.
    fused, sites = report.totals.fused, report.totals.sites
    origin = ONLY_GRAPHS if manifest.pipeline is None else manifest.pipeline.origin
    text = (
        f"Compiled by attnfuse {manifest.versions['attnfuse']} of {origin}; attention is fused "
        f"at {fused} of {counted(sites, 'site')} ({REPORT} tells each). {MANIFEST} has all that follows, for programs."
    )
    if not report.failed:
        return text
    return f"{text} Not compiled: {', '.join(one.name for one in report.failed)}."


def _table(manifest: Manifest) -> Iterator[str]:
    yield "| component | graph | size with weights | takes | gives |"
    yield "|---|---|---|---|---|"
    for one in manifest.components:
        size = sum(manifest.outputs[name].bytes for name in (one.graph, *one.variables) if name in manifest.outputs)
        inputs = ", ".join(map(_input, one.inputs))
        outputs = ", ".join(map(_tensor, one.outputs))
        yield f"| {one.name} | {_code(one.graph)} | {human_bytes(size)} | {inputs} | {outputs} |"


def _input(spec: ManifestInput) -> str:
    made = "" if spec.converted_dtype in (None, spec.dtype) else f", converted {spec.converted_dtype}"
    return f"{_code(_text(spec))}{made}"


def _tensor(spec: TensorSpec) -> str:
    return _code(_text(spec))


def _text(spec: ManifestInput | TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}{list(spec.shape)}"


def _code(text: str) -> str:
    """Text as code, in a table too."""
    return f"`{text.replace('`', ' ').replace('|', ' ')}`"


def _pipeline(pipeline: ManifestPipeline | None) -> Iterator[str]:
    """What the graphs are for, and fixed to."""
    if pipeline is None:
        return
    if pipeline.height is not None and pipeline.width is not None:
        frames = "" if pipeline.frames is None else f", {pipeline.frames} frames"
        yield f"- Compiled for {pipeline.height} × {pipeline.width} pixels{frames}."
    for size in pipeline.sizes[1:]:
        graphs = ", ".join(_code(name) for name in size.components.values())
        yield f"- For {size.width}x{size.height}, batch {size.batch}, in their places: {graphs}."
    if pipeline.guidance_rows is not None:
        yield f"- {counted(pipeline.guidance_rows, 'row')} an image: {_guidance(pipeline.guidance_rows)}."
    for name, length in pipeline.text_lengths.items():
        yield f"- {name} takes {counted(length, 'token')}."
    if pipeline.files:
        yield f"- As in the source, for tokenizers, scheduler and a loop: {', '.join(map(_code, pipeline.files))}."


def _guidance(rows: int) -> str:
    """What so many rows an image come to; what each is for stands beside the component, as `guidance_rows`."""
    told = {1: "guidance takes two runs", 2: "both halves of guidance in one run"}
    return told.get(rows, "all that guidance takes in one run")


def _environment(manifest: Manifest) -> str:
    mindspore = manifest.versions.get("mindspore")
    if manifest.runtime != "lite":
        version = "the MindSpore that traced the graphs" if mindspore is None else f"MindSpore {mindspore}"
        return f"A host of {manifest.soc} with CANN and {version}."
    version = "of the MindSpore that traced the graphs" if mindspore is None else lite_series(mindspore)
    told = (
        f"A host of {manifest.soc} with CANN, its environment set (`source .../set_env.sh`), and MindSpore Lite "
        f"{version}: converter_lite in PATH and, to run from Python, the wheel that comes with it and that of "
        "attnfuse-runtime, which `pip wheel --no-deps ./runtime` makes in a checkout of attnfuse."
    )
    if not manifest.judged_by:
        return told
    tables = "\n".join(f"- {what}: {version}" for what, version in manifest.judged_by.items())
    return (
        f"{told}\n\nWhat the host takes was judged by these tables, and by no device; other versions may take more, "
        f"or less:\n\n{tables}"
    )


def _convert(manifest: Manifest) -> str:
    if manifest.runtime != "lite":
        return "Nothing is converted: `mindspore.load` reads the graphs."
    return (
        f"    bash {CONVERT} ../converted\n\n"
        "converts each graph with its configuration in `configs/`, and stops at the first failure. Graphs need not be "
        "converted: MindSpore Lite does it each time one is loaded."
    )


def _run(manifest: Manifest) -> str:
    if manifest.runtime != "lite":
        return "    graph = mindspore.nn.GraphCell(mindspore.load(FILE))"
    calls = "".join(map(_call, manifest.components[:1]))
    components = _COMPONENTS.format(calls=calls)
    pipeline = manifest.pipeline
    if pipeline is None or not pipeline.class_name:
        return components
    loop = _LOOP if pipeline.frames is None else _FILMS
    return f"{loop.format(kind=pipeline.class_name)}\n{components}"


_LOOP = """\
    from attnfuse_runtime.text_to_image import TextToImage
    loop = TextToImage.from_folder(".", backend="lite", devices=0)
    loop("a photo of an astronaut", steps=20, seed=42).images[0].save("../picture.png")

where attnfuse-runtime has a loop for {kind}; else it says so. A pipeline that takes pictures is given them too, as
`image=`, `mask=` and `control_image=`, each Pillow's and of the size that was compiled. `attnfuse run . --prompt TEXT
-o ../picture.png` does the same without a device. Keep pictures out of this folder: a compile replaces it only as long
as all in it is its own.
"""


_FILMS = """\
    from attnfuse_runtime.films import encoded
    from attnfuse_runtime.text_to_video import TextToVideo
    loop = TextToVideo.from_folder(".", backend="lite", devices=0)
    made = loop("a cat in the snow", steps=30, seed=42)
    open("../film.webp", "wb").write(encoded(made.films[0], ".webp", made.frame_rate))

where attnfuse-runtime has a loop for {kind}; else it says so. A pipeline that begins with a picture is given it as
`image=`, Pillow's. `attnfuse run . --prompt TEXT -o ../film.webp` does the same without a device. Keep films out of
this folder: a compile replaces it only as long as all in it is its own.
"""


_COMPONENTS = """\
Component by component:

    from attnfuse_runtime import Pipeline
    pipeline = Pipeline.from_folder(".", backend="lite", devices=0)
{calls}
`attnfuse_runtime.backends.LiteBackend(0, files={{"NAME": PATH}})` in the place of "lite" takes converted graphs. With
`attnfuse[verify]`, `backend="cpu"` computes what the graphs mean without a device."""


def _call(component: ManifestComponent) -> str:
    inputs = ", ".join(f"{one.name}=..." for one in component.inputs)
    return f'    pipeline["{component.name}"]({inputs})\n'


def _compare(manifest: Manifest) -> str:
    told = (
        "    attnfuse verify SOURCE .\n\n"
        "holds every graph to that of the source, in numbers, on a host without a device; `attnfuse verify .` holds "
        f"files to their digests, and tells what `{VERIFICATION}`, where there is one, says of these files."
    )
    if not (manifest.pipeline and manifest.pipeline.class_name):
        return told
    pictures = "`attnfuse compare . --against SOURCE` compares pictures. `align.py`, where there is one, holds a device"
    measured = "`measure.py`, beside it, measures: `attnfuse report . --measured FOLDER` reads what it leaves."
    return f"{told} {pictures} to numbers of the unfused graphs. {measured}"


def _not_verified(manifest: Manifest, report: Report) -> Iterator[str]:
    yield "Nothing here was run on a device, or through CANN's compiler."
    yield f"Numbers were compared where `{VERIFICATION}` says so, and nowhere else."
    totals: Mapping[str, int] = {one.name: one.totals.unsupported for one in report.components}
    for name, count in totals.items():
        if count:
            nodes = counted(count, "node")
            yield f"{name} has {nodes} that {_runtime(manifest)} does not take: `unsupported` in {REPORT}."
    if any(size < 0 for one in manifest.components for spec in one.inputs for size in spec.shape):
        yield "Sizes of -1 are open; estimates and checks of sizes are of the batches in `configs/`, or none."
