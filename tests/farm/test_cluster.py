"""Workers of a Dask cluster on this machine, one of them killed on the way: the same bytes, and each block once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnfuse.cli.batch_file import entries_of, read_batch
from attnfuse.errors import UsageError
from attnfuse.farm.batch import How, Outcome, run_batch
from attnfuse.farm.cluster import Cluster, Tls
from attnfuse.farm.local import LocalWorkers
from attnfuse.farm.state import BatchState
from attnfuse.farm.units import Answer
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from tests.cli.conftest import tree
from tests.support.certificates import Files, write_certificates
from tests.support.console import attnfuse, environment, inside
from tests.support.fluxes import LAYERS, write_fluxes
from tests.support.waiting import PATIENCE, wait_for
from tests.tuning.graphs import overflowing

SIZES = ("64x64", "96x64")


@contextmanager
def started(*arguments: str, said: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """`dask` with these arguments, and variables of its environment."""
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], env=environment(**settings), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def batch(place: Path, out: str) -> Path:
    """Three pipelines in two sizes, into one folder."""
    file = place / f"{out}.toml"
    text = f"[defaults]\nsequence-length = ['11']\neach.size = {json.dumps(SIZES)}\n"
    for name in LAYERS:
        text += f"[[compile]]\nsource = '{place / name}'\noutput = '{place / out / name}-{{size}}'\n"
    file.write_text(text)
    return file


def test_no_scheduler_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnfuse.farm.cluster._CONNECT_SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1: "):
        Cluster("tcp://127.0.0.1:1", Tls())
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tls://127\.0\.0\.1:1: "):
        Cluster("tls://127.0.0.1:1", Tls(ca=Path("none.pem")))


@dataclass(frozen=True)
class Farm:
    """A scheduler's address, and the processes of its workers."""

    address: str
    workers: list[subprocess.Popen[bytes]]

    def kill_one(self) -> None:
        """End the first of those that live, at once."""
        os.kill(self.workers.pop(0).pid, signal.SIGKILL)


