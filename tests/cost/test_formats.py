"""Rules 11 and 12: TransData between the format of convolutions, that of products on 310P, and row-major tensors."""

from __future__ import annotations

from tests.support.costs import told

CONV = "Conv2DExt({}, w{}: parameter float16[16, 16, 1, 1], None, (1, 1), (0, 0), (1, 1), 1)"
"""Reads a weight of 16 · 16 · 2 = 512 bytes."""


def test_a_convolution_between_row_major_tensors_has_a_transdata_before_and_behind() -> None:
    # Channels are rounded up to 16: x of 4 · 64 · 2 = 512 bytes takes 16 · 64 · 2 = 2048 there, and so do the 3
    # channels of the result, 3 · 64 · 2 = 384 bytes. The weight has 3 · 4 · 2 = 24.
    text = "x: float16[1, 4, 8, 8]; Conv2DExt(x, w: parameter float16[3, 4, 1, 1], None, (1, 1), (0, 0), (1, 1), 1)"
    assert told(text) == [
        ("Conv2DExt", 2048 + 24, 2048),
        ("TransData", 512, 2048),
        ("TransData", 2048, 384),
    ]


def test_elementwise_operations_between_convolutions_stay_in_their_format() -> None:
    text = "x: float16[1, 16, 8, 8]; " + CONV.format(f"SiLU({CONV.format('x', 1)})", 2)
    assert told(text) == [
        ("Conv2DExt", 2048 + 512, 2048),
        ("Conv2DExt", 2048 + 512, 2048),
        ("SiLU", 2048, 2048),
        ("TransData", 2048, 2048),
        ("TransData", 2048, 2048),
    ]


def test_a_group_norm_between_convolutions_is_row_major_and_read_twice() -> None:
    # One TransData behind the first convolution, one before the second, beside those of x and the result. The norm's
    # parameters have 32 bytes each, its statistics 1 · 4 · 2 = 8.
    norm = "GroupNorm({}, 4, g: parameter float16[16], b: parameter float16[16], 1e-5)[0]"
    text = "x: float16[1, 16, 8, 8]; " + CONV.format(f"SiLU({norm.format(CONV.format('x', 1))})", 2)
    kernels = told(text)
    assert kernels.count(("TransData", 2048, 2048)) == 4
    assert ("GroupNorm", 2 * 2048 + 64, 2048 + 16) in kernels
    assert ("SiLU", 2048, 2048) in kernels


def test_a_residual_between_convolutions_and_norms_is_in_the_format_of_convolutions() -> None:
    # The sum takes both convolutions' results as they are, only what the norm reads of it is turned: TransData of x, of
    # the sum, and before and behind the last convolution.
    norm = "GroupNorm(s, 4, g: parameter float16[16], b: parameter float16[16], 1e-5)[0]"
    sum_ = f"s = Add({CONV.format('x', 1)}, {CONV.format('x', 2)})"
    kernels = told(f"x: float16[1, 16, 8, 8]; {sum_}; {CONV.format(norm, 3)}")
    assert kernels.count(("TransData", 2048, 2048)) == 4
    assert ("Add", 4096, 2048) in kernels


def test_a_format_spreads_through_elementwise_operations_to_others_and_not_through_a_reshape() -> None:
    # Channels of 4 are rounded up to 16: what is in the convolution's format has 2048 bytes, what is not 512.
    text = "x: float16[1, 4, 8, 8]; y: float16[1, 4, 8, 8]; w: parameter float16[4, 4, 1, 1]; t = Softmax(x, (-1,))"
    conv = "Conv2DExt(y, w, None, (1, 1), (0, 0), (1, 1), 1)"
    kernels = told(f"{text}; Softmax(Exp(Softmax(Add(t, {conv}), (-1,))), (-1,))")
    assert ("Add", 4096, 2048) in kernels
    assert ("Exp", 512, 512) in kernels
    reshaped = told(f"{text}; Softmax(Exp(Reshape({conv}, (4, 64))), (-1,))")
    assert ("Exp", 512, 512) in reshaped


def test_a_value_is_turned_once_however_many_read_it() -> None:
    # Both convolutions read one copy of x in their format; their sum joins neither the one nor the other norm.
    text = f"x: float16[1, 16, 8, 8]; return {CONV.format('x', 1)}, {CONV.format('x', 2)}"
    assert told(text).count(("TransData", 2048, 2048)) == 1 + 2


