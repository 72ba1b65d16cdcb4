"""Normalisations, and the composites that hold one: the normalised tensor and its statistics."""

from __future__ import annotations

from attnfuse.ir.operators.arguments import Arguments, TypeMismatch
from attnfuse.ir.operators.columns import Kernel, Role, writes
from attnfuse.ir.operators.inference import axis_of, meet, one_type, shape
from attnfuse.ir.operators.row import CANN, CLASSIC, CORE, DEFINED, Infer, Operator, row
from attnfuse.ir.types import UNKNOWN_DIM, TensorType, ValueType
from attnfuse.mindir.dtypes import FLOAT32, DType


def _statistics(tensor_type: TensorType, first: int, dtype: DType) -> TensorType:
    """One number for all that lies in the axes from `first` on."""
    return TensorType((*tensor_type.dims[:first], *(1,) * (tensor_type.rank - first)), dtype)


def _check_tail(tensor_type: TensorType, parameters: TensorType) -> None:
    """Gain and offset have the sizes of the last axes."""
    tail = tensor_type.dims[tensor_type.rank - parameters.rank :] if parameters.rank <= tensor_type.rank else ()
    if len(tail) != parameters.rank or None in map(meet, tail, parameters.dims):
        raise TypeMismatch(f"normalises {shape(tensor_type.dims)} by parameters of {shape(parameters.dims)}")


def _layer_norm(statistics: DType | None) -> Infer:
    """x, mean and variance. The latter two are of the parameters' type where `statistics` is None."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, gamma, beta = a.tensor("input_x"), a.tensor("gamma"), a.tensor("beta")
        first = axis_of(a.integer("begin_norm_axis"), tensor_type.rank)
        axis_of(a.integer("begin_params_axis"), tensor_type.rank)
        for parameters in (gamma, beta):
            _check_tail(tensor_type, parameters)
        statistics_type = _statistics(tensor_type, first, statistics or gamma.dtype)
        return tensor_type, statistics_type, statistics_type

    return infer


def _layer_norm_ext(a: Arguments) -> ValueType:
    tensor_type, axes = a.tensor("input"), a.sizes("normalized_shape")
    gain, offset = a.optional_tensor("weight"), a.optional_tensor("bias")
    if not axes or len(axes) > tensor_type.rank:
        raise TypeMismatch(f"normalises the last {len(axes)} axes of {shape(tensor_type.dims)}")
    for parameters in (gain, offset):
        if parameters is not None:
            _check_tail(tensor_type, parameters)
    wanted = TensorType(tuple(UNKNOWN_DIM if size is None else size for size in axes), tensor_type.dtype)
    _check_tail(tensor_type, wanted)
    statistics_type = _statistics(tensor_type, tensor_type.rank - len(axes), FLOAT32)
    return tensor_type, statistics_type, statistics_type


def _group_norm(operand: str, parameters: tuple[str, str], *, mixed: bool) -> Infer:
    """x [N, C, …], mean and deviation [N, groups] in x's type. Gain and offset have C elements, or are not there."""

    def infer(a: Arguments) -> ValueType:
        tensor_type, groups = a.tensor(operand), a.integer("num_groups")
        given = [a.optional_tensor(name) for name in parameters]
        if tensor_type.rank < 2:
            raise TypeMismatch(f"normalises {shape(tensor_type.dims)} by groups of channels")
        channels = tensor_type.dims[1]
        if groups <= 0 or (channels >= 0 and channels % groups):
            raise TypeMismatch(f"puts {channels} channels into {groups} groups")
        for parameter in given:
            if parameter is not None and (parameter.rank != 1 or meet(parameter.dims[0], channels) is None):
                raise TypeMismatch(f"normalises {channels} channels by parameters of {shape(parameter.dims)}")
        if mixed:
            one_type(*[p for p in given if p is not None] or [tensor_type])
        else:
            one_type(tensor_type, *given)
        statistics_type = TensorType((tensor_type.dims[0], groups), tensor_type.dtype)
        return tensor_type, statistics_type, statistics_type

    return infer


def _rms_norm(a: Arguments) -> ValueType:
    """x and the root of its mean square, which is float32."""
    tensor_type, gamma = a.tensor("x"), a.tensor("gamma")
    _check_tail(tensor_type, gamma)
    return tensor_type, _statistics(tensor_type, tensor_type.rank - gamma.rank, FLOAT32)


