"""The same prompt, noise and steps through compiled graphs and through those of the source, and how far apart they are.

Each side goes its own way: what a step of one makes is what its next step begins with, so that errors add up as they do
in a picture. Where a reference is asked for, the source's graphs run a third time, in float64 from the same noise: how
far the source's own types take its graphs from that is what the compiled ones are held to.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnfuse.errors import UsageError
from attnfuse.ir.types import Array
from attnfuse.mindir import dtypes
from attnfuse.output import FileDigest, digest
from attnfuse.pictures import BackendName
from attnfuse.pictures.metrics import Figures, NoMetricError, figures, psnr, ssim
from attnfuse.pictures.recording import Recording
from attnfuse.pictures.running import EDITED, Asked, Ran, edited_files, own_errors, run_folder, run_pipeline
from attnfuse.pictures.unfused import check_same, check_weights, write_unfused
from attnfuse.progress import Progress
from attnfuse.sources import Source
from attnfuse.version import __version__
from attnfuse_runtime.backends import Backend, CpuBackend, Devices
from attnfuse_runtime.manifest import Manifest, read_manifest
from attnfuse_runtime.pipeline import Pipeline

SCHEMA = "attnfuse.comparison/1"
Told = Callable[[str, int, int], None]
"""Told after each step whose it is, how many are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What must hold, None for what is not asked.

    `within` is how many times as far as the source's own types take its graphs from float64 the compiled ones may be,
    by the relative error of each output and of the latents after each step. `max_error` is the largest relative error
    to the source's graphs; `min_psnr` (dB) and `min_ssim` are of each picture.
    """

    within: float | None = 2.0
    max_error: float | None = None
    min_psnr: float | None = None
    min_ssim: float | None = None


@dataclass(frozen=True, slots=True)
class Apart:
    """One output of one run of a component, or the latents after a step: `what` names it.

    `figures` are of the compiled graphs against the source's; None where they cannot be had. `fused` and `own` are the
    relative errors of both against float64, where there is a reference; `limit` what `fused` is held to.
    """

    what: str
    number: int
    figures: Figures | None
    fused: float | None = None
    own: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of one picture: `psnr` in dB, infinite for the same picture, and `ssim`; None where it cannot be had."""

    psnr: float | None
    ssim: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it; `exact` is the run in float64, if there was one.

    `findings` are thresholds that do not hold and figures that cannot be had, `notes` the rest.
    """

    asked: Asked
    thresholds: Thresholds
    backend: str
    compiled: Ran
    unfused: Ran
    exact: Ran | None
    stages: tuple[Apart, ...]
    steps: tuple[Apart, ...]
    pictures: tuple[Likeness, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every figure could be had and every threshold holds."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The document `attnfuse.comparison/1`; an infinite PSNR is the text "inf"."""
        return {
            "schema": SCHEMA,
            "attnfuse": __version__,
            "passed": self.passed,
            "backend": self.backend,
            "prompts": list(self.asked.prompts),
            "negative_prompts": list(self.asked.negative),
            "images": [str(file) for file in self.asked.images],
            "masks": [str(file) for file in self.asked.masks],
            "strength": self.asked.strength,
            "control_images": [str(file) for file in self.asked.control_images],
            "control_scales": list(self.asked.control_scales),
            "seed": self.asked.seed,
            "steps_run": len(self.compiled.steps),
            "guidance_scale": self.asked.guidance_scale,
            "scheduler": self.compiled.scheduler,
            "thresholds": dataclasses.asdict(self.thresholds),
            "stages": [_apart_json(one) for one in self.stages],
            "steps": [_apart_json(one) for one in self.steps],
            "pictures": [_likeness_json(one) for one in self.pictures],
            "findings": list(self.findings),
            "notes": list(self.notes),
        }

    def side_by_side(self) -> list[Image.Image]:
        """Of each picture the compiled graphs', the source's, and their difference, stretched to all levels."""
        found = []
        for one, other in zip(self.compiled.found.images, self.unfused.found.images, strict=True):
            left, right = np.asarray(one), np.asarray(other)
            apart = np.abs(left.astype(np.int16) - right.astype(np.int16))
            stretched = (apart * (255 / max(int(apart.max()), 1))).astype(np.uint8)
            found.append(Image.fromarray(np.concatenate([left, right, stretched], axis=1)))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """What to compare: an output folder, and the source that it was compiled from, opened for its components.

    `inputs` are the files that the output was compiled from, by name relative to the source. `reference` runs the
    source's graphs in float64 too, without which `within` of the thresholds cannot be held. `must_be_same` refuses a
    source whose files are others; else that is noted.
    """

    folder: Path
    source: Source
    asked: Asked
    inputs: Mapping[str, FileDigest]
    thresholds: Thresholds = Thresholds()
    backend: BackendName = "cpu"
    devices: Devices = None
    reference: bool = True
    must_be_same: bool = False
    told: Told | None = None


