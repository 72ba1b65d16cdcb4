"""Rules 3 to 10: which operations become one kernel. Bytes are worked out by hand in each test.

A float16 tensor of [4, 64] has 4 · 64 · 2 = 512 bytes, one of [64, 64] 8192, a bias of [64] 128.
"""

from __future__ import annotations

import pytest

from tests.support.costs import tasks, told

X = "x: float16[4, 64]\n"
BIAS = "b: parameter float16[64]"
PICTURE = "x: float16[1, 16, 8, 8]\n"
"""16 · 8 · 8 · 2 = 2048 bytes, in either format."""


def chain(length: int) -> str:
    """So many operations of one input, one behind the other."""
    return X + "\n".join(f"y{i} = Neg({f'y{i - 1}' if i else 'x'})" for i in range(length))


def test_a_bias_behind_its_only_product_is_free() -> None:
    text = f"{X}Add(MatMul(x, w: parameter float16[64, 64], False, False), {BIAS})"
    assert told(text) == [("MatMul+Add", 512 + 8192 + 128, 512)]


def test_a_bias_behind_a_product_that_others_read_is_not() -> None:
    text = f"{X}p = MatMul(x, w: parameter float16[64, 64], False, False); return Add(p, {BIAS}), p"
    assert told(text) == [("Add", 512 + 128, 512), ("MatMul", 512 + 8192, 512)]


def test_a_bias_of_two_axes_is_not() -> None:
    text = "Add(MatMul(x: float16[64, 64], w: parameter float16[64, 64], False, False), b: parameter float16[64, 64])"
    assert told(text) == [("Add", 8192 + 8192, 8192), ("MatMul", 8192 + 8192, 8192)]


@pytest.mark.parametrize("add", [f"BiasAdd(y, {BIAS}, 0)", "Add(y, b: parameter float16[8])"])
def test_behind_a_convolution_a_bias_added_by_bias_add_alone_is_free(add: str) -> None:
    # The weight has 64 · 16 · 2 = 2048 bytes, the result 64 · 8 · 8 · 2 = 8192. The Add is along the width and reads
    # 16 more; it is ND, so the convolution's result comes to it through a TransData.
    text = f"{PICTURE}y = Conv2DExt(x, w: parameter float16[64, 16, 1, 1], None, (1, 1), (0, 0), (1, 1), 1)\n{add}"
    kernels = [kernel for kernel in told(text) if kernel[0] != "TransData"]
    if add.startswith("BiasAdd"):
        assert kernels == [("Conv2DExt+BiasAdd", 2048 + 2048 + 128, 8192)]
    else:
        assert kernels == [("Add", 8192 + 16, 8192), ("Conv2DExt", 2048 + 2048, 8192)]


def test_connected_elementwise_operations_are_one_kernel() -> None:
    # Read x and y once each, write the two values that are used outside; the four between stay inside.
    text = f"{X}y: float16[4, 64]; a = Mul(x, Sigmoid(x)); b = Add(Exp(a), y); return Softmax(a, (-1,)), b"
    assert told(text) == [("Sigmoid+Mul+Exp+Add", 512 + 512, 512 + 512), ("Softmax", 512, 512)]


def test_a_reshape_parts_a_region() -> None:
    text = f"{X}Neg(Reshape(Exp(x), (8, 32)))"
    assert told(text) == [("Exp", 512, 512), ("Neg", 512, 512)]


def test_a_reshape_there_and_back_does_not() -> None:
    assert told(f"{X}Neg(Reshape(Reshape(Exp(x), (8, 32)), (4, 64)))") == [("Exp+Neg", 512, 512)]


def test_no_region_reaches_round_another_kernel() -> None:
    # Add reads Exp and what Softmax makes of Exp: one kernel of both would wait for itself.
    text = f"{X}e = Exp(x); Add(e, Softmax(e, (-1,)))"
    assert told(text) == [("Add", 1024, 512), ("Exp", 512, 512), ("Softmax", 512, 512)]


def test_nor_round_two_others() -> None:
    # Neg joins Exp and so comes before Tanh; Add reads Neg, and Softmax of Tanh.
    text = f"{X}e = Exp(x); s = Softmax(e, (-1,)); n = Neg(e); t = Tanh(s); Add(n, t)"
    kernels = told(text)
    assert ("Softmax", 512, 512) in kernels
    # Either Exp+Neg writes e and n, and Tanh+Add reads s and n, or Exp stands alone.
    assert kernels == [("Exp+Neg", 512, 1024), ("Softmax", 512, 512), ("Tanh+Add", 1024, 512)]