def _add_rms_norm(a: Arguments) -> ValueType:
    """The normalised sum, the root of its mean square, and the sum."""
    tensor_type, gamma = a.tensor("x1"), a.tensor("gamma")
    _check_same_shape(tensor_type, a.tensor("x2"))
    _check_tail(tensor_type, gamma)
    return tensor_type, _statistics(tensor_type, tensor_type.rank - gamma.rank, FLOAT32), tensor_type


def _add_layer_norm(a: Arguments) -> ValueType:
    """The normalised sum, mean, deviation, and the sum."""
    tensor_type, gamma, beta = a.tensor("x1"), a.tensor("gamma"), a.tensor("beta")
    _check_same_shape(tensor_type, a.tensor("x2"))
    for parameters in (gamma, beta):
        _check_tail(tensor_type, parameters)
    statistics_type = _statistics(tensor_type, tensor_type.rank - gamma.rank, FLOAT32)
    return tensor_type, statistics_type, statistics_type, tensor_type


def _check_same_shape(one: TensorType, other: TensorType) -> None:
    if one.rank != other.rank or None in map(meet, one.dims, other.dims):
        raise TypeMismatch(f"adds {shape(one.dims)} and {shape(other.dims)}, which must be of one shape")


def _batch_norm(a: Arguments) -> ValueType:
    """x and four vectors by channel."""
    tensor_type, scale = a.tensor("input_x"), a.tensor("scale")
    return tensor_type, scale, scale, scale, scale


def _norm(name: str, args: str, infer: Infer, *examples: str, source: str = DEFINED) -> Operator:
    return row(name, args, infer, kernel=Kernel.NORM, role=Role.NORM, examples=examples, source=source)


_LAYER_NORM = (
    "input_x: tensor, gamma: tensor, beta: tensor, begin_norm_axis: int = 1, begin_params_axis: int = 1, "
    "epsilon: float = 1e-07"
)

