"""Bytes of kernels that read or write otherwise than by their arguments' sizes."""

from __future__ import annotations

import pytest

from attnfuse.cost.kernels import schedule
from attnfuse.cost.program import read_program
from attnfuse.ir.types import TensorType
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.targets.socs import SPECIFICATIONS
from tests.support.costs import tasks, told
from tests.support.graphs import GraphBuilder


@pytest.mark.parametrize("op", ["prompt_flash_attention", "flash_attention_score"])
def test_an_attention_reads_its_operands_and_mask_and_writes_its_result(op: str) -> None:
    # q of 2 · 4 · 16 · 32 · 2 = 8192 bytes, k and v of 2 · 4 · 24 · 32 · 2 = 12,288, a mask of 16 · 24 = 384.
    # Statistics for training are not counted. Arithmetic: two products of 2 · 2 · 4 · 16 · 24 · 32.
    g = GraphBuilder()
    q, k, v = (g.input(name, (2, 4, size, 32), FLOAT16) for name, size in (("q", 16), ("k", 24), ("v", 24)))
    mask = g.input("mask", (16, 24), BOOL)
    g.output(getattr(g, op)(q, k, v, heads=4, scale=0.1, attn_mask=mask))
    (kernel,) = schedule(read_program(g.model()), SPECIFICATIONS["ascend910b"]).kernels
    assert (kernel.bytes_read, kernel.bytes_written) == (8192 + 2 * 12288 + 384, 8192)
    assert kernel.flops == 2 * (2 * 2 * 4 * 16 * 24 * 32)
    assert kernel.dtype == "float16"


def test_an_operand_that_is_read_twice_in_one_kernel_counts_once() -> None:
    assert told("x: float16[4, 64]; Mul(x, x)") == [("Mul", 512, 512)]


@pytest.mark.parametrize(("given_out", "written"), [(True, 512), (False, 0)])
def test_a_sum_is_written_where_it_is_given_out(given_out: bool, written: int) -> None:
    # Two summands and the norm of 4 · 64 · 2 = 512 bytes each, 256 of gain and offset, mean and deviation of 4 · 4.
    parameters = "g: parameter float16[64], b: parameter float16[64]"
    attributes = f"epsilon=1e-5, additional_output={given_out}"
    text = f"AddLayerNorm(x: float16[4, 64], y: float16[4, 64], {parameters}; {attributes})[0]"
    assert told(text) == [("AddLayerNorm", 1024 + 256, 512 + 32 + written)]


def test_a_gather_reads_the_rows_it_takes() -> None:
    # 3 of 1000 rows of 64: 384 bytes read, 384 written, and 3 · 8 = 24 of numbers of rows.
    assert told("i: int64[3]; Gather(t: parameter float16[1000, 64], i, 0, 0)") == [("Gather", 384 + 24, 384)]


_BY_BATCHES = """
a = BatchMatMul(x: float16[2, 16, 4], Reshape(w: parameter float16[8, 16], (1, 8, 16)), True, True)
Add(a, b: parameter float16[8])
"""


def test_a_product_that_transposes_reads_its_operands_as_they_are_and_a_shared_matrix_once() -> None:
    # x of 2 · 16 · 4 · 2 = 256 bytes, the matrix of 8 · 16 · 2 = 256 for both parts of the batch, a bias of 8 · 2 = 16;
    # the result is of 2 · 4 · 8 · 2 = 128. Arithmetic: 2 · 16 for each of its 64 elements.
    assert told(_BY_BATCHES) == [("BatchMatMul+Add", 256 + 256 + 16, 128)]
    assert [kernel.flops for kernel in tasks(_BY_BATCHES)] == [2 * 16 * 64]


def test_a_product_of_310p_that_transposes_takes_and_gives_blocks_of_what_is_there() -> None:
    # x of [16, 4] is one block of 16 · 16 · 2 = 512 bytes for each part of the batch, the result of [4, 8] likewise.
    assert told(_BY_BATCHES, "ascend310p") == [
        ("BatchMatMul+Add", 1024 + 256 + 16, 1024),
        ("TransData", 256, 1024),
        ("TransData", 1024, 128),
    ]


def test_what_is_written_in_place_is_written() -> None:
    # A row of 128 bytes and its place of 8 go into a kept tensor; what reads that reads all of its 1280 bytes.
    g = GraphBuilder()
    row, place = g.input("row", (1, 64), FLOAT16), g.input("place", (1,))
    leaf = "cache"
    cache = g.graph.parameter.add(name=leaf, ref_key=leaf)
    cache.dims.extend((10, 64))
    cache.data_type = FLOAT16.wire
    tensor_type = TensorType((10, 64), FLOAT16)
    written = g.node("ScatterUpdate", [leaf, place, row, g.monad()], tensor_type)
    g.output(g.softmax(written))
    kernels = schedule(read_program(g.model()), SPECIFICATIONS["ascend910b"]).kernels
    assert [(kernel.what, kernel.bytes_read, kernel.bytes_written) for kernel in kernels] == [
        ("ScatterUpdate", 128 + 4, 128 + 4),
        ("Softmax", 1280, 1280),
    ]


def test_arithmetic_is_that_of_the_product_in_the_kernel() -> None:
    (kernel,) = tasks(
        "x: float16[4, 64]; Add(MatMul(x, w: parameter float16[64, 64], False, False), b: parameter float16[64])"
    )
    assert (kernel.flops, kernel.dtype) == (2 * 4 * 64 * 64, "float16")


def test_memory_within_memory_may_be_deep() -> None:
    """Each transposition only names what the one before it gave."""
    lines = [
        "x: float16[1, 4, 1, 64]; v0 = Neg(x)",
        *(f"v{i + 1} = Transpose(v{i}, (2, 1, 0, 3))" for i in range(1200)),
    ]
    assert [kernel.what for kernel in tasks("\n".join([*lines, "Softmax(v1200, (-1,))"]))] == ["Neg", "Softmax"]
