"""Compiles a model by a policy, verifies it on given inputs, and runs what was compiled on this machine's CPU."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse.mindir.dtypes import BFLOAT16
from attnfuse_runtime import Pipeline
from attnfuse_runtime.backends import CpuBackend

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Policy:
    """How a model is compiled: what the tables call it, the type its graph is in, and further options of `compile`."""

    name: str
    dtype: str
    options: tuple[str, ...] = ()


POLICIES = (
    Policy("float16", "float16"),
    Policy("bfloat16", "bfloat16"),
    Policy("float32", "float32"),
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
    lacking."""

    model: str
    policy: str
    fused: int
    sites: int
    errors_of_sites: tuple[Error, ...]
    errors_of_outputs: tuple[Error, ...]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    figures: Mapping[str, float]
    """Against the package's own numbers, by what is compared."""

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

    def compile(self, policy: Policy, call: Mapping[str, Array]) -> dict[str, Any]:
        """Compile and verify on that call of the model; the component's certificate, whether it passed or not.

        Raises RuntimeError where either could not.
        """
        out = self.out(policy)
        data = out.with_name(f"{out.name}.npz")
        np.savez(data, **rounded(call, policy.dtype))
        shared = ["--inputs", str(self.folder / "inputs.toml"), "--dtype", policy.dtype, "--progress", "never"]
        shared += ["--cache-dir", str(self.folder / "cache")]
        _attnfuse("compile", str(self.source), "-o", str(out), *shared, *policy.options)
        said = _attnfuse("verify", str(self.source), str(out), *shared, "--data", str(data), "--json", codes=(0, 4, 5))
        (component,) = json.loads(said)["components"]
        found: dict[str, Any] = component
        return found

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


def result(work: Work, policy: Policy, certificate: Mapping[str, Any], figures: Mapping[str, float]) -> Result:
    """The result of a certificate, with figures against the package's own numbers."""
    report = json.loads((work.out(policy) / "report.json").read_bytes())
    totals = report["components"][0]["totals"]
    return Result(
        work.model,
        policy.name,
        totals["fused"],
        totals["sites"],
        tuple(_errors((one["module"], one["figures"]) for one in certificate["sites"])),
        tuple(_errors((one["output"], one) for one in certificate["outputs"])),
        tuple(certificate["findings"]),
        tuple(certificate["warnings"]),
        dict(figures),
    )


def _errors(figures: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Error]:
    """Of those that have a number to compare. A formula's error is at its own types, or with what a fused node of the
    type asked for has to round, whichever is larger."""
    for name, one in figures:
        if one["undefined"] < math.prod(one["shape"]):
            yield Error(
                name, float(one["fused"]), max(float(one["original"]), float(one["baseline"])), float(one["tolerance"])
            )


def _attnfuse(*arguments: str, codes: Sequence[int] = (0,)) -> str:
    command = [sys.executable, "-m", "attnfuse", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"attnfuse {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