ROWS: tuple[Operator, ...] = (
    _norm(
        "LayerNorm",
        _LAYER_NORM,
        _layer_norm(FLOAT32),
        "LayerNorm(x: float16[?, 3, 4], g: float16[4], b: float16[4], -1, -1, 1e-5)"
        " -> (float16[?, 3, 4], float32[?, 3, 1], float32[?, 3, 1])",
        "LayerNorm(x: float16[2, 3, 4], g: float32[3, 4], b: float32[3, 4], 1, 1, 1e-5)"
        " -> (float16[2, 3, 4], float32[2, 1, 1], float32[2, 1, 1])",
        "refused: LayerNorm(x: float16[2, 3, 4], g: float16[5], b: float16[5], 2, 2, 1e-5)",
    ),
    _norm(
        "LayerNormV3",
        _LAYER_NORM,
        _layer_norm(None),
        "LayerNormV3(x: float16[2, 3, 4], g: float32[4], b: float32[4], 2, 2, 1e-5)"
        " -> (float16[2, 3, 4], float32[2, 3, 1], float32[2, 3, 1])",
        "LayerNormV3(x: float16[2, 3, 4], g: float16[4], b: float16[4], 2, 2, 1e-5)"
        " -> (float16[2, 3, 4], float16[2, 3, 1], float16[2, 3, 1])",
    ),
    _norm(
        "LayerNormExt",
        "input: tensor, normalized_shape: ints, weight: tensor? = None, bias: tensor? = None, eps: float = 1e-05",
        _layer_norm_ext,
        "LayerNormExt(x: float16[2, ?, 4], (4,), g: float32[4], b: float32[4], 1e-5)"
        " -> (float16[2, ?, 4], float32[2, ?, 1], float32[2, ?, 1])",
        "LayerNormExt(x: float16[2, 3, 4], (3, 4), g: float16[3, 4], b: float16[3, 4], 1e-5)"
        " -> (float16[2, 3, 4], float32[2, 1, 1], float32[2, 1, 1])",
        "refused: LayerNormExt(x: float16[2, 3, 4], (5,), g: float16[5], b: float16[5], 1e-5)",
    ),
    _norm(
        "GroupNorm",
        "input: tensor, num_groups: int, weight: tensor? = None, bias: tensor? = None, eps: float = 1e-05",
        _group_norm("input", ("weight", "bias"), mixed=False),
        "GroupNorm(x: float16[?, 8, 4, 4], 4, g: float16[8], b: float16[8], 1e-5)"
        " -> (float16[?, 8, 4, 4], float16[?, 4], float16[?, 4])",
        "refused: GroupNorm(x: float16[2, 8, 4, 4], 3, g: float16[8], b: float16[8], 1e-5)",
        "refused: GroupNorm(x: float16[2, 8, 4, 4], 4, g: float16[7], b: float16[8], 1e-5)",
        "refused: GroupNorm(x: float16[2, 8, 4], 4, g: float32[8], b: float32[8], 1e-5)",
    ),
    _norm(
        "GroupNormSilu",
        "x: tensor, gamma: tensor? = None, beta: tensor? = None; "
        "num_groups: int, eps: float = 1e-05, activate_silu: bool = True",
        _group_norm("x", ("gamma", "beta"), mixed=True),
        "GroupNormSilu(x: bfloat16[?, 8, 4, 4], g: float32[8], b: float32[8];"
        " num_groups=4, eps=1e-5, activate_silu=True) -> (bfloat16[?, 8, 4, 4], bfloat16[?, 4], bfloat16[?, 4])",
        "refused: GroupNormSilu(x: float16[2, 8, 4, 4], g: float16[8], b: float16[8];"
        " num_groups=3, eps=1e-5, activate_silu=True)",
        "refused: GroupNormSilu(x: float16[2, 8, 4, 4], g: float16[8], b: float32[8];"
        " num_groups=4, eps=1e-5, activate_silu=True)",
        "refused: GroupNormSilu(x: float16[2, 8, 4, 4], g: float16[8], b: float16[8]; eps=1e-5, activate_silu=True)",
        source=CANN,
    ),
    _norm(
        "RmsNorm",
        "x: tensor, gamma: tensor, epsilon: float = 1e-06",
        _rms_norm,
        "RmsNorm(x: float16[2, ?, 4], g: float32[4], 1e-6) -> (float16[2, ?, 4], float32[2, ?, 1])",
        "RmsNorm(x: float16[2, 3, 4], g: float16[3, 4], 1e-6) -> (float16[2, 3, 4], float32[2, 1, 1])",
        "refused: RmsNorm(x: float16[2, 3, 4], g: float16[5], 1e-6)",
    ),
    _norm(
        "AddRmsNorm",
        "x1: tensor, x2: tensor, gamma: tensor, epsilon: float = 1e-06",
        _add_rms_norm,
        "AddRmsNorm(x: float16[2, 3, 4], y: float16[2, 3, 4], g: float16[4], 1e-6)"
        " -> (float16[2, 3, 4], float32[2, 3, 1], float16[2, 3, 4])",
    ),
    _norm(
        "AddLayerNorm",
        "x1: tensor, x2: tensor, gamma: tensor, beta: tensor, bias: tensor? = None; "
        "epsilon: float = 1e-05, additional_output: bool = False",
        _add_layer_norm,
        "AddLayerNorm(x: float16[2, ?, 4], y: float16[2, ?, 4], g: float32[4], b: float32[4];"
        " epsilon=1e-5, additional_output=True)"
        " -> (float16[2, ?, 4], float32[2, ?, 1], float32[2, ?, 1], float16[2, ?, 4])",
        "AddLayerNorm(x: float16[2, 3, 4], y: float16[2, 3, 4], g: float32[4], b: float32[4], z: float16[4];"
        " epsilon=1e-5, additional_output=True)"
        " -> (float16[2, 3, 4], float32[2, 3, 1], float32[2, 3, 1], float16[2, 3, 4])",
        source=CORE,
    ),
    row(
        "BatchNorm",
        "input_x: tensor, scale: tensor, bias: tensor, mean: tensor, variance: tensor, is_training: bool = False, "
        "epsilon: float = 1e-05, momentum: float = 0.1, data_format: enum = 0, state: monad",
        _batch_norm,
        memory=writes("mean"),  # when it trains; nobody here asks whether it does
        kernel=Kernel.NORM,
        role=Role.NORM,
        examples=(
            (
                "BatchNorm(x: float16[2, 3, 4, 4], s: float16[3], b: float16[3], m: float16[3], v: float16[3],"
                " True, 1e-5, 0.1, 0, u: monad)"
                " -> (float16[2, 3, 4, 4], float16[3], float16[3], float16[3], float16[3])"
            ),
        ),
        source=CLASSIC,
    ),
)
