"""Compiles a model by a policy, verifies it on given inputs, and runs what was compiled on this machine's CPU."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse.compiler import CompileRequest
from attnfuse.mindir.dtypes import BFLOAT16
from attnfuse.policy import Policy as Rules
from attnfuse.policy import read_policy
from attnfuse.tracing.inputs import read_inputs
from attnfuse_runtime import Pipeline
from attnfuse_runtime.backends import CpuBackend
from tools.realweights.command import attnfuse
from tools.realweights.sites import SiteErrors, on_inputs
from tools.realweights.tuning import Tuned, tune

Array = np.ndarray[Any, np.dtype[Any]]

INPUTS, CACHE = "inputs.toml", "cache"
"""Of a model's folder."""


@dataclass(frozen=True)
class Policy:
    """How a model is compiled: what the tables call it, the type its graph is in, and whether the rules are those that
    `attnfuse tune` finds or what compile does by itself."""

    name: str
    dtype: str
    is_tuned: bool = False


POLICIES = (
    Policy("float16", "float16"),
    Policy("bfloat16", "bfloat16"),
    Policy("float32", "float32"),
    Policy("tuned", "float32", is_tuned=True),
)


@dataclass(frozen=True)
class Error:
    """A relative error against float64 of what was compiled, and of the formula in the same types.

    `allowed` is what verification lets the first reach: of a site the second, and what two samples of rounding noise
    scatter by (docs/verification.md).
    """

    name: str
    fused: float
    own: float
    allowed: float


@dataclass(frozen=True)
class Result:
    """What came of a model and a policy. `findings` and `warnings` are verification's; with a finding, errors may be
    lacking. `seconds` is the estimate of one run on the SoC that compile takes where none is named."""

    model: str
    policy: str
    fused: int
    sites: int
    seconds: float
    errors_of_sites: tuple[Error, ...]
    errors_of_outputs: tuple[Error, ...]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    figures: Mapping[str, float]
    """Against the package's own numbers, by what is compared."""
    over_inputs: tuple[SiteErrors, ...] = ()
    """Each attention on several inputs, where these were asked for."""
    tuned: Tuned | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """A model's folder, `inputs.toml` and the folder that all that is made of it lies in."""

    model: str
    component: str
    folder: Path

    @property
    def source(self) -> Path:
        """The folder of the pipeline."""
        return self.folder / "source"

    def out(self, policy: Policy) -> Path:
        """The folder that is compiled to."""
        return self.folder / ("out_" + "".join(one if one.isalnum() else "_" for one in policy.name))

    def run(self, policy: Policy, call: Mapping[str, Array], inputs: Sequence[Mapping[str, Array]] = ()) -> Result:
        """Tune where that is asked for, compile, and verify on that call of the model; what came of it, whether it
        passed or not, without figures. With further `inputs`, each attention on all of these too.

        Raises RuntimeError where one of them could not.
        """
        out = self.out(policy)
        data = self._written(call, policy, out.name)
        options = ["--inputs", str(self.folder / INPUTS), "--dtype", policy.dtype, "--progress", "never"]
        options += ["--cache-dir", str(self.folder / CACHE)]
        tuned, rules = None, self.folder / "policy.toml"
        if policy.is_tuned:
            tuned = tune(str(self.source), rules, [*options, "--data", str(data)])
        given = ["--policy", str(rules)] if policy.is_tuned else []
        attnfuse("compile", str(self.source), "-o", str(out), *options, *given)
        said = attnfuse("verify", str(self.source), str(out), *options, "--data", str(data), "--json", codes=(0, 4, 5))
        (certificate,) = json.loads(said)["components"]
        over: tuple[SiteErrors, ...] = ()
        if inputs and not certificate["findings"]:
            files = [self._written(one, policy, f"{out.name}_{n}") for n, one in enumerate(inputs)]
            over = on_inputs(self._request(policy, read_policy(rules) if policy.is_tuned else Rules()), files)
        report = json.loads((out / "report.json").read_bytes())
        (component,) = report["components"]
        return Result(
            self.model,
            policy.name,
            component["totals"]["fused"],
            component["totals"]["sites"],
            component["cost"]["after"]["seconds"],
            tuple(_errors((one["module"], one["figures"]) for one in certificate["sites"])),
            tuple(_errors((one["output"], one) for one in certificate["outputs"])),
            tuple(certificate["findings"]),
            tuple(certificate["warnings"]),
            {},
            over,
            tuned,
        )

    def _written(self, call: Mapping[str, Array], policy: Policy, name: str) -> Path:
        file = self.folder / f"{name}.npz"
        np.savez(file, **rounded(call, policy.dtype))
        return file

    def _request(self, policy: Policy, rules: Rules) -> CompileRequest:
        return CompileRequest(
            source=str(self.source),
            dtype=policy.dtype,
            given=read_inputs(self.folder / INPUTS),
            policy=rules,
            cache=self.folder / CACHE,
            jobs=1,
        )

    def network(self, policy: Policy) -> Callable[[Mapping[str, Array]], Array]:
        """The compiled graph's first result of a call, on this machine's CPU, in float32."""
        pipeline = Pipeline.from_folder(self.out(policy), CpuBackend())

        def run(call: Mapping[str, Array]) -> Array:
            results = pipeline[self.component](**rounded(call, policy.dtype))
            return np.asarray(next(iter(results.values())), np.float32)

        return run


def rounded(call: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """What is fed in place of float32: numbers of the graph's own type; timesteps and whole numbers stay."""
    kinds: Mapping[str, Any] = {"float16": np.float16, "bfloat16": BFLOAT16.numpy, "float32": np.float32}
    return {
        name: value if name == "timestep" or value.dtype != np.float32 else _stored(value.astype(kinds[dtype]))
        for name, value in call.items()
    }


def _stored(value: Array) -> Array:
    """bfloat16 as float32, which .npz and the run time take for it."""
    return value if value.dtype == np.float16 else value.astype(np.float32)


def _errors(figures: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Error]:
    """Of those that have a number to compare. A formula's error is at its own types, or with what a fused node of the
    type asked for has to round, whichever is larger."""
    for name, one in figures:
        if one["undefined"] < math.prod(one["shape"]):
            yield Error(
                name, float(one["fused"]), max(float(one["original"]), float(one["baseline"])), float(one["tolerance"])
            )
