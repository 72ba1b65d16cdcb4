"""A small pipeline whose traces are a stand-in's, and a worker in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from attnfuse import incremental
from attnfuse.cache import traces as traces_package
from attnfuse.farm import batch
from attnfuse.farm import perform as perform_package
from attnfuse.farm.local import Ended
from attnfuse.farm.perform import perform
from attnfuse.farm.units import Answer
from attnfuse.serialisation import parse_json
from attnfuse.tracing.demo import write_json
from tests.support.checkpoints import SD21_UNET
from tests.support.console import inside
from tests.support.tracer import Trace, Tracer, stand_in, write_weights


class Here:
    """Does units in this process, in order."""

    count = 1

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        for digest, text in texts.items():
            yield digest, parse_json(Answer, perform(text))


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracer:
    """What traces; the sources of what does are of long ago."""
    found = Tracer()
    trace_by(found, monkeypatch, tmp_path / "sources")
    return found


def trace_by(tracer: Trace, patch: pytest.MonkeyPatch, sources: Path) -> None:
    """Have that trace; its sources are a module of long ago in that folder."""
    stand_in(patch, tracer)
    sources.mkdir(parents=True)
    (sources / "module.py").write_text("")
    os.utime(sources / "module.py", (0, 0))
    patch.setattr(traces_package, "_sources", lambda: [sources])
    patch.setattr(traces_package, "version", lambda name: "1.0")
    patch.setattr(incremental, "_places", lambda name: [sources])
    patch.setattr(perform_package, "_known", {})


@pytest.fixture
def compiles_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles of a batch are run in this process, one after the other, and import nothing again."""
    compile_here(monkeypatch)


def compile_here(patch: pytest.MonkeyPatch) -> None:
    """See the fixture."""

    def run(commands: Mapping[str, Sequence[str]], count: int, settings: object) -> Iterator[tuple[str, Ended]]:
        for name, command in commands.items():
            assert list(command[1:4]) == ["-m", "attnfuse", "compile"]
            done = inside(*command[3:])
            yield name, Ended(done.returncode, done.stdout, done.stderr, 1.0)

    patch.setattr(batch, "run_each", run)


def write_pipeline(folder: Path) -> Path:
    """A pipeline of one UNet."""
    (folder / "unet").mkdir(parents=True)
    write_json(folder / "unet" / "config.json", SD21_UNET)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", index)
    write_weights(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder
