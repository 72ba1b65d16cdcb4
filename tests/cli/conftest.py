"""The command in this process, with the toy pass in place of the installed ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli, compiler, output_verification, pass_manager, staged_verification
from attnfuse.output import digest
from attnfuse.tracing.demo import write_json
from attnfuse.verify import ComponentVerification, certificate
from attnfuse.verify.result import ComparedFile, OutputFigures
from tests.support.checkpoints import SD21_UNET, SMALL_VAE
from tests.support.painter import painted, painted_once
from tests.support.toy_pass import ToyPass
from tests.support.tracer import Tracer, stand_in, write_weights
from tests.support.traces import demo_folder, traced_demo

__all__ = ["Answer", "Command", "command", "demo_folder", "painted", "painted_once", "traced_demo", "tree"]


@dataclass(frozen=True)
class Answer:
    """What one run of the command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that tells the error."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error:", "Error:"))]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))

    def run(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        code = cli.run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return run


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def store_address() -> Iterator[str]:
    """The address of an object store."""
    from tests.support.object_store import served  # moto, which few need

    with served() as address:
        yield address


@pytest.fixture
def bucket(store_address: str) -> Iterator[str]:
    """The URL of a cache in a bucket of its own, whose client is told where it is."""
    from tests.support.object_store import bucket_in

    with bucket_in(store_address) as url:
        yield url


NAMES = ["unet", "vae_decoder", "vae_encoder"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of three components, traced by a stand-in."""
    stand_in(monkeypatch, Tracer())
    folder = tmp_path / "in"
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    for name, config in (("unet", SD21_UNET), ("vae", SMALL_VAE)):
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "config.json", config)
        write_weights(folder / name / "diffusion_pytorch_model.safetensors")
        index[name] = ["diffusers", config["_class_name"]]
    write_json(folder / "model_index.json", index)
    return folder


Run = Callable[..., Answer]


@pytest.fixture
def compiled(command: Command, source: Path, tmp_path: Path) -> Run:
    """Compile these components, all where none is named, into one output."""

    def run(*components: str, given: Path = source, code: int = 0, options: tuple[str | Path, ...] = ()) -> Answer:
        chosen = [text for name in components for text in ("--component", name)]
        answer = command("compile", given, "-o", tmp_path / "out", "--progress", "never", *chosen, *options)
        assert answer.code == code, answer.err
        return answer

    return run


_FIGURES = OutputFigures(
    output="sample",
    shape=(1,),
    fused_in_float64=0.0,
    tolerance_in_float64=0.0,
    fused=0.0,
    max_abs=0.0,
    original=0.0,
    baseline=0.0,
    tolerance=0.0,
    not_finite=0,
)


@pytest.fixture
def verifying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification that runs nothing and finds nothing, with the digests of what it was given."""
    for module in (compiler, output_verification):
        monkeypatch.setattr(module, "require_executor", lambda level: None)

    def verify(*, name: str, original: Path, fused: Path, level: Any, seed: int, **rest: Any) -> ComponentVerification:
        def files(graph: Path) -> tuple[ComparedFile, ...]:
            beside = sorted(path for path in graph.parent.rglob(f"{name}_variables/*") if path.is_file())
            found = [(path.relative_to(graph.parent).as_posix(), digest(path)) for path in (graph, *beside)]
            return tuple(ComparedFile(where, one.sha256, one.bytes) for where, one in found)

        return ComponentVerification(
            name=name,
            level=level,
            seed=seed,
            original=files(original),
            fused=files(fused),
            outputs=() if level == "static" else (_FIGURES,),
            compute=dict(rest["compute"]),
            never_fully_masked=tuple(sorted(rest["never_fully_masked"])),
        )

    monkeypatch.setattr(staged_verification, "verify_component", verify)


def verified(out: Path) -> dict[str, tuple[str, int]]:
    """Level and seed of each component that a certificate stands for; it holds."""
    path = out / "verification.json"
    if not path.exists():
        return {}
    assert certificate.check_certificate(path).files > 0
    return {one["name"]: (one["level"], one["seed"]) for one in json.loads(path.read_bytes())["components"]}
