"""Holds a device to what the unfused graphs gave: `python align.py` in a folder that `compile --golden` wrote.

Each component is run on what it was fed in a run of the unfused graphs (golden/*.npz), and its outputs are compared
with theirs: the largest difference, the cosine, and of pictures the PSNR. The limits are those of golden/golden.json,
which come of how far the graphs' own types are from float64; options take their place. Needs numpy and attnfuse-runtime
(Python 3.9 to 3.12). Exit codes: 0 all hold, 4 one does not or a figure cannot be had, 3 something cannot be read or
run, 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = "golden"
INDEX = "golden.json"
SCHEMA = "attnfuse.golden/1"


class NoMetricError(ValueError):
    """A figure that cannot be had, and why: half a sentence."""


class Figures(NamedTuple):
    """How far an array is from a reference.

    `max_abs` is the largest difference, `relative` the root mean square of differences as a share of that of the
    reference, `cosine` that of the angle between the two, 1 where both are zero.
    """

    max_abs: float
    relative: float
    cosine: float


def figures(value: Any, reference: Any) -> Figures:
    """Figures of two arrays, in float64.

    Raises NoMetricError where shapes differ, a number is not finite, or the reference alone is zero everywhere.
    """
    if value.shape != reference.shape:
        raise NoMetricError(f"the shapes differ: {list(value.shape)} and {list(reference.shape)}")
    a, b = (np.asarray(one, np.float64).ravel() for one in (value, reference))
    for numbers, whose in ((a, "the result"), (b, "the reference")):
        if not np.isfinite(numbers).all():
            count = int(np.count_nonzero(~np.isfinite(numbers)))
            raise NoMetricError(f"{count} of {numbers.size} numbers of {whose} are not finite")
    apart, size_a, size_b = (float(np.linalg.norm(one)) for one in (a - b, a, b))
    if not size_b and size_a:
        raise NoMetricError("the reference is zero everywhere, and the result is not")
    if not size_b:
        return Figures(0.0, 0.0, 1.0)
    cosine = float(np.dot(a / size_b, b / size_b) / (size_a / size_b)) if size_a else 0.0
    return Figures(float(np.abs(a - b).max(initial=0)), apart / size_b, min(cosine, 1.0))


def psnr(value: Any, reference: Any, peak: float) -> float:
    """Peak signal-to-noise ratio in dB of two arrays of one shape, infinite where they are the same."""
    error = float(np.mean((np.asarray(value, np.float64) - np.asarray(reference, np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line for each output and what does not hold; the exit code."""
    options = _options().parse_args(arguments)
    here = Path(__file__).resolve().parent if options.folder is None else options.folder
    try:
        from attnfuse_runtime import AttnfuseRuntimeError
    except ImportError:
        return _say("error: align.py needs attnfuse-runtime, not installed here: pip install attnfuse-runtime.", 3)
    try:
        found = _aligned(here, options)
    except (AttnfuseRuntimeError, OSError, ValueError, KeyError) as error:
        return _say(f"error: {error}", 3)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = sum(len(one["findings"]) for one in found)
    if wrong:
        return _say(f"{wrong} limits of {len(found)} outputs do not hold.", 4)
    return _say(f"all {len(found)} outputs are within their limits.", 0)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="the folder that was compiled (default: where align.py lies)")
    parser.add_argument("--backend", choices=("lite", "cpu"), default="lite", help="what runs the graphs")
    parser.add_argument("--device", type=int, help="the device of lite")
    parser.add_argument(
        "--graph",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a graph that converter_lite made (repeatable)",
    )
    parser.add_argument("--component", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument("--max-abs", type=float, help="largest difference, in place of the limits")
    parser.add_argument("--cosine", type=float, help="least cosine, in place of the limits")
    parser.add_argument("--psnr", type=float, help="least PSNR of pictures in dB, in place of the limits")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _aligned(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of each output of each run, with what does not hold."""
    from attnfuse_runtime import Pipeline
    from attnfuse_runtime.backends import LiteBackend

    index = json.loads((folder / FOLDER / INDEX).read_bytes())
    if index["schema"] != SCHEMA:
        raise ValueError(f"{folder / FOLDER / INDEX} is {index['schema']}, and this reads {SCHEMA}.")
    backend: Any = options.backend
    devices = options.device
    if options.graph:
        files = {name: Path(path) for name, _, path in (text.partition("=") for text in options.graph)}
        backend, devices = LiteBackend(options.device, files=files), None
    pipeline = Pipeline.from_folder(folder, backend, devices)
    found = []
    for run in index["runs"]:
        name = run["component"]
        if options.component and name not in options.component:
            continue
        path = folder / FOLDER / run["file"]
        if path.parent != folder / FOLDER:
            raise ValueError(f"{folder / FOLDER / INDEX} names {run['file']!r}, which is no file of its folder.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != run["sha256"]:
            raise ValueError(f"{path} is not what was written: its digest differs.")
        with np.load(path, allow_pickle=False) as arrays:
            inputs = {key[len("input.") :]: arrays[key] for key in arrays.files if key.startswith("input.")}
            wanted = {key[len("output.") :]: arrays[key] for key in arrays.files if key.startswith("output.")}
        given = pipeline[name](**inputs)
        for output, limits in run["outputs"].items():
            judged = _judged(given[output], wanted[output], _limits(limits, options))
            judged.update({"component": name, "file": run["file"], "output": output})
            found.append(judged)
            _tell(judged)
    if not found:
        raise ValueError(f"{folder / FOLDER / INDEX} lists no run of those components.")
    return found


def _limits(limits: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    asked = {"max_abs": options.max_abs, "cosine": options.cosine, "psnr_db": options.psnr}
    return {name: value if asked[name] is None else asked[name] for name, value in limits.items()}


def _judged(value: Any, reference: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """The figures, the limits and what does not hold; `psnr_db` is asked for of pictures, from -1 to 1."""
    try:
        found = figures(value, reference)
    except NoMetricError as error:
        return {"limits": limits, "findings": [f"cannot be compared: {error}"]}
    findings = []
    if found.max_abs > limits["max_abs"]:
        findings.append(f"largest difference {found.max_abs:.3g}, at most {limits['max_abs']:.3g}")
    if found.cosine < limits["cosine"]:
        findings.append(f"cosine {found.cosine:.9f}, at least {limits['cosine']:.9f}")
    ratio = None
    if "psnr_db" in limits:
        ratio = psnr(np.clip(value, -1, 1), np.clip(reference, -1, 1), 2)
        if ratio < limits["psnr_db"]:
            findings.append(f"PSNR {ratio:.1f} dB, at least {limits['psnr_db']:.1f} dB")
    return {
        **found._asdict(),
        "psnr_db": "inf" if ratio == math.inf else ratio,
        "limits": limits,
        "findings": findings,
    }


def _tell(judged: dict[str, Any]) -> None:
    said = f"{judged['file']} {judged['output']}"
    if "cosine" in judged:
        said += f": largest difference {judged['max_abs']:.3g}, cosine {judged['cosine']:.9f}"
    sys.stdout.write("; DIFFERS: ".join([said, *judged["findings"]]) + "\n")


def _say(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
