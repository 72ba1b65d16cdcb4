"""Measures the graphs on a host with a device: `python measure.py FOLDER` in a folder that `compile --golden` wrote.

For each component that golden/golden.json has runs of:

1. convert.sh converts its graph, with the warnings of MindSpore and CANN turned on, in FOLDER/NAME/build.log; CANN
   leaves how often it fused what, FOLDER/NAME/fusion_result.json;
2. align.py runs the converted graph on what it was fed when it was compiled, under msprof: FOLDER/NAME/align.json,
   run.log, op_statistic_*.csv and op_summary_*.csv.

FOLDER/measured.json says of which graphs that was measured. `attnfuse report OUT --measured FOLDER` reads the folder,
where there is no device. Needs bash, converter_lite and msprof in PATH (CANN's set_env.sh), and what align.py needs
(Python 3.9 to 3.12). Exit codes: 0 all was measured and is within its limits, 4 something was not, 3 nothing can be
measured here, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = "attnfuse.measured/1"
INDEX = "measured.json"
GOLDEN_SCHEMA = "attnfuse.golden/1"
_LEVELS = {"info": "1", "warning": "2"}
"""What GLOG_v and ASCEND_GLOBAL_LOG_LEVEL call them, the same."""
_TABLES = ("op_statistic_*.csv", "op_summary_*.csv")
_BOARD = "import acl; print(acl.get_soc_name())"


class NotMeasurableError(Exception):
    """Why nothing can be measured: one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and say what was not; the exit code."""
    options = _options().parse_args(arguments)
    here = Path(__file__).resolve().parent if options.out is None else options.out.resolve()
    try:
        return _measure(here, options.folder.resolve(), options)
    except (NotMeasurableError, OSError, ValueError, KeyError) as error:
        return _say(f"error: {error}", 3)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder for what is measured")
    parser.add_argument("--out", type=Path, help="the folder that was compiled (default: where measure.py lies)")
    parser.add_argument("--device", type=int, default=0, help="the device (default: 0)")
    parser.add_argument("--component", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument("--board", help="the board, as npu-smi names it (default: what CANN says)")
    parser.add_argument("--log-level", choices=_LEVELS, default="warning", help="how much build.log tells")
    return parser


def _measure(here: Path, folder: Path, options: argparse.Namespace) -> int:
    runs = _runs(here, options.component)
    graphs = _graphs(here)
    for program in ("bash", "converter_lite", "msprof"):
        if shutil.which(program) is None:
            raise NotMeasurableError(f"{program} is not in PATH; source CANN's set_env.sh, and add converter_lite.")
    if folder == here or here in folder.parents:
        raise NotMeasurableError(f"{folder} lies in {here}; name another folder, such as ../measured.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotMeasurableError(f"{folder} exists already; name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    with tempfile.TemporaryDirectory(prefix=".measure-", dir=folder.parent) as made:
        for name in runs:
            kept = folder / name
            kept.mkdir()
            work = Path(made) / name
            work.mkdir()
            left += [f"{name}: {what}" for what in _component(here, name, kept, work, options)]
    index = {
        "schema": SCHEMA,
        "board": options.board or _output([sys.executable, "-c", _BOARD]),
        "versions": _versions(os.environ),
        "components": [
            {"name": name, "graph_sha256": _digest(here / graphs[name]), "runs": count} for name, count in runs.items()
        ],
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    for what in left:
        _say(what, 4)
    return _say(f"measured: {folder}", 4 if left else 0)


def _runs(here: Path, asked: Sequence[str]) -> dict[str, int]:
    """How often each component is run, of those that are asked for."""
    index = json.loads((here / "golden" / "golden.json").read_bytes())
    if index["schema"] != GOLDEN_SCHEMA:
        raise NotMeasurableError(f"{here / 'golden'} is {index['schema']}, and this reads {GOLDEN_SCHEMA}.")
    runs = Counter(run["component"] for run in index["runs"])
    for name in asked:
        if name not in runs:
            raise NotMeasurableError(f"there are no runs of {name}, but of {', '.join(runs)}.")
    return {name: count for name, count in runs.items() if not asked or name in asked}


def _graphs(here: Path) -> dict[str, str]:
    manifest = json.loads((here / "manifest.json").read_bytes())
    return {one["name"]: one["graph"] for one in manifest["components"]}


def _component(here: Path, name: str, kept: Path, work: Path, options: argparse.Namespace) -> list[str]:
    """Convert and run one component; what was not to be had of it."""
    level = _LEVELS[options.log_level]
    # CANN 8 writes fusion_result.json below ASCEND_WORK_PATH, and before that where it is run.
    environment = dict(os.environ, GLOG_v=level, GLOG_logtostderr="1", ASCEND_GLOBAL_LOG_LEVEL=level)
    environment.update(ASCEND_SLOG_PRINT_TO_STDOUT="1", ASCEND_WORK_PATH=str(work))
    made = work / "converted"
    _say(f"converting {name}", 0)
    code = _run(["bash", str(here / "convert.sh"), str(made), name], work, environment, kept / "build.log")
    fusions = sorted(work.rglob("fusion_result.json"), key=_written)
    if fusions:
        shutil.copyfile(fusions[-1], kept / "fusion_result.json")
    if code:
        return [f"convert.sh ended with {code}: see {kept / 'build.log'}"]
    graph = next(one for one in (made / f"{name}.mindir", made / f"{name}_graph.mindir") if one.exists())
    aligned = kept / "align.json"
    command = ["msprof", f"--output={work / 'profile'}", sys.executable, str(here / "align.py"), "--folder", str(here)]
    command += ["--component", name, "--graph", f"{name}={graph}", "--device", str(options.device)]
    _say(f"running {name}", 0)
    code = _run([*command, "--json", str(aligned)], work, environment, kept / "run.log")
    left = [] if fusions else ["CANN left no fusion_result.json"]
    for pattern in _TABLES:
        tables = sorted((work / "profile").rglob(pattern))
        for table in tables:
            shutil.copyfile(table, kept / table.name)
        if not tables:
            left.append(f"msprof left no {pattern}: see {kept / 'run.log'}")
    if not aligned.exists():
        left.append(f"align.py left no numbers, and msprof ended with {code}: see {kept / 'run.log'}")
    elif any(one["findings"] for one in json.loads(aligned.read_bytes())):
        left.append("numbers are not within their limits")
    return left


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
    with log.open("wb") as file:
        return subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        ).returncode


def _versions(environment: Mapping[str, str]) -> dict[str, str]:
    """Of CANN, by the file that its toolkit has beside its libraries, and of MindSpore Lite; those that are known."""
    found = {}
    home = environment.get("ASCEND_TOOLKIT_HOME") or environment.get("ASCEND_HOME_PATH")
    files = sorted(Path(home).glob("*-linux/ascend_toolkit_install.info")) if home else []
    for file in files:
        match = re.search(r"^version=(\S+)", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if match:
            found["cann"] = match[1]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["mindspore_lite"] = importlib.metadata.version("mindspore-lite")
    return found


def _output(command: Sequence[str]) -> Any:
    """The line that a program prints, None where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _say(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