def test_what_a_region_comes_to_wait_for_all_its_readers_wait_for() -> None:
    # Add joins Exp, which so waits for the softmax of Neg. The other two read Exp: they now come behind Neg too, and
    # Mul, which reads them, cannot join Neg.
    text = f"""{X}
        y: float16[4, 64]
        e = Exp(x)
        s = Softmax(Softmax(e, (-1,)), (-1,))
        n = Neg(y)
        return Add(e, Softmax(n, (-1,))), Mul(n, s)
    """
    softmax = ("Softmax", 512, 512)
    assert told(text) == [("Exp+Add", 1024, 1024), ("Mul", 1024, 512), ("Neg", 512, 512), softmax, softmax, softmax]


@pytest.mark.parametrize(("soc", "sizes"), [("ascend910b", [29, 6]), ("ascend310p", [6] * 5 + [5])])
def test_a_region_has_a_most(soc: str, sizes: list[int]) -> None:
    kernels = tasks(chain(35), soc)
    assert [kernel.what.count("Neg") for kernel in kernels] == sizes
    assert all(kernel.bytes == 512 + 512 for kernel in kernels)


def test_what_more_than_six_read_is_written() -> None:
    seven = ", ".join(f"Softmax(Muls(e, {i}.5), (-1,))" for i in range(7))
    six = ", ".join(f"Softmax(Muls(e, {i}.5), (-1,))" for i in range(6))
    assert sum(kernel.what == "Exp" for kernel in tasks(f"{X}e = Exp(x); return {seven}")) == 1
    assert tasks(f"{X}e = Exp(x); return {six}")[0].what == "Exp" + "+Muls" * 6


def test_a_reduction_takes_in_what_feeds_it_alone_and_what_follows_with_one_input() -> None:
    # x is read once, the statistic of 4 · 1 · 2 = 8 bytes written.
    text = f"{X}Rsqrt(Adds(ReduceMean(Square(x), (-1,), True), 1e-5))"
    assert told(text) == [("ReduceMean+Square+Adds+Rsqrt", 512, 8)]


def test_a_reduction_leaves_what_others_read_and_what_has_two_inputs() -> None:
    # Square is read by the product, too, and Mul has two inputs: both stay out, and apart, since the mean stands
    # between them.
    text = f"{X}s = Square(x); Mul(s, ReduceMean(s, (-1,), True))"
    assert told(text) == [("Mul", 512 + 8, 512), ("ReduceMean", 512, 8), ("Square", 512, 512)]


def test_a_reduction_takes_five_behind_itself() -> None:
    text = f"{X}Neg(Neg(Neg(Neg(Neg(Neg(ReduceMean(x, (-1,), True)))))))"
    assert told(text) == [("Neg", 8, 8), ("ReduceMean" + "+Neg" * 5, 512, 8)]


NORM = "LayerNorm({}, g: parameter float16[64], b: parameter float16[64], 1, 1, 1e-5)[0]"


def test_a_sum_and_its_layer_norm_are_one_kernel_on_910b() -> None:
    # Both operands and the two parameters are read; the sum and the result are written, and two statistics of
    # 4 · 1 · 4 = 16 bytes.
    text = f"{X}y: float16[4, 64]; s = Add(x, y); return {NORM.format('s')}, Softmax(s, (-1,))"
    assert told(text) == [("LayerNorm+Add", 1024 + 256, 512 + 512 + 32), ("Softmax", 512, 512)]
    assert told(text, "ascend310p") == [("Add", 1024, 512), ("LayerNorm", 512 + 256, 512 + 32), ("Softmax", 512, 512)]


def test_a_cast_may_stand_between_sum_and_layer_norm() -> None:
    # The sum is used by nobody else and stays inside; the result is float32: 1024 bytes.
    text = f"{X}y: float16[4, 64]; {NORM.format('Cast(Add(x, y), float32)').replace('float16', 'float32')}"
    assert told(text) == [("LayerNorm+Add+Cast", 1024 + 512, 1024 + 32)]


def test_a_sum_that_spreads_an_operand_is_a_kernel_of_its_own() -> None:
    text = f"{X}y: float16[1, 64]; {NORM.format('Add(x, y)')}"
    assert told(text) == [("Add", 512 + 128, 512), ("LayerNorm", 512 + 256, 512 + 32)]


def test_elementwise_operations_behind_a_product_are_free_on_310p_two_of_them() -> None:
    # FRACTAL_NZ: the 4 rows count as 16, so 16 · 64 · 2 = 2048 bytes; x is turned before, the result behind it. The
    # format spreads to Neg, though it gives the graph's result, which is ND.
    text = f"{X}Neg(Tanh(GeLU(MatMul(x, w: parameter float16[64, 64], False, False))))"
    assert told(text, "ascend310p") == [
        ("MatMul+GeLU+Tanh", 2048 + 8192, 2048),
        ("Neg", 2048, 2048),
        ("TransData", 512, 2048),
        ("TransData", 2048, 512),
    ]
    assert told(text) == [("GeLU+Tanh+Neg", 512, 512), ("MatMul", 512 + 8192, 512)]


