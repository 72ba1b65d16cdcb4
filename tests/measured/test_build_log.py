"""Refusals in a build log, as converter, engine and kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.measured.build_log import Refusal, read_build_log, refusals


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            (
                "Optype [Cos] of Ops kernel [aicpu_ascend_kernel] is unsupported. Reason: not found.",
                "Optype [Cos] of Ops kernel [AIcoreEngine] is unsupported. Reason: no  double.",
                "EZ3003: No supported Ops kernel and engine are found for [a/Cos-op1], optype [Cos].",
            ),
            "no double",  # what the AI Cores' library says comes before what others do
        ),
        (
            (
                "[ERROR] GE(1,x):[x.cc:1]2 Op type Cos of ops kernel DNN_VM is unsupported, reason : no such type",
                "[Get][DNNEngineName]Can't find any supported ops kernel and engine of a/Cos-op1, type is Cos",
            ),
            "no such type",
        ),
        (
            ("No supported Ops kernel and engine are found for [a/Cos-op1], optype [Cos].",),
            "no library of kernels",
        ),
        (
            (
                '[ERROR] OP(1,x):[t.cpp:7]8 OpName:[a/Cos-op1] "d should be align."',
                "Tiling failed, op name = a/Cos-op1, op type = Cos.",
            ),
            "d should be align",
        ),
        (("Tiling failed, op name = a/Cos-op1, op type = Cos.",), "its kernel cannot be launched so"),
    ],
)
def test_a_node_and_why(lines: tuple[str, ...], reason: str) -> None:
    (found,) = refusals(lines + lines)  # the log and what is told at the end say it both
    assert (found.node, found.type) == ("a/Cos-op1", "Cos")
    assert found.reason.startswith(reason)


def test_a_reason_is_of_its_own_operator() -> None:
    lines = (
        "Optype [Sin] of Ops kernel [AIcoreEngine] is unsupported. Reason: of another.",
        "OpName:[b] of another",
        "No supported Ops kernel and engine are found for [a], optype [Cos].",
        "Tiling failed, op name = c, op type = Cos.",
        "No supported Ops kernel and engine are found for [d], optype [Sin].",
    )
    assert [found.reason for found in refusals(lines)] == [
        "no library of kernels takes it",
        "its kernel cannot be launched so",
        "of another",
    ]


def test_an_operator_without_an_adapter() -> None:
    line = "[WARNING] GE_ADPT(8,7,c):2025 [u.cc:82] FindAdapter] Can't find OpAdapter for Swiglu"
    assert list(refusals([line, line])) == [Refusal("", "Swiglu", "MindSpore's converter has no adapter for it")]


def test_a_log_may_hold_any_bytes_and_must_be_a_file(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_bytes(b"\xff\x00 Can't find OpAdapter for Swiglu \xe4\n")
    assert [found.type for found in read_build_log(log)] == ["Swiglu"]
    with pytest.raises(SourceError, match=r"measured.* cannot be read|cannot be read: Is a directory"):
        read_build_log(tmp_path)
