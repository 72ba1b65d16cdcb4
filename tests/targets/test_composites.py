"""Composite operators, held to CANN's own verdicts case by case: never looser, and stricter for a reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from attnfuse.targets.composites import (
    ADAPTER,
    BETWEEN,
    COMPOSITE_OPERATORS,
    CUSTOM_OPERATORS,
    JUDGED,
    KERNEL,
    SHAPES,
    TILING,
    CompositeFacts,
    composite_refusals,
)
from attnfuse.targets.facts import Refusal, TensorFacts
from attnfuse.targets.limits import Target
from tests.targets import verdicts
from tests.targets.verdicts import Section, Verdict, attributes, tensor

B, P = Target("lite", "ascend910b"), Target("lite", "ascend310p")
SECTIONS = tuple(verdicts.sections("composites.txt"))
Judged = tuple[tuple[str, Verdict, tuple[Refusal, ...]], ...]


def judge(section: Section, verdict: Verdict) -> tuple[Refusal, ...]:
    values, *shapes = verdict.line
    soc, types = verdict.column
    inputs = tuple(map(tensor, shapes, types.split(",")))
    node = CompositeFacts(section.operator, inputs, attributes(section.attributes, values))
    return composite_refusals(Target("lite", soc), node)


@pytest.fixture(scope="module")
def judged() -> Judged:
    return tuple((part.operator, verdict, judge(part, verdict)) for part in SECTIONS for verdict in part.verdicts)


def test_all_of_the_verdicts_are_there(judged: Judged) -> None:
    found = Counter(verdict.why.partition(":")[0] for _, verdict, _ in judged)
    told = {"": 6090, "no_kernel": 2810, "refused": 1284, "unsafe": 29, "wrong_result": 45, "crash": 4}
    assert found == told
    assert {part.operator for part in SECTIONS} <= JUDGED
    assert {*COMPOSITE_OPERATORS, "SwiGlu", "AddRmsNorm"} <= JUDGED
    assert {"SwiGlu", "AddRmsNorm"} <= set(CUSTOM_OPERATORS)


def test_nothing_is_taken_that_cann_refuses_and_it_is_refused_for_the_same_reason(judged: Judged) -> None:
    for operator, verdict, refusals in judged:
        if not verdict.why:
            continue
        codes = {refusal.code for refusal in refusals}
        kind = verdict.why.partition(":")[0]
        if kind == "no_kernel":
            assert codes & {"kernel.cast", "kernel.ai_cpu", "kernel.none"}, (operator, verdict)
        elif kind == "refused" and ("approximate" in verdict.why or "splitDim,inputShapeSize" in verdict.why):
            assert "composite.attribute" in codes, (operator, verdict)
        elif kind == "wrong_result":
            assert ("composite.dtype", KERNEL) in {(r.code, r.source) for r in refusals}, (operator, verdict)
        else:
            assert codes & {"composite.shape", "composite.attribute"}, (operator, verdict)


def test_what_is_refused_beyond_that_says_on_whose_word(judged: Judged) -> None:
    stricter = [(operator, refusals) for operator, verdict, refusals in judged if refusals and not verdict.why]
    told = Counter((operator, refusals[-1].code, refusals[-1].source) for operator, refusals in stricter)
    assert told == {
        ("ApplyRotaryPosEmb", "composite.attribute", ADAPTER): 17,
        ("GroupNormSilu", "composite.dtype", KERNEL): 49,  # float32 parameters on the 310P, whatever the batch
        ("RotaryPositionEmbedding", "composite.attribute", KERNEL): 100,  # mode 2
        ("RotaryPositionEmbedding", "composite.shape", BETWEEN): 4,
        ("RotaryPositionEmbedding", "composite.shape", KERNEL): 11,  # an odd head_dim
        ("SwiGlu", "composite.shape", SHAPES): 55,
    }


def facts(*types: str) -> tuple[TensorFacts | None, ...]:
    """`2x8x4 float16` each, a number without sizes, `-` for an absent one; `?` is not known before run time."""
    found: list[TensorFacts | None] = []
    for text in types:
        dims, _, dtype = text.replace("?", "-1").rpartition(" ")
        found.append(None if text == "-" else TensorFacts((), dtype) if not dims else tensor(dims, dtype))
    return tuple(found)


@pytest.mark.parametrize(
    ("target", "operator", "inputs", "named", "codes"),
    [
        # LayerNorm's kernels choose their types themselves: read, not in the verdicts.
        (B, "LayerNorm", ("2x4096x640 float16", "640 float16", "640 float16"), {}, []),
        (B, "LayerNormV3", ("8192x1x640 float16", "640 float32", "640 float32"), {}, []),
        (B, "LayerNormV3", ("?x1x640 bfloat16", "640 float32", "640 float32"), {}, []),
        (B, "LayerNormV3", ("2x4096x640 float16", "640 float32", "640 float32"), {}, ["kernel.cast"]),
        (B, "LayerNormV3", ("2x77x768 float16", "768 float32", "768 float32"), {}, []),
        (B, "LayerNormV3", ("2x4096x4096 float16", "4096 float32", "4096 float32"), {}, []),
        (B, "LayerNormV3", ("2x?x768 float16", "768 float32", "768 float32"), {}, ["kernel.cast"]),
        (B, "LayerNorm", ("2x77x768 bfloat16", "768 float32", "768 float32"), {}, ["kernel.cast"]),
        (B, "LayerNormV3", ("2x77x768 float32", "768 float16", "768 float16"), {}, ["kernel.cast"]),
        (B, "LayerNormV3", ("2x77x768 float16", "77 float16", "77 float16"), {}, ["composite.shape"]),
        (P, "LayerNormV3", ("2x77x768 bfloat16", "768 bfloat16", "768 bfloat16"), {}, ["kernel.ai_cpu"]),
        # What is not known before run time, or missing.
        (P, "GroupNormSilu", ("?x320x64x64 float16", "320 float16", "320 float16"), {"num_groups": 32}, []),
        (
            P,
            "GroupNormSilu",
            ("1x320x?x64 float16", "320 float16", "320 float16"),
            {"num_groups": 32},
            ["composite.shape"],
        ),
        (P, "GroupNormSilu", ("2x320x9x9 float16", "320 float16", "320 float16"), {"num_groups": 32}, []),
        (B, "GroupNormSilu", ("1x320x9x9 float16", "320 float16", "320 float16"), {}, ["composite.shape"]),
        (B, "GroupNormSilu", ("1x320x9x9 float16", "-", "-"), {"num_groups": 32}, ["composite.shape"]),
        (B, "GeGluV2", ("2x?x640 float16",), {"dim": -1, "approximate": 0}, []),
        (B, "GeGluV2", ("2x77x? float16",), {"dim": -1, "approximate": 0}, ["composite.shape"]),
        (B, "AddLayerNorm", ("?x77x768 float16", "?x77x768 float16", "768 float32", "768 float32"), {}, []),
        (B, "RmsNorm", ("?x77x768 float16", "768 float32"), {"epsilon": 1e-5}, []),
        (P, "RmsNorm", ("?x77x768 float16", "768 float32"), {"epsilon": 1e-5}, ["kernel.cast"]),
        (B, "RmsNorm", ("2x77x768 float16", "float16"), {"epsilon": 1e-5}, ["composite.shape"]),
        # Cosines of [1, N, S, D] were not run.
        (
            B,
            "RotaryPositionEmbedding",
            ("2x8x77x64 float16", "1x8x77x64 float16", "1x8x77x64 float16"),
            {"mode": 0},
            ["composite.shape"],
        ),
        (
            B,
            "RotaryPositionEmbedding",
            ("?x77x8x64 float16", "1x77x1x64 float16", "1x77x1x64 float16"),
            {"mode": 1},
            [],
        ),
        (
            P,
            "RotaryPositionEmbedding",
            ("2x77x8x64 float16", "1x77x1x64 float16", "1x77x1x64 float16"),
            {"mode": 1},
            ["kernel.none"],
        ),
    ],
)
def test_nodes_that_cann_was_not_asked_about(
    target: Target, operator: str, inputs: tuple[str, ...], named: dict[str, Any], codes: list[str]
) -> None:
    found = composite_refusals(target, CompositeFacts(operator, facts(*inputs), named))
    assert [refusal.code for refusal in found] == codes


def test_where_a_rule_was_run_it_says_so() -> None:
    found = composite_refusals(B, CompositeFacts("GeGluV2", facts("2x7 float16"), {"approximate": 0}))
    assert [refusal.source for refusal in found] == [TILING]
