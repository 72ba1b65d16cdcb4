"""What a loop is made of: graphs, and the configurations and tokenizers of the pipeline that they are from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from attnfuse_runtime import schedulers
from attnfuse_runtime.backends import Backend, Devices
from attnfuse_runtime.errors import FolderError, PipelineError
from attnfuse_runtime.families import Family, Setup, TextEncoder
from attnfuse_runtime.families.base import DECODER, has_part
from attnfuse_runtime.files import read_json, read_vae
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.tokenizer import Tokenizer

AnyFamily = TypeVar("AnyFamily", bound=Family)
AnyLoop = TypeVar("AnyLoop", bound="Loop[Any]")


class Loop(Generic[AnyFamily]):
    """The loop over a folder's graphs; `KINDS` are the kinds of pipelines that it is for."""

    KINDS: ClassVar[Mapping[str, Any]]

    def __init__(self, pipeline: Pipeline, source: Path | None = None) -> None:
        """`source` is the folder of the pipeline that the graphs were made of; None where their own holds all of it.

        Raises PipelineError where there is no loop for it, a graph is missing or graphs do not go together, FolderError
        where a file is missing, SchedulerError where its scheduler is not supported.
        """
        self.pipeline = pipeline
        self._families: list[AnyFamily] = families_of(pipeline, source, self.KINDS)
        self.scheduler = self._families[0].scheduler

    @classmethod
    def from_folder(
        cls: type[AnyLoop],
        folder: str | os.PathLike[str],
        source: str | os.PathLike[str] | None = None,
        backend: str | Backend = "lite",
        devices: Devices = None,
    ) -> AnyLoop:
        """The loop over a folder that attnfuse wrote, of the pipeline in `source` where that is told.

        Raises as `Pipeline` and this do.
        """
        pipeline = Pipeline.from_folder(folder, backend, devices)
        return cls(pipeline, None if source is None else Path(source))


def families_of(pipeline: Pipeline, source: Path | None, kinds: Mapping[str, type[AnyFamily]]) -> list[AnyFamily]:
    """The kind of pipeline that the graphs are of, over those of each size, the first first.

    `source` is the folder of the pipeline that the graphs were made of; None where their own holds all of it. Raises
    PipelineError where it is none of `kinds`, a graph is missing or graphs do not go together, FolderError where a file
    is missing, SchedulerError where its scheduler is not supported.
    """
    folder = _own(pipeline) if source is None else source
    index = read_json(folder / "model_index.json")
    kind = _kind(index, kinds)
    check_graphs(pipeline, kind.graphs(index))
    check_shapes(pipeline)
    scheduler = schedulers.from_config(read_json(folder / "scheduler" / "scheduler_config.json"))
    vae = {**_of_weights(pipeline), **read_vae(folder / "vae" / "config.json")}
    tokenizers = {
        name: Tokenizer.from_folder(folder / name.replace("text_encoder", "tokenizer"))
        for name in kind.ENCODERS
        if has_part(index, name)
    }

    def family(of: Pipeline) -> AnyFamily:
        made = {name: TextEncoder(of, name, tokenizer) for name, tokenizer in tokenizers.items()}
        return kind(Setup(of, index, scheduler, vae, made, folder))

    return [family(pipeline.at(size)) for size in pipeline.manifest.sizes] or [family(pipeline)]


def check_graphs(pipeline: Pipeline, names: Iterable[str]) -> None:
    """Raise PipelineError where one of these is not there."""
    missing = [name for name in names if name not in pipeline.names]
    if missing:
        raise PipelineError(f"{pipeline.manifest.folder} lacks {', '.join(missing)}; compile those too.")


def check_shapes(pipeline: Pipeline) -> None:
    """Raise PipelineError where the decoder takes no latents, or gives no pictures."""
    decoder = pipeline.manifest.components[DECODER]
    first = [*decoder.inputs[:1], *decoder.outputs[:1]]
    if len(first) < 2 or any(len(one.shape) not in (4, 5) for one in first):
        raise PipelineError(
            f"the graph {decoder.name} is none from latents to pictures, of [rows, channels, (frames,) height, width]; "
            "compile it for this pipeline."
        )


def _of_weights(pipeline: Pipeline) -> dict[str, Any]:
    """What the manifest says of the VAE's latents where it is among the weights, and in no configuration."""
    told = pipeline.manifest.pipeline.get("vae") or {}
    return {name: told[name] for name in ("latents_mean", "latents_std") if told.get(name) is not None}


def _kind(index: Mapping[str, Any], kinds: Mapping[str, type[AnyFamily]]) -> type[AnyFamily]:
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in kinds:
        raise PipelineError(
            f"there is no loop for {name}, but for {', '.join(sorted(kinds))}; call the components of "
            "attnfuse_runtime.Pipeline one by one."
        )
    return kinds[name]


def _own(pipeline: Pipeline) -> Path:
    """The folder of the graphs, for one that holds the pipeline's configuration."""
    folder = pipeline.manifest.folder
    if not (folder / "model_index.json").is_file():
        raise FolderError(
            f"{folder} has graphs and no pipeline: it lacks model_index.json; give the folder of the pipeline that was "
            "compiled as `source`."
        )
    return folder
