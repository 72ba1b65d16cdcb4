"""What a compile left, as attnfuse reads it again: manifest, report and certificate, by all that look at them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

from attnfuse import compiler
from attnfuse.cli import exit_codes
from attnfuse.cli.entry import cli
from attnfuse.errors import OutputError
from attnfuse.names import leads_out
from attnfuse.output import MANIFEST, REPORT, VERIFICATION, OutputPlace, digest, place
from attnfuse.output_verification import read_written
from attnfuse.source_files import check_not_compiled
from attnfuse.staged_verification import answers, recorded
from attnfuse.standing import certificates, read_standing, says_more, still_holds
from attnfuse.targets import Target
from attnfuse.verify import ComponentVerification, Verification, check_certificate
from attnfuse.verify.result import ComparedFile, OutputFigures, SiteFigures
from tests.support.compiled import toy
from tests.support.graphs import transformer
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_json

_FORMS = ("text", "markdown", "junit", "html")
_NO_ERROR: dict[str, Any] = dict.fromkeys(("fused_in_float64", "fused", "max_abs", "original", "baseline"), 0.0)
_FIGURES = OutputFigures("sample", (1,), **_NO_ERROR, tolerance=1.0, tolerance_in_float64=1.0, not_finite=0)


def _verified(name: str, out: Path, graph: str, beside: str) -> ComponentVerification:
    """A verification that passed, of what lies there."""
    files = tuple(ComparedFile(one, digest(out / one).sha256, 1) for one in (graph, beside))
    site = SiteFigures(
        module="attn1", compute_dtype="float16", largest_score=1.0, drawn={"plain": 0.0}, figures=_FIGURES
    )
    return ComponentVerification(
        name=name, level="full", seed=0, outputs=(_FIGURES,), sites=(site,), original=files, fused=files
    )


def _as_files(out: Path, verification: Verification) -> dict[str, bytes]:
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    files[VERIFICATION] = json.dumps(verification.to_json()).encode()
    return files


@cache
def _seeds() -> tuple[Seed, ...]:
    with tempfile.TemporaryDirectory() as made:
        out = toy(Path(made))
        (graph,) = (path.name for path in out.glob("*.mindir"))
        small = _as_files(out, Verification((_verified("toy", out, graph, REPORT),)))
    with tempfile.TemporaryDirectory() as made:
        source = transformer(sites=2).write(Path(made) / "unet.mindir")
        request = compiler.CompileRequest(
            source=str(source), output=Path(made) / "out", target=Target("lite", "ascend910b")
        )
        compiler.compile(request)
        fused = _as_files(
            Path(made) / "out", Verification((_verified("unet", Path(made) / "out", "unet.mindir", MANIFEST),))
        )
    return Seed("a toy", small), Seed("attention", fused)


def _certificate(folder: Path) -> int:
    return 0 if not check_certificate(folder / VERIFICATION).not_verified else 5


def _two_graphs(folder: Path) -> None:
    for graph in folder.glob("*.mindir"):
        check_certificate(folder / VERIFICATION, graph, graph)


def _written(folder: Path) -> None:
    written = read_written(folder)
    known = certificates(written.place)
    for component in written.manifest.components:
        asked, files = written.asked(component), written.files(component)
        written.policy(component)
        stood = None if known is None else known.entries.get(component.name)
        if stood is not None:
            answers(stood, asked, "full", 0, ())
            still_holds(stood, files, None)
            says_more(stood, stood)
            recorded(stood)


def _standing(folder: Path) -> None:
    target = OutputPlace(Path(os.path.realpath(folder)), is_file=False)
    stood = read_standing(target, ["other"])
    if stood is not None:
        stood.check(Target("lite", "ascend910b"), lambda path, known: True)
        for name in stood.kept_files:
            assert not leads_out(name), name
        stood.unchanged()


def _replaced(folder: Path) -> None:
    with contextlib.suppress(OutputError):
        place(folder, [])
    check_not_compiled(folder)


def _command(folder: Path, *words: str) -> object:
    return cli.main(
        [str(folder) if word == "OUT" else word for word in words], prog_name="attnfuse", standalone_mode=False
    )


def _report(form: str, folder: Path) -> object:
    code = _command(folder, "report", "OUT", "--format", form, "--require", "fused==sites")
    return 0 if code == exit_codes.UNMET else code


def _explain(folder: Path) -> object:
    return _command(folder, "explain", "OUT")


KIND = Kind(
    "certificate",
    _seeds,
    {edit_json: 80},
    {
        "certificate": _certificate,
        "two graphs": _two_graphs,
        "written": _written,
        "standing": _standing,
        "replaced": _replaced,
        "explain": _explain,
        **{f"report as {form}": partial(_report, form) for form in _FORMS},
    },
    (
        *(
            "attnfuse.verify.certificate",
            "attnfuse.standing",
            "attnfuse.output_verification",
            "attnfuse.report.reading",
        ),
        *("attnfuse.report.markdown", "attnfuse.report.junit", "attnfuse.report.page", "attnfuse.report.table"),
    ),
    dear=("explain", *(f"report as {form}" for form in _FORMS)),
)