@contextmanager
def farm(place: Path, count: int, files: Files | None = None, memory: str = "6GiB", **settings: str) -> Iterator[Farm]:
    """A cluster on this machine, started as docs/farm.md says; with certificates, over TLS."""
    tls = [] if files is None else ["--tls-ca-file", files.ca, "--tls-cert", files.certificate, "--tls-key", files.key]
    address = place / "scheduler.json"
    secure = [*(["--protocol", "tls"] if tls else []), *map(str, tls)]
    with ExitStack() as stack:
        alone = ["--scheduler-file", str(address), "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        stack.enter_context(started("scheduler", *alone, *secure, said=place / "scheduler.log"))
        wait_for(address.exists)
        found = json.loads(address.read_text())["address"]
        one = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", memory, "--host", "127.0.0.1"]
        one += ["--local-directory", str(place)]
        logs = [place / f"worker-{n}.log" for n in range(count)]
        workers = [stack.enter_context(started("worker", found, *one, *secure, said=log, **settings)) for log in logs]
        wait_for(lambda: all("Registered to" in log.read_text() for log in logs))
        yield Farm(found, workers)


def asked(address: str, tls: Tls, *texts: str) -> list[Answer]:
    """What the workers answer to these texts."""
    with Cluster(address, tls) as cluster:
        return [answer for _, answer in cluster.perform({f"{n}-{os.getpid()}": text for n, text in enumerate(texts)})]


@pytest.mark.slow
def test_a_cluster_that_lets_those_in_whose_certificates_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that is none is answered by the worker; whoever is not let in gets one sentence, and soon."""
    monkeypatch.setattr("attnfuse.farm.cluster._CONNECT_SECONDS", 10)
    ours, theirs = (write_certificates(tmp_path / "certificates", name) for name in ("ours", "theirs"))
    with farm(tmp_path, 1, ours) as found:
        assert found.address.startswith("tls://127.0.0.1:")
        (answer,) = asked(found.address, Tls(ours.ca, ours.certificate, ours.key), "no unit")
        assert "invalid JSON" in answer.error
        plain = found.address.replace("tls://", "tcp://")
        for address, tls in (
            (found.address, Tls()),
            (found.address, Tls(ours.ca)),
            (found.address, Tls(theirs.ca, theirs.certificate, theirs.key)),
            (found.address, Tls(ours.ca, theirs.certificate, theirs.key)),
            (found.address, Tls(ours.ca, ours.certificate, theirs.key)),
            (found.address, Tls(ours.key, ours.certificate, ours.key)),
            (plain, Tls()),
        ):
            with pytest.raises(UsageError, match=f"no Dask scheduler answers at {address}: ") as refused:
                asked(address, tls, "no unit")
            said = str(refused.value)
            assert said.endswith(".")
            assert len(said) < 300
            assert "\n" not in said
        assert found.workers[0].poll() is None
        (answer,) = asked(found.address, Tls(ours.ca, ours.certificate, ours.key), "no unit either")
        assert "invalid JSON" in answer.error


@pytest.mark.slow
@pytest.mark.mindspore
def test_three_pipelines_in_two_sizes(tmp_path: Path) -> None:
    write_fluxes(tmp_path)
    ours = write_certificates(tmp_path / "certificates", "ours")
    with farm(tmp_path, 2, ours) as found:

        def kill(done: int, total: int, what: str) -> None:
            if done == 1:
                found.kill_one()

        tls = Tls(ours.ca, ours.certificate, ours.key)
        spread = do(tmp_path, "spread", kill, lambda: Cluster(found.address, tls))
    assert (spread.code, spread.failed) == (0, {})
    assert spread.traced >= 5, "one that was killed may have put its trace there, and told nobody"
    entries = [one for one in Store(tmp_path / "spread.cache").listed() if one.kind == Kind.BLOCKS]
    reports = [
        json.loads((tmp_path / "spread" / f"{n}-{s}" / "report.json").read_text()) for n in LAYERS for s in SIZES
    ]
    kinds = [report["components"][0]["traced"]["kinds"] for report in reports]
    assert min(kinds) > 0
    assert 0 < spread.blocks <= len(entries) == sum(kinds) // len(LAYERS), (
        "one that was killed tells nothing of its own"
    )
    local = do(tmp_path, "local", lambda done, total, what: None, lambda: LocalWorkers(1))
    assert (local.traced, local.blocks) == (6, len(entries))
    assert tree(tmp_path / "spread") == tree(tmp_path / "local")
    size = ["--size", SIZES[0], "--sequence-length", "11"]
    done = attnfuse("compile", tmp_path / "c", "-o", tmp_path / "plain", *size, "--progress", "never")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "plain") == tree(tmp_path / "local" / f"c-{SIZES[0]}")


def do(place: Path, out: str, done: Any, workers: Any) -> Outcome:
    """The batch, with a cache of its own."""
    file = batch(place, out)
    entries = entries_of(read_batch(file), file, [f"--cache-dir={place / out}.cache"])
    (place / out).mkdir()
    return run_batch(entries, BatchState(place / f"{out}.json"), How(workers, 2, {}, "this", done))


@pytest.mark.slow
@pytest.mark.mindspore
def test_a_tune_and_a_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By three workers, and by the two that are left; one dies each time when the first answer is there."""
    source = overflowing().write(tmp_path / "unet.mindir")
    tuned: list[str | Path] = ["tune", source, "--budget", "1e-3", "--soc", "ascend310p", "-o"]
    by: list[str | Path] = ["--policy", tmp_path / "alone.toml", "--verify", "full", "--soc", "ascend310p"]
    compiled: list[str | Path] = ["compile", source, *by, "-o"]
    for command, output in ((tuned, "alone.toml"), (compiled, "alone/unet.mindir")):
        done = inside(*command, tmp_path / output, "--progress", "never")
        assert done.returncode == 0, done.stderr
    answers: list[Answer] = []
    with farm(tmp_path, 3) as running:

        class Mortal(Cluster):
            def perform(self, texts: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
                for digest, answer in super().perform(texts):
                    if not self.killed:
                        self.killed = True
                        running.kill_one()
                    answers.append(answer)
                    yield digest, answer

            killed = False

        monkeypatch.setattr("attnfuse.cli.workers.Cluster", Mortal)
        cache = tmp_path / "cache"
        spread: list[str | Path] = ["--scheduler", running.address, "--cache-dir", cache, "--progress", "never"]
        for command, output in ((tuned, "spread.toml"), (compiled, "spread/unet.mindir")):
            done = inside(*command, tmp_path / output, *spread)
            assert done.returncode == 0, done.stderr
            assert "done here" not in done.stderr
            assert answers
            assert not any(answer.error for answer in answers)
            answers.clear()
        assert len(running.workers) == 1
    assert (tmp_path / "spread.toml").read_bytes() == (tmp_path / "alone.toml").read_bytes()
    assert tree(tmp_path / "spread") == tree(tmp_path / "alone")