def test_a_transpose_is_a_kernel() -> None:
    assert told("x: float16[2, 3, 4, 8]; Transpose(x, (0, 2, 1, 3))") == [("Transpose", 384, 384)]


def test_a_transpose_that_moves_axes_of_size_1_alone_is_free() -> None:
    text = "x: float16[2, 1, 4, 8]; Softmax(Transpose(x, (0, 2, 1, 3)), (-1,))"
    assert told(text) == [("Softmax", 128, 128)]


def test_a_transpose_of_the_last_two_axes_goes_into_the_product_alone_behind_it() -> None:
    # q and k of 2 · 4 · 8 · 2 = 128 bytes, scores of 2 · 4 · 4 · 2 = 64.
    text = "q: float16[2, 4, 8]; k: float16[2, 4, 8]; t = Transpose(k, (0, 2, 1)); "
    assert told(text + "BatchMatMulExt(q, t)") == [("BatchMatMulExt", 256, 64)]
    assert told(text + "return BatchMatMulExt(q, t), t") == [("BatchMatMulExt", 256, 64), ("Transpose", 128, 128)]


def test_parts_of_whole_blocks_join_without_a_kernel() -> None:
    # One picture: both parts lie one behind the other, the first of 3 blocks of 32 bytes.
    text = "x: float16[1, 12, 4]; y: float16[1, 16, 4]; Softmax(Concat((Exp(x), Neg(y)), 1), (-1,))"
    assert told(text) == [("Exp", 96, 96), ("Neg", 128, 128), ("Softmax", 224, 224)]


@pytest.mark.parametrize(
    "parts",
    [
        "x: float16[2, 16, 4]; y: float16[2, 16, 4]; Softmax(Concat((Exp(x), Neg(y)), 1), (-1,))",  # two pictures
        "x: float16[1, 15, 4]; y: float16[1, 16, 4]; Softmax(Concat((Exp(x), Neg(y)), 1), (-1,))",  # 120 bytes
        "x: float16[1, 16, 4]; y: float16[1, 16, 4]; Softmax(Concat((x, Neg(y)), 1), (-1,))",  # the graph's input
        "x: float16[1, 16, 4]; y: float16[1, 16, 4]; Concat((Exp(x), Neg(y)), 1)",  # the graph's result
        "x: float16[1, 16]; y: float16[1, 16]; Softmax(Stack((Exp(x), Neg(y)); axis=2), (-1,))",  # element by element
    ],
)
def test_other_parts_are_copied(parts: str) -> None:
    assert sum(kernel.what in ("Concat", "Stack") for kernel in tasks(parts)) == 1


def test_a_split_of_the_first_axis_is_free_and_of_the_last_is_not() -> None:
    text = "x: float16[4, 64]; s = Split(x, {}, 2); return Exp(s[0]), Exp(s[1])"
    assert told(text.format(0)) == [("Exp", 256, 256), ("Exp", 256, 256)]
    assert told(text.format(1)) == [("Exp", 256, 256), ("Exp", 256, 256), ("Split", 512, 512)]


def test_a_slice_reads_what_it_writes() -> None:
    assert told("x: float16[4, 64]; Slice(x, (0, 0), (4, 16))") == [("Slice", 128, 128)]


def test_a_pad_of_height_and_width_goes_into_its_convolution() -> None:
    # x of 1 · 16 · 8 · 8 · 2 = 2048 bytes, weight 16 · 16 · 9 · 2 = 4608, result 16 · 7 · 7 · 2 = 1568.
    conv = "Conv2DExt({}, w: parameter float16[16, 16, 3, 3], None, (1, 1), (0, 0), (1, 1), 1)"
    text = PICTURE + conv.format("ConstantPadND(x, (0, 1, 0, 1), 0.0)")
    assert ("Conv2DExt+ConstantPadND", 2048 + 4608, 1568) in told(text)
    assert all("Pad" not in kernel.what for kernel in tasks(text) if "Conv" not in kernel.what)


def test_a_pad_of_channels_is_a_kernel() -> None:
    text = """
        x: float16[1, 8, 8, 8]
        y = ConstantPadND(x, (0, 0, 0, 0, 0, 8), 0.0)
        Conv2DExt(y, w: parameter float16[16, 16, 3, 3], None, (1, 1), (0, 0), (1, 1), 1)
    """
    assert ("ConstantPadND", 1024, 2048) in told(text)
