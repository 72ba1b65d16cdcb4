"""Compile every row of the matrix, each in a process of its own, and write the table of what came.

    python -m tools.matrix [--only GLOB] [--dtype TYPE]... [--jobs 1] [--timeout 900] [--again] [--any-code]
                           [--results build/matrix] [--out docs/matrix.md]

What came of each row is kept under `--results`. A row is made again where its configuration or the code changed, or
with --again; with --any-code a change of code alone does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from attnfuse.errors import AttnfuseError
from tools.matrix.rows import DTYPES, Row, groups, rows_of, write_group
from tools.matrix.table import render

ROOT = Path(__file__).resolve().parents[2]
_BATCH = 12  # groups whose weights are written by one process of MindSpore


@click.command()
@click.option("--only", multiple=True, help="Rows whose configuration matches the glob (repeatable).")
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Only this type (repeatable).")
@click.option("--jobs", default=1, show_default=True, help="Rows at a time.")
@click.option("--timeout", default=900, show_default=True, help="Seconds a row may take.")
@click.option("--again", is_flag=True, help="Make rows again that are there.")
@click.option("--any-code", is_flag=True, help="Let rows count that other code made.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "build" / "matrix")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "matrix.md")
def main(
    only: Sequence[str],
    dtypes: Sequence[str],
    jobs: int,
    timeout: int,
    again: bool,
    any_code: bool,
    results: Path,
    out: Path,
) -> None:
    """Make the rows that are wanted, then the table of all that are there."""
    results.mkdir(parents=True, exist_ok=True)
    everything = _distinct(pair for name in groups() for pair in _rows(results, name))
    code = code_digest()
    wanted = [
        row
        for row in everything
        if (not only or any(fnmatchcase(row.configuration, glob) for glob in only))
        and (not dtypes or row.dtype in dtypes)
        and (again or not _is_current(results, row, everything[row], None if any_code else code))
    ]
    _newest_first(wanted, Counter(row.class_name for row in everything if row not in set(wanted)))
    _write_weights(results, list(dict.fromkeys(row.group for row in wanted)))
    with ThreadPoolExecutor(jobs) as pool:
        making = pool.map(lambda row: _make(results, row, everything[row], code, timeout), wanted)
        for row, found in zip(wanted, making, strict=True):
            click.echo(f"{row.name}: {_line(found)}", err=True)
    came = {row: _read(results, row) for row in everything}
    made = [one for one in came.values() if one is not None]
    out.write_text(render(made, [asdict(row) for row, one in came.items() if one is None]), encoding="utf-8")
    click.echo(f"{len(made)} of {len(everything)} rows are in {out.name}", err=True)


def code_digest() -> str:
    """A digest of the sources that a row's result depends on."""
    digest = hashlib.sha256()
    for folder in ("attnfuse", "passes/attnfuse_passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def make_row(folder: Path, row: Row, work: Path, timeout: int) -> dict[str, Any]:
    """Compile one row of the group in `folder` in a process of its own; a crash or a hang is an answer too."""
    asked, answer, log = (work / f"{row.name.replace('/', '-')}.{end}" for end in ("row", "answer", "log"))
    asked.write_text(json.dumps(asdict(row)), encoding="utf-8")
    command = [sys.executable, "-m", "tools.matrix.worker", *map(str, (folder, asked, answer, os.getpid()))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
            end = f"ended with code {code}"
        except subprocess.TimeoutExpired:
            end = f"did not end within {timeout} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    found: dict[str, Any] = {**asdict(row), "traced": True, "error": f"the process {end}"}
    if answer.is_file():
        found = json.loads(answer.read_text(encoding="utf-8"))
        log.unlink()
    asked.unlink()
    answer.unlink(missing_ok=True)
    return found


def environment() -> dict[str, str]:
    """This process's, with the checkout on the path."""
    paths = (str(ROOT), str(ROOT / "passes"), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _folder(results: Path, group: str) -> Path:
    return results / "models" / group


def _newest_first(rows: list[Row], seen: Counter[str]) -> None:
    """Order rows so that the classes of which fewest were seen come first."""
    nth = {}
    for row in rows:
        nth[row] = seen[row.class_name]
        seen[row.class_name] += 1
    rows.sort(key=nth.__getitem__)


def _distinct(pairs: Iterable[tuple[str, Row]]) -> dict[Row, str]:
    """The rows, each with a digest of what is traced; each trace once, for pipelines share text encoders."""
    first: dict[str, Row] = {}
    for traced, row in pairs:
        first.setdefault(traced, row)
    return {row: hashlib.sha256(traced.encode()).hexdigest() for traced, row in first.items()}


def _rows(results: Path, group: str) -> list[tuple[str, Row]]:
    """Write the group's configurations again where they changed, and return its rows as `rows_of` does."""
    folder = _folder(results, group)
    fresh = results / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    write_group(fresh, group)
    if not folder.is_dir() or _texts(fresh) != _texts(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)
    try:
        return list(rows_of(folder, group, DTYPES))
    except AttnfuseError as error:
        raise click.ClickException(f"{group}: {error}") from None


def _texts(folder: Path) -> dict[str, str]:
    """What a group is made of: its configurations and its call."""
    paths = [path for suffix in ("json", "toml") for path in folder.rglob(f"*.{suffix}")]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _write_weights(results: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (_folder(results, name) / "weights").is_file()]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        click.echo(f"weights of {len(batch)} groups", err=True)
        command = [sys.executable, "-m", "tools.matrix.weights", str(results / "models"), *batch]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"weights cannot be written: {done.stderr[-2000:]}")


def _place(results: Path, row: Row) -> Path:
    return results / "rows" / f"{row.name.replace('/', '-')}.json"


def _read(results: Path, row: Row) -> dict[str, Any] | None:
    place = _place(results, row)
    return json.loads(place.read_text(encoding="utf-8")) if place.is_file() else None


def _is_current(results: Path, row: Row, traced: str, code: str | None) -> bool:
    found = _read(results, row)
    return found is not None and found["inputs"] == traced and code in (None, found["code"])


def _make(results: Path, row: Row, traced: str, code: str, timeout: int) -> dict[str, Any]:
    place = _place(results, row)
    place.parent.mkdir(exist_ok=True)
    found = make_row(_folder(results, row.group), row, place.parent, timeout)
    found |= {"inputs": traced, "code": code}
    place.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def _line(found: dict[str, Any]) -> str:
    if not found["traced"]:
        return f"not traced: {found['reason']}"
    if "error" in found:
        return f"ERROR {found['error']}"
    message = f"{found['sites']} unsupported {found['unsupported']}"
    message += f" share {found['share_of_outputs']:.2f}/{found['share_of_sites']:.2f}"
    message += f" {found['seconds']} s, {found['peak_bytes'] >> 20} MiB"
    return message if found["full"] else f"FAILED {message} {found['findings'][:2]}"


if __name__ == "__main__":
    main()