def compare(request: CompareRequest, progress: Progress) -> Comparison:
    """Run both and compare them; nothing is written but in a temporary folder, as large as the source's weights.

    Raises UsageError for what does not fit the output or the source, SourceError where one cannot be read or run,
    TraceError where the source cannot be traced.
    """
    with own_errors():
        manifest = read_manifest(request.folder)
    thresholds = request.thresholds
    if not request.reference and thresholds.max_error is thresholds.min_psnr is thresholds.min_ssim is None:
        raise UsageError(
            "--no-reference leaves nothing that could fail; give --max-error, --min-psnr or --min-ssim with it."
        )
    with tempfile.TemporaryDirectory(prefix="attnfuse-", ignore_cleanup_errors=True) as work:
        compiled = run_folder(
            request.folder, request.asked, request.backend, request.devices, stepped=_step(request, "compiled")
        )
        components, notes = _unfused(request, manifest, [*compiled.calls], Path(work), progress)
        unfused = _run(request, components, CpuBackend(), "unfused")
        exact = _run(request, components, CpuBackend(exact=True), "float64") if request.reference else None
    return judged(request, manifest, compiled, unfused, exact, notes)


def _step(request: CompareRequest, whose: str) -> Callable[[int, int], None] | None:
    told = request.told
    return None if told is None else lambda done, total: told(whose, done, total)


def _unfused(
    request: CompareRequest, manifest: Manifest, names: list[str], work: Path, progress: Progress
) -> tuple[Manifest, list[str]]:
    """The source's graphs of the components that ran, and what of the source is not what was compiled."""
    known = {name: component for name, component in manifest.components.items() if name in names}
    found, notes = {}, list[str]()
    for name in request.source.names:
        (work / name).mkdir()
    with request.source.opened(work, 1) as load:
        for name, compiled in known.items():
            component = load(name, progress, weights=True)
            found[name] = write_unfused(component, work, progress)
            check_same(found[name], compiled)
            check_weights(found[name], compiled)
            for file, path in component.inputs.items():
                if digest(path) != request.inputs.get(file):
                    notes.append(f"{file} of the source is not what {name} was compiled from")
                    if request.must_be_same:
                        raise UsageError(f"{notes[-1]}; name the source that it was: --against SOURCE.")
    return Manifest(manifest.folder, manifest.runtime, manifest.soc, found), notes


def _run(request: CompareRequest, components: Manifest, backend: Backend, whose: str) -> Ran:
    """The source's graphs, by the scheduler and the tokenizers of the output."""
    recording = Recording(backend)
    return run_pipeline(
        Pipeline(components, recording), recording, request.folder, request.asked, _step(request, whose)
    )