def test_a_concat_of_whole_blocks_follows_the_convolutions_round_it() -> None:
    # Two pictures, so the parts are copied: 4096 bytes each.
    text = "x: float16[2, 16, 8, 8]; y = {}; z = {}; Conv2DExt(Concat((y, z), 1), {})".format(
        CONV.format("x", 1), CONV.format("x", 2), "w: parameter float16[16, 32, 1, 1], None, (1, 1), (0, 0), (1, 1), 1"
    )
    assert [kernel for kernel in told(text) if kernel[0] in ("Concat", "TransData")] == [
        ("Concat", 8192, 8192),
        ("TransData", 4096, 4096),
        ("TransData", 4096, 4096),
    ]


def test_a_resize_is_in_the_format_of_convolutions() -> None:
    text = "x: float16[1, 16, 8, 8]; UpsampleNearest2D(" + CONV.format("x", 1) + ", (16, 16), None)"
    assert told(text) == [
        ("Conv2DExt", 2048 + 512, 2048),
        ("TransData", 2048, 2048),
        ("TransData", 8192, 8192),
        ("UpsampleNearest2D", 2048, 8192),
    ]


PRODUCT = "MatMul({}, w{}: parameter float16[24, 24], False, False)"
"""Reads a weight of 24 · 24 · 2 = 1152 bytes; constants are turned when the graph is compiled."""


def test_products_of_310p_take_and_give_blocks() -> None:
    # [20, 24] has 960 bytes, in blocks of 16 [32, 32], 2048. On 910B products are row-major.
    text = "x: float16[20, 24]; " + PRODUCT.format("x", 1)
    assert told(text, "ascend310p") == [
        ("MatMul", 2048 + 1152, 2048),
        ("TransData", 960, 2048),
        ("TransData", 2048, 960),
    ]
    assert told(text) == [("MatMul", 960 + 1152, 960)]


def test_a_softmax_between_products_of_310p_stays_in_blocks_and_a_transpose_does_not() -> None:
    between = "x: float16[20, 24]; " + PRODUCT.format("Softmax({}, (-1,))".format(PRODUCT.format("x", 1)), 2)
    assert told(between, "ascend310p").count(("TransData", 2048, 960)) == 1
    assert ("Softmax", 2048, 2048) in told(between, "ascend310p")
    turned = (
        "x: float16[20, 24]; t = Transpose(Exp(x), (1, 0)); return " + PRODUCT.format("Softmax(x, (-1,))", 1) + ", t"
    )
    assert ("Transpose", 960, 960) in told(turned, "ascend310p")


def test_heads_split_off_by_a_reshape_are_row_major() -> None:
    # What is made in blocks is turned to ND, where the Reshape costs nothing, and that is what Softmax reads.
    text = """
        x: float16[16, 32]
        Softmax(Reshape(MatMul(x, w: parameter float16[32, 32], False, False), (16, 2, 16)), (-1,))
    """
    assert told(text, "ascend310p") == [
        ("MatMul", 1024 + 2048, 1024),
        ("Softmax", 1024, 1024),
        ("TransData", 1024, 1024),
        ("TransData", 1024, 1024),
    ]


def test_a_reshape_before_a_product_of_310p_is_of_the_row_major_tensor() -> None:
    # x of 4 · 8 · 20 · 2 = 1280 bytes is read as [4, 160], in blocks [16, 160], 5120 bytes; a weight of 160 · 16 · 2 =
    # 5120, a result of [4, 16], 128 bytes, in blocks 512.
    text = """
        x: float16[4, 8, 20]
        MatMul(Reshape(x, (4, 160)), w: parameter float16[160, 16], False, False)
    """
    assert told(text, "ascend310p") == [
        ("MatMul", 5120 + 5120, 512),
        ("TransData", 512, 128),
        ("TransData", 1280, 5120),
    ]


def test_rows_of_one_picture_stay_in_blocks_whatever_their_number() -> None:
    # [20, 24] and [1, 20, 24] are the same blocks of 16, 2048 bytes.
    text = "x: float16[20, 24]; Softmax(Reshape(" + PRODUCT.format("x", 1) + ", (1, 20, 24)), (-1,))"
    assert told(text, "ascend310p") == [
        ("MatMul", 2048 + 1152, 2048),
        ("Softmax", 2048, 2048),
        ("TransData", 960, 2048),
        ("TransData", 2048, 960),
    ]
