"""Folders given to the runtime: manifest, configurations, scheduler and tokenizers, to a picture of two steps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse.names import leads_out
from attnfuse.pictures.recording import Recording
from attnfuse.pictures.running import Asked, own_errors, run_pipeline
from attnfuse_runtime import schedulers
from attnfuse_runtime.errors import BackendError
from attnfuse_runtime.files import read_json
from attnfuse_runtime.manifest import MANIFEST, SCHEMA, Component, Tensor, read_manifest
from attnfuse_runtime.noise import Array
from attnfuse_runtime.pipeline import Pipeline
from attnfuse_runtime.tokenizer import Tokenizer
from tests.support.loop_models import components, write_pipeline
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json

SCHEDULER = "scheduler/scheduler_config.json"
_LARGEST = 1 << 20
"""Numbers of an output that is made up."""
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_SCHEDULERS: Mapping[str, Mapping[str, Any]] = {
    "DDIMScheduler": {"clip_sample": False, "set_alpha_to_one": False},
    "DPMSolverMultistepScheduler": {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    "EulerDiscreteScheduler": {"timestep_spacing": "leading", "use_karras_sigmas": True},
    "EulerAncestralDiscreteScheduler": {"timestep_spacing": "trailing"},
    "PNDMScheduler": {"skip_prk_steps": True},
    "UniPCMultistepScheduler": {"solver_order": 2, "prediction_type": "v_prediction"},
}
_FLOWS: tuple[Mapping[str, Any], ...] = (
    {"shift": 3.0},
    {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "time_shift_type": "linear"},
    {"use_karras_sigmas": True, "shift_terminal": 0.02},
)


def _entry(component: Component) -> dict[str, Any]:
    def told(tensors: tuple[Tensor, ...]) -> list[dict[str, Any]]:
        return [{"name": one.name, "shape": list(one.shape), "dtype": one.dtype} for one in tensors]

    return {
        "name": component.name,
        "owner": component.owner,
        "graph": f"{component.name}_graph.mindir",
        "variables": [f"{component.name}_variables/data_0"],
        "inputs": told(component.inputs),
        "outputs": told(component.outputs),
        "fixed": [{"name": "clip_skip", "value": 0}],
        "config": f"configs/{component.name}.cfg",
        "base": None,
    }


@cache
def _seeds() -> tuple[Seed, ...]:
    seeds = []
    for kind in ("sd", "xl", "sd3", "flux"):
        with tempfile.TemporaryDirectory() as made:
            write_pipeline(Path(made), kind)
            files = {path.relative_to(made).as_posix(): path.read_bytes() for path in sorted(Path(made).rglob("*.*"))}
        entries = [_entry(one) for one in components(kind).values()]
        own = sorted(files)
        for entry in entries:
            files |= dict.fromkeys((entry["graph"], *entry["variables"], entry["config"]), b"x")
        sizes: list[dict[str, Any]] = [
            {"label": label, "height": 16, "width": 8, "batch": 1, "components": {}, "frames": None}
            for label in ("", "16x8")
        ]
        manifest = {
            "schema": SCHEMA,
            "runtime": "lite",
            "soc": "ascend910b",
            "pipeline": {"files": own, "height": 16, "width": 8, "sizes": sizes if kind == "xl" else []},
            "components": entries,
            "outputs": {name: {"sha256": "0" * 64, "bytes": len(content)} for name, content in files.items()},
        }
        # Sizes of what is changed need not agree for what is read to be reached.
        manifest["pipeline"]["files"] = []  # type: ignore[index]
        files[MANIFEST] = json.dumps(manifest).encode()
        betas = [{**_BETAS, **options, "_class_name": name} for name, options in _SCHEDULERS.items()]
        flows = [{**options, "_class_name": "FlowMatchEulerDiscreteScheduler"} for options in _FLOWS]
        for config in betas if kind in ("sd", "xl") else flows:
            seeds.append(Seed(f"{kind}, {config['_class_name']}", {**files, SCHEDULER: json.dumps(config).encode()}))
    return tuple(seeds)


@dataclass(frozen=True, slots=True)
class _Made:
    """A backend that makes numbers up, of the shapes that are told."""

    def load(self, component: Component) -> Callable[[Mapping[str, Array]], list[Array]]:
        def run(given: Mapping[str, Array]) -> list[Array]:
            rows = next((len(value) for value in given.values() if value.ndim), 1)
            shapes = [[rows if size < 0 else size for size in one.shape] for one in component.outputs]
            if any(prod(shape) > _LARGEST for shape in shapes):
                raise BackendError(f"{component.name} is too large for here.")
            return [np.full(shape, 0.5, np.float32) for shape in shapes]

        return run


def _picture(folder: Path) -> None:
    with own_errors():
        recording = Recording(_Made())
        run_pipeline(
            Pipeline(read_manifest(folder), recording), recording, folder, Asked(prompts=("ab (a:1.2)",), steps=2)
        )


def _steps(folder: Path) -> None:
    """Every scheduler by itself, as many steps as it takes."""
    with own_errors():
        made = schedulers.from_config(read_json(folder / SCHEDULER))
        for steps in (1, 3):
            made.set_timesteps(steps, mu=0.7 if getattr(made.options, "use_dynamic_shifting", False) else None)
            sample = np.ones((1, 4, 2, 2), np.float32) * np.float32(made.init_noise_sigma)
            with np.errstate(all="ignore"):
                for timestep in made.timesteps:
                    taken = made.scale_model_input(sample, timestep)
                    sample = made.step(taken, timestep, sample, generator=np.random.default_rng(0))


def _tokens(folder: Path) -> None:
    with own_errors():
        made = Tokenizer.from_folder(folder / "tokenizer")
        made(["a cat", ""], chunks=made.chunks(["a cat", ""]))


def _manifest(folder: Path) -> None:
    with own_errors():
        pipeline = Pipeline.from_folder(folder, _Made())
        for size in pipeline.manifest.sizes:
            pipeline.at(size)
        for component in pipeline.manifest.components.values():
            for path in (component.graph, *component.variables):
                assert not leads_out(path.relative_to(folder).as_posix()), path


KIND = Kind(
    "output",
    _seeds,
    {edit_json: 90},
    {"picture": _picture, "steps": _steps, "tokens": _tokens, "manifest": _manifest},
    (
        *("attnfuse_runtime.manifest", "attnfuse_runtime.files", "attnfuse_runtime.tokenizer"),
        *("attnfuse_runtime.text_to_image", "attnfuse_runtime.binding", "attnfuse_runtime.rows"),
        *("attnfuse_runtime.schedulers.options", "attnfuse_runtime.schedulers.tables"),
    ),
    dear=("picture",),
)
