"""What a certificate tells of errors, and what is no certificate."""

from __future__ import annotations

from typing import Any

import pytest

from attnfuse.errors import SourceError
from attnfuse.report.figures import Error, figures_of
from attnfuse.verify import ComponentVerification, Verification
from attnfuse.verify.result import OutputFigures, SiteFigures


def figures(output: str, fused: float, tolerance: float) -> OutputFigures:
    return OutputFigures(output, (2,), 0.0, 0.0, fused, 0.0, 0.0, 0.0, tolerance, 0)


def site(module: str, fused: float, tolerance: float) -> SiteFigures:
    return SiteFigures(
        module=module, compute_dtype="float16", largest_score=None, drawn={}, figures=figures(module, fused, tolerance)
    )


def certificate() -> dict[str, Any]:
    """One component: two outputs, of which the first is nearer to its tolerance; one site has two results."""
    return Verification(
        (
            ComponentVerification(
                name="unet",
                level="full",
                seed=0,
                outputs=(figures("a", 8e-4, 1e-3), figures("b", 1e-3, 1e-2)),
                sites=(site("a", 1e-4, 1e-3), site("a", 5e-4, 1e-3), site("b", float("inf"), 1e-3)),
                not_verified=("an operator",),
            ),
        )
    ).to_json()


def test_errors_by_component_and_module() -> None:
    found = figures_of(certificate())["unet"]
    assert (found.level, found.passed, found.not_verified) == ("full", True, ("an operator",))
    assert found.worst == Error(8e-4, 1e-3)
    assert found.sites == {"a": Error(5e-4, 1e-3), "b": Error(float("inf"), 1e-3)}


def test_without_a_certificate_nothing_is_known() -> None:
    assert figures_of(None) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [({"schema": "other/1"}, "'other/1' is not one of attnfuse"), ({"components": [{}]}, "is damaged; verify again")],
)
def test_what_is_no_certificate_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        figures_of({**certificate(), **change})
