"""The kernel lists: what has none for a type on a SoC, and what happens then."""

from __future__ import annotations

import pytest

from attnfuse.targets.ge import FILE, SPECIALISED, WITHOUT_KERNEL, kernel_refusal, tables
from attnfuse.targets.limits import SOCS, Target
from attnfuse.targets.operators import OPERATORS

B, P = Target("lite", "ascend910b"), Target("lite", "ascend310p")


@pytest.mark.parametrize(
    ("target", "operator", "inputs", "outputs", "code"),
    [
        # What emitted graphs meet.
        (P, "Transpose", ("bfloat16", "int64"), ("bfloat16",), "kernel.ai_cpu"),
        (B, "Transpose", ("bfloat16", "int64"), ("bfloat16",), ""),
        (B, "Sin", ("float64",), ("float64",), "kernel.ai_cpu"),
        (B, "RealDiv", ("float64", "float64"), ("float64",), "kernel.ai_cpu"),
        (B, "Cast", ("float32",), ("float64",), "kernel.ai_cpu"),
        (P, "Conv3D", ("float32", "float32"), ("float32",), "kernel.ai_cpu"),
        (P, "Conv3D", ("float16", "float16"), ("float16",), ""),
        (P, "Neg", ("int64",), ("int64",), "kernel.ai_cpu"),
        (B, "Neg", ("int64",), ("int64",), ""),
        (B, "TensorScatterUpdate", ("float16", "int32", "float16"), ("float16",), "kernel.none"),
        (P, "MatMulV2", ("float32", "float32"), ("float32",), "kernel.ai_cpu"),
        (P, "MatMulV2", ("float16", "float16"), ("float16",), ""),
        (P, "BatchMatMul", ("bfloat16", "bfloat16"), ("bfloat16",), "kernel.ai_cpu"),
        (B, "Conv2D", ("bfloat16", "bfloat16", "bfloat16"), ("bfloat16",), "kernel.cast"),
        (B, "Conv2D", ("bfloat16", "bfloat16", "float32"), ("bfloat16",), ""),
        (B, "Conv2D", ("bfloat16", "bfloat16"), ("bfloat16",), ""),
        # Types that are listed, and not together: the first tensor chooses, the others are cast.
        (P, "RmsNorm", ("float16", "float32"), ("float16",), "kernel.cast"),
        (B, "RmsNorm", ("float16", "float32"), ("float16",), ""),
        (P, "RotaryPositionEmbedding", ("float16",) * 3, ("float16",), "kernel.none"),
        # No type is told, or none is needed.
        (P, "Transpose", (None,), (None,), ""),
        (P, "Reshape", ("float64",), ("float64",), ""),
        (B, "Concat", (None, "float16"), ("float16",), ""),
        (B, "Split", (None, "float16"), (), ""),
    ],
)
def test_what_has_a_kernel(
    target: Target, operator: str, inputs: tuple[str | None, ...], outputs: tuple[str | None, ...], code: str
) -> None:
    found = kernel_refusal(target, operator, inputs, outputs)
    assert ("" if found is None else found.code) == code


def test_a_refusal_tells_what_happens() -> None:
    found = kernel_refusal(P, "Neg", ("int64",), ("int64",))
    assert found is not None
    assert found.message("Neg", P.soc) == (
        "Neg on ascend310p takes types that kernels of Neg are listed for, not int64 -> int64: AI CPU, or a build"
        " error (CANN 8.1.RC1, aic-*-ops-info.json)"
    )


def test_an_old_soc_is_not_in_the_lists() -> None:
    """Nobody looked its kernels up, so nothing is known to have one, or to have none."""
    assert {soc for _, soc in tables().kernels} == set(SOCS) - {"ascend910"}
    found = kernel_refusal(Target("lite", "ascend910"), "Add", ("float16", "float16"), ("float16",))
    assert found is not None
    assert found.code == "kernel.unknown"


def test_every_operator_that_is_taken_has_its_rows() -> None:
    """Its adapter, what that makes, and a kernel of it somewhere: the exceptions by name. A Custom names what it is."""
    adapted = {name for name, row in OPERATORS.items() if row.accepted_by == "GE adapter"} - {"Custom"}
    assert adapted <= set(tables().adapters)
    behind = {tables().adapters[name].ge for name in adapted}
    assert behind <= set(tables().prototypes)
    listed = {name for name, _ in tables().kernels} | WITHOUT_KERNEL
    assert behind - listed == {"CustReal", "Imag", "TensorScatterUpdate", "TopK"}
    assert set(SPECIALISED.values()) <= listed


def test_the_data_say_what_they_were_taken_from() -> None:
    assert set(tables().sources) == {"adapters", "prototypes", "kernels", "passes"}
    assert all(any(digit in text for digit in "0123456789") for text in tables().sources.values())
    assert FILE.stat().st_size < 150_000