def judged(
    request: CompareRequest, manifest: Manifest, compiled: Ran, unfused: Ran, exact: Ran | None, notes: Sequence[str]
) -> Comparison:
    """What runs of one prompt come to; `exact` is that of the source's graphs in float64, if there is one."""
    judge = _Judge(request.thresholds)
    judge.findings += [f"{name}: {EDITED}" for name in edited_files(manifest, compiled.calls)]
    stages = []
    for name, calls in compiled.calls.items():
        sides = [calls, unfused.calls[name], *([] if exact is None else [exact.calls[name]])]
        for number, of_call in enumerate(zip(*sides, strict=True)):
            for tensor in manifest.components[name].outputs:
                of = [one.outputs[tensor.name] for one in of_call]
                stages.append(judge.apart(f"{name}.{tensor.name}", number, _unit(tensor.dtype), *of))
    unit = _unit(_denoised(manifest, compiled))
    ways = [compiled.steps, unfused.steps, *([] if exact is None else [exact.steps])]
    steps = [
        judge.apart("latents", number, unit, *(one.latents for one in of_step))
        for number, of_step in enumerate(zip(*ways, strict=True))
    ]
    pairs = enumerate(zip(compiled.found.images, unfused.found.images, strict=True))
    pictures = [judge.likeness(number, np.asarray(one), np.asarray(other)) for number, (one, other) in pairs]
    return Comparison(
        request.asked,
        request.thresholds,
        request.backend,
        compiled,
        unfused,
        exact,
        tuple(stages),
        tuple(steps),
        tuple(pictures),
        tuple(judge.findings),
        tuple(notes),
    )


class _Judge:
    """Takes figures, and holds them to the thresholds."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._asked = thresholds
        self.findings: list[str] = []

    def apart(
        self, what: str, number: int, unit: float, value: Array, other: Array, exact: Array | None = None
    ) -> Apart:
        """How far an array is from the source's; `unit` is the unit roundoff of its type."""
        said = f"{what} of {'step' if what == 'latents' else 'run'} {number + 1}"
        try:
            found, most = figures(value, other), self._asked.max_error
            if most is not None and found.relative > most:
                self.findings.append(
                    f"{said}: relative error {found.relative:.2e}, and at most {most:.2e} was asked for"
                )
            if exact is None:
                return Apart(what, number, found)
            fused, own = figures(value, exact).relative, figures(other, exact).relative
        except NoMetricError as error:
            self.findings.append(f"{said}: cannot be compared: {error}")
            return Apart(what, number, None)
        limit = None if self._asked.within is None else max(self._asked.within * own, unit)
        if limit is not None and fused > limit:
            self.findings.append(
                f"{said}: relative error {fused:.2e} to float64, where the source's own is {own:.2e} and at most "
                f"{limit:.2e} was asked for"
            )
        return Apart(what, number, found, fused, own, limit)

    def likeness(self, number: int, picture: Array, other: Array) -> Likeness:
        """How alike two pictures are."""
        ratio = self._metric(number, "PSNR", psnr, picture, other, self._asked.min_psnr)
        return Likeness(ratio, self._metric(number, "SSIM", ssim, picture, other, self._asked.min_ssim))

    def _metric(
        self,
        number: int,
        name: str,
        metric: Callable[[Array, Array], float],
        picture: Array,
        other: Array,
        least: float | None,
    ) -> float | None:
        try:
            found = metric(picture, other)
        except NoMetricError as error:
            self.findings.append(f"picture {number + 1}: {name} cannot be had: {error}")
            return None
        if least is not None and found < least:
            self.findings.append(f"picture {number + 1}: {name} {found:.4g}, and at least {least:.4g} was asked for")
        return found


def _denoised(manifest: Manifest, ran: Ran) -> str:
    """The type of what the denoiser gives, which is the component that takes a timestep."""
    components = [manifest.components[name] for name in ran.calls]
    return next(one.outputs[0].dtype for one in components if "timestep" in {tensor.name for tensor in one.inputs})


def _unit(dtype: str) -> float:
    """The unit roundoff of a type; 0 of one that is no float."""
    found = dtypes.from_name(dtype)
    return found.unit_roundoff if found.is_float else 0.0


def _apart_json(one: Apart) -> dict[str, Any]:
    found = dataclasses.asdict(dataclasses.replace(one, figures=None))
    del found["figures"]
    return {**found, **dict.fromkeys(Figures._fields), **(one.figures._asdict() if one.figures is not None else {})}


def _likeness_json(one: Likeness) -> dict[str, Any]:
    return {"psnr_db": "inf" if one.psnr == math.inf else one.psnr, "ssim": one.ssim}
