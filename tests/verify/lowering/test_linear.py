"""Products and convolutions: the float64 forms are our own, the float32 ones onnxruntime's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from attnfuse.ir.types import Array, Literal
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.verify.lowering import Arithmetic, UnsupportedOpError
from tests.verify.lowering.support import C3, EXACT, NATIVE, TOLERANCES, Case, Floats, X, Y, check, f, one

CASES: list[Case] = [
    ("Dense", [C3, f(7, 5), f(7)], C3.astype(float) @ f(7, 5).T.astype(float) + f(7), FLOAT32),
    ("Dense", [C3, f(7, 5), None], C3.astype(float) @ f(7, 5).T.astype(float), FLOAT32),
    ("Mm", [X, Y.T.copy()], X.astype(float) @ Y.T, FLOAT32),
    ("MatMul", [X, Y, True, False], X.T.astype(float) @ Y, FLOAT32),
    ("BatchMatMul", [C3, C3 + np.float32(1), False, True], C3.astype(float) @ (C3 + 1).transpose(0, 2, 1), FLOAT32),
    ("BiasAdd", [C3, f(4), 0], C3.astype(float) + f(4)[:, None], FLOAT32),
    ("BiasAdd", [X, f(4), 0], X.astype(float) + f(4), FLOAT32),
    ("BiasAdd", [C3, f(5), 1], C3.astype(float) + f(5), FLOAT32),
    ("BiasAdd", [C3[None], f(3), 14], C3[None].astype(float) + f(3)[:, None, None], FLOAT32),
    ("Addmm", [f(3), X, Y.T.copy(), 2, 3], 2 * f(3).astype(float) + 3 * (X.astype(float) @ Y.T), FLOAT32),
]


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_operators(case: Case, arithmetic: Arithmetic) -> None:
    check(case, arithmetic)


@pytest.mark.parametrize("arithmetic", [EXACT, NATIVE])
def test_a_product_that_is_no_function_has_flags_as_attributes_and_a_bias(arithmetic: Arithmetic) -> None:
    flags: dict[str, Literal] = {"transpose_a": True, "transpose_b": False}
    got = one("MatMul", [X, Y, f(4)], (4, 4), arithmetic=arithmetic, attributes=flags)
    np.testing.assert_allclose(got, X.T.astype(float) @ Y + f(4), rtol=TOLERANCES[arithmetic], atol=1e-6)


def test_a_bias_is_added_before_the_sum_is_rounded() -> None:
    """1 + 2⁻¹² is 1 in float16; with a bias of 2⁻¹¹ it is 1 + 2⁻¹⁰ if the sum was not rounded before."""
    x, w = np.array([[1, 2**-12]], np.float16), np.ones((1, 2), np.float16)
    flags: dict[str, Literal] = {"transpose_a": False, "transpose_b": True}
    bias = np.array([2**-11], np.float16)
    (got,) = one("MatMul", [x, w, bias], (1, 1), FLOAT16, NATIVE, flags).ravel()
    assert got == 1 + 2**-10


@pytest.mark.parametrize("bias", [(2, 2, 1, 7), (1, 2, 1, 7), (2, 1, 1, 7), (1, 1, 3, 7), (4, 3, 7)])
def test_baddbmm_reads_a_bias_by_batch_and_head(bias: tuple[int, ...]) -> None:
    x, y, m = f(4, 3, 5), f(4, 5, 7, name="y"), f(*bias, name="m")
    wide = np.broadcast_to(m.astype(float), (2, 2, 3, 7)).reshape(4, 3, 7) if len(bias) == 4 else m
    np.testing.assert_allclose(one("Baddbmm", [m, x, y, 1, 1], (4, 3, 7)), wide + x.astype(float) @ y, rtol=1e-13)


CONVOLUTIONS = [
    ((2, 4, 7, 8), (6, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 7, 8), (6, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 8, 8), (6, 4, 2, 2), (2, 2), (0, 0), (1, 1), 1),
    ((2, 4, 9, 9), (6, 4, 2, 2), (2, 2), (0, 0), (1, 1), 1),
    ((2, 4, 7, 8), (6, 4, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 4, 9, 9), (6, 4, 3, 3), (1, 2), (2, 0), (2, 1), 1),
    ((2, 4, 7, 8), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 4, 7, 8), (4, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    ((1, 3, 4, 6, 6), (5, 3, 2, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1), 1),
    ((1, 3, 4, 6, 6), (5, 3, 1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1), 1),
]


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolutions(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    space = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x[2:], w[2:], stride, padding, dilation, strict=True)
    ]
    arguments: list[Array | Literal] = [f(*x), f(*w, name="w"), f(w[0]), stride, padding, dilation, groups]
    op = f"Conv{len(space)}DExt"
    exact, native = (one(op, arguments, (x[0], w[0], *space), arithmetic=a) for a in (EXACT, NATIVE))
    assert exact.dtype == np.float64
    np.testing.assert_allclose(native, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolutions_by_attributes(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    space = len(stride)
    every = (1, 1) if space == 2 else ()  # Conv2D's are of all axes
    attributes: dict[str, Literal] = {
        "stride": every + stride,
        "dilation": every + dilation,
        "pad_list": tuple(p for p in padding for _ in range(2)),
        "group": groups,
        "format": "NCHW" if space == 2 else "NCDHW",
    }
    a, k = f(*x), f(*w, name="w")
    reference = ReferenceEvaluator(
        helper.make_model(
            helper.make_graph(
                [
                    helper.make_node(
                        "Conv", ["x", "w"], ["y"], strides=stride, pads=padding * 2, dilations=dilation, group=groups
                    )
                ],
                "reference",
                [helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in ("x", "w")],
                [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)],
            )
        )
    )
    (expected,) = map(np.asarray, reference.run(None, {"x": a.astype(float), "w": k.astype(float)}))
    for arithmetic, bound in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one(f"Conv{space}D", [a, k], expected.shape, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.abs(expected).max())
        bias = f(w[0], name="bias")
        got = one(f"Conv{space}D", [a, k, bias], expected.shape, arithmetic=arithmetic, attributes=attributes)
        summed = expected + bias.astype(float).reshape(-1, *(1,) * space)
        np.testing.assert_allclose(got, summed, rtol=0, atol=bound * np.abs(summed).max())


def test_unequal_padding_is_refused() -> None:
    attributes: dict[str, Literal] = {
        "stride": (1, 1, 1, 1), "dilation": (1, 1, 1, 1), "pad_list": (0, 1, 0, 1), "group": 1, "format": "NCHW",
    }  # fmt: skip
    with pytest.raises(UnsupportedOpError, match="unequal padding"):
        one("Conv2D", [f(1, 2, 4, 4), f(3, 2, 3, 3)], (1, 3, 3, 3), attributes=attributes)


@pytest.mark.parametrize(
    ("x", "w", "stride", "padding", "beyond", "dilation", "groups"),
    [
        ((2, 4, 3, 5), (4, 3, 2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1),
        ((1, 4, 3, 5), (4, 3, 3, 4), (2, 3), (1, 0), (1, 2), (1, 1), 2),
        ((1, 2, 4, 3), (2, 3, 3, 2), (1, 2), (2, 1), (0, 1), (2, 3), 1),
        ((1, 2, 1, 5), (2, 2, 1, 4), (1, 2), (0, 1), (0, 0), (1, 1), 1),
    ],
)
def test_transposed_convolutions(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    beyond: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    """The float64 form, our own, against onnxruntime's, and both against scattering every element."""
    sizes = zip(x[2:], w[2:], stride, padding, beyond, dilation, strict=True)
    space = [(n - 1) * s - 2 * p + d * (k - 1) + b + 1 for n, k, s, p, b, d in sizes]
    dims = (x[0], w[1] * groups, *space)
    a, k, bias = f(*x), f(*w, name="w"), f(w[1] * groups, name="b")
    wide: Floats = np.zeros((*dims[:2], *(n + 2 * p + 8 for n, p in zip(space, padding, strict=True))))
    per = x[1] // groups
    for n, c, i, j, o, u, v in np.ndindex(*x, *w[1:]):
        row, column = i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]
        wide[n, c // per * w[1] + o, row, column] += float(a[n, c, i, j]) * float(k[c, o, u, v])
    cut = wide[:, :, padding[0] : padding[0] + space[0], padding[1] : padding[1] + space[1]]
    arguments: list[Array | Literal] = [a, k, bias, stride, padding, beyond, groups, dilation]
    attributes: dict[str, Literal] = {
        "stride": stride, "dilation": dilation, "group": groups, "format": "NCHW",
        "pad_list": (padding[0], padding[0], padding[1], padding[1]),
    }  # fmt: skip
    for arithmetic, tolerance in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one("ConvTranspose2D", arguments, dims, arithmetic=arithmetic)
        np.testing.assert_allclose(got, cut + bias[:, None, None], rtol=tolerance, atol=tolerance)
        got = one("Conv2DTranspose", [a, k, dims], dims, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, cut, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("mode", "pads", "beyond"), [("pad", (1, 0, 1), (0, 0, 1)), ("valid", (0, 0, 0), (0, 0, 0))])
def test_transposed_convolutions_of_volumes(mode: str, pads: tuple[int, ...], beyond: tuple[int, ...]) -> None:
    """Both forms against scattering every element."""
    x, w, stride = (1, 2, 3, 2, 4), (2, 3, 2, 1, 3), (1, 3, 2)
    a, k = f(*x), f(*w, name="w")
    wide: Floats = np.zeros((1, 3, 8, 8, 12))
    for c, z, i, j, o, t, u, v in np.ndindex(*x[1:], *w[1:]):
        at = (z * stride[0] + t, i * stride[1] + u, j * stride[2] + v)
        wide[(0, o, *at)] += float(a[0, c, z, i, j]) * float(k[c, o, t, u, v])
    sizes = zip(x[2:], w[2:], stride, pads, beyond, strict=True)
    space = [(n - 1) * s - 2 * p + d + b for n, d, s, p, b in sizes]
    near, far = pads, [p + n for p, n in zip(pads, space, strict=True)]
    cut = wide[:, :, near[0] : far[0], near[1] : far[1], near[2] : far[2]]
    attributes: dict[str, Literal] = {
        "stride": stride, "dilation": (1, 1, 1), "group": 1, "format": "NCDHW", "pad_mode": mode,
        "pad_list": tuple(p for p in pads for _ in range(2)),
    }  # fmt: skip
    for arithmetic, tolerance in ((EXACT, 1e-12), (NATIVE, 2e-5)):
        got = one("Conv3DTranspose", [a, k], cut.shape, arithmetic=arithmetic, attributes=attributes)
        np.testing.assert_allclose(got, cut, rtol=tolerance, atol=tolerance)
    with pytest.raises(UnsupportedOpError, match="padding that is not given"):
        one("Conv3DTranspose", [a, k], cut.shape, attributes={**attributes, "pad_mode": "same"})
