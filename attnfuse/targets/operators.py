"""Operators that MindSpore Lite takes from a MindIR file on Ascend, those it does not, and what limits them: data.

Sources, read and not run: MindSpore Lite (mindspore-ai/mindspore-lite at 2b28870, July 2025) and MindSpore 2.7.0
(mindspore-ai/mindspore_test at a05ce58, July 2025). Neither the converter nor a device was at hand. The Ascend plugin
in the released wheel of MindSpore 2.7.1 refers to the names of these adapters and to no operator called "no adapter".

How a graph goes through (`converter_lite --optimize=ascend_oriented` and `Model.build_from_file` meet in
`ConverterFuncGraph::Optimize`), and what a limit below comes from:

1. ArgsToAttrPass moves the arguments that MindSpore's operator definition marks `prim_init` into attributes, but for
   those that are no constants: these are dropped ("constant").
2. ConvertExtendOpsPass rewrites eight mint operators, with the default provider only.
3. RemoveRedundantOpPass and ScalarOpPass take state, identities and arithmetic on sizes away.
4. Only for Concat and Stack is a tuple taken apart, and only one made by a MakeTuple ("made by").
5. AttrToArgsPass puts attributes back as arguments, for the operators it lists. What it does not list and the adapter
   does not read as an attribute is lost, without a word: CANN's default stands ("only").
6. DfGraphConvertor looks the adapter up by the operator's name. Where there is none, conversion fails.

MindSpore's own graph engine backend corrects in its own passes what its adapters cannot say; MindSpore Lite runs none
of them ("no empty list", "no -1", "one shape", "float", "bool").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnfuse.targets.limits import Target

LimitKind: TypeAlias = Literal[
    "constant",
    "only",
    "only of a function",
    "no empty list",
    "no empty tensor",
    "no bool",
    "no -1",
    "no bfloat16",
    "made by",
    "rank",
    "joins",
    "one shape",
    "one type",
    "float",
    "whole",
    "bool",
]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a node must keep to. `arguments` are named as in the operator table.

    constant       these arguments are constants
    only           this argument does not arrive: it is a constant and `value`, which is what CANN takes without it
    only of a function  the same, where MindSpore's operator definition tells Lite which arguments to move
    no empty list  this argument is no constant `()`: MindSpore reads it as all axes, CANN as none
    no empty tensor  none of the tensors of this argument is without elements: nothing tells that CANN takes one
    no bool        none of the tensors of this argument is boolean: neither declaration nor kernel has the type
    no -1          this argument is a constant without -1
    no bfloat16    this argument is of another type (MindSpore's operators say so)
    made by        this argument is made by the operator `value`
    rank           this argument has one of the ranks `value`
    joins          of four axes, CANN takes it into the operator `value` that makes the first of these arguments
    one shape      these arguments have one shape, known before run time
    one type       these arguments are tensors of one element type
    float, …       these arguments have a float type; are whole numbers; are boolean
    """

    kind: LimitKind
    arguments: tuple[str, ...]
    value: float | str | tuple[int, ...] | None = None

    def __str__(self) -> str:
        message = f"{self.kind} {', '.join(self.arguments)}"
        if self.value is None:
            return message
        value = " or ".join(map(str, self.value)) if isinstance(self.value, tuple) else str(self.value)
        return f"{message}: {value}"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator that is taken: by whom, the source file that says so, and within which limits."""

    name: str
    accepted_by: str
    source: str
    note: str = ""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """An operator that is not taken, or only in a way not to be relied on: why, and what says the same instead."""

    name: str
    why: str
    instead: str


GE_FOLDER = "mindspore/ccsrc/plugin/res_manager/ascend/op_adapter/op_declare"
LITE_FOLDER = "mindspore-lite/tools"


def _ge(file: str, *operators: str | tuple[str, str, tuple[Limit, ...]]) -> Iterator[Operator]:
    """Adapters of one file: names, or names with a note and limits."""
    for operator in operators:
        name, note, limits = (operator, "", ()) if isinstance(operator, str) else operator
        yield Operator(name, "GE adapter", f"{GE_FOLDER}/{file}_declare.cc", note, limits)


def _lite(name: str, by: str, file: str, note: str) -> Operator:
    return Operator(name, f"Lite, {by}", f"{LITE_FOLDER}/{file}", note)


def _constant(*arguments: str) -> Limit:
    return Limit("constant", arguments)


def _float(*arguments: str) -> Limit:
    return Limit("float", arguments)


def _bool(*arguments: str) -> Limit:
    return Limit("bool", arguments)


_WHOLE = (Limit("whole", ("x", "y")),)
_BOOLS = (_bool("x", "y"),)
_AXES = Limit("no empty list", ("axis",))
_NO_BFLOAT16 = (Limit("no bfloat16", ("x",)),)
_REDUCE = (_AXES, _constant("keep_dims"))
_SCALAR = "on sizes only; becomes the tensor operator, in int32"


def _rows() -> Iterator[Operator]:
    yield from _ge(
        "array_ops",
        ("Contiguous", "Identity, which the graph engine takes away", ()),
        "Depend",
        "ExpandDims",
        "MakeTuple",
        ("Reshape", "a computed shape is a MakeTuple of sizes, which ScalarOpPass makes a tensor", ()),
        ("Shape", "read by TupleGetItem it becomes tensor arithmetic in int32 (ScalarOpPass)", ()),
        ("Squeeze", "", (_constant("axis"),)),
        "TupleGetItem",
    )
    yield from _ge(
        "elewise_calculation_ops",
        "Abs",
        ("Add", "a number beside a tensor is a tensor of its type: a plain one becomes float32 or int64", ()),
        ("Argmax", "", (_constant("axis", "output_type"),)),
        (
            "BiasAdd",
            "data_format does not arrive: CANN takes the last axis, but in a convolution",
            (
                Limit("rank", ("input_x",), (2, 4)),
                Limit("only", ("data_format",), 0),
                Limit("joins", ("input_x", "bias"), "Conv2D"),
            ),
        ),
        ("BitwiseAnd", "", _WHOLE),
        ("BitwiseOr", "", _WHOLE),
        ("Cast", "", (_constant("dtype"),)),
        "Ceil",
        "Cos",
        ("Div", "", (_float("input", "other"),)),
        "Equal",
        ("Exp", "", (_float("input"),)),
        "Floor",
        "FloorDiv",
        "FloorMod",
        "Greater",
        "GreaterEqual",
        "Less",
        "LessEqual",
        "Log",
        ("LogicalAnd", "", _BOOLS),
        ("LogicalNot", "", (_bool("input"),)),
        ("LogicalOr", "", _BOOLS),
        "Maximum",
        "Minimum",
        "Mul",
        "Neg",
        "NotEqual",
        "OnesLike",
        "Pow",
        "RealDiv",
        ("Reciprocal", "", (_float("input"),)),
        ("Rsqrt", "", (_float("input"),)),
        "Sign",
        "Sin",
        ("Sqrt", "", (_float("x"),)),
        "Square",
        "Sub",
        "ZerosLike",
    )
    yield from _ge(
        "fusion_ops",
        ("GeGluV2", "dim, approximate and activate_left are attributes", ()),
        (
            "PromptFlashAttention",
            "all eight scalars are put back",
            (
                _constant(
                    "num_heads",
                    "scale_value",
                    "pre_tokens",
                    "next_tokens",
                    "input_layout",
                    "num_key_value_heads",
                    "sparse_mode",
                    "inner_precise",
                ),
            ),
        ),
    )
    yield from _ge(
        "image_ops",
        (
            "ResizeNearestNeighbor",
            "a size of int64 becomes int32",
            (_constant("size", "align_corners", "half_pixel_centers"),),
        ),
        (
            "ResizeNearestNeighborV2",
            "a size of int64 becomes int32",
            (_constant("align_corners", "half_pixel_centers"),),
        ),
    )
    yield from _ge(
        "math_ops",
        ("Complex", "complex64", ()),
        ("Erf", "", (_float("input"),)),
        ("Imag", "complex64", ()),
        "IsFinite",
        "IsInf",
        "IsNan",
        ("Real", "complex64", ()),
    )
    yield from _ge(
        "matrix_calculation_ops",
        ("BatchMatMul", "rank 3 and more", (_constant("transpose_a", "transpose_b"),)),
        (
            "MatMul",
            "becomes MatMulV2, or BatchMatMul where its result is not of rank 2; a primitive takes a bias as third",
            (_constant("transpose_a", "transpose_b"),),
        ),
        "TensorScatterUpdate",
        ("Tril", "diagonal is an attribute", ()),
        ("Triu", "", (_constant("diagonal"),)),
    )
    yield from _ge(
        "nn_calculation_ops",
        ("Conv2D", "reads the attributes stride (4), pad_list (4), dilation (4), group, format NCHW; takes a bias", ()),
        (
            "Conv3D",
            "reads the attributes strides (5), pad_list (6), dilations (5), groups, format NCDHW; takes a bias",
            _NO_BFLOAT16,
        ),
        (
            "Conv3DTranspose",
            "as Conv3DTransposeD; reads the attributes Conv3D does, input_size (5) and output_padding (5)",
            _NO_BFLOAT16,
        ),
    )
    yield from _ge(
        "nn_norm_ops",
        ("AddLayerNorm", "epsilon and additional_output are attributes", ()),
        ("GroupNormSilu", "all but its tensors are attributes", ()),
        ("LayerNorm", "", (_constant("begin_norm_axis", "begin_params_axis", "epsilon"),)),
        ("LayerNormV3", "", (_constant("begin_norm_axis", "begin_params_axis", "epsilon"),)),
        ("LogSoftmax", "", (_constant("axis"),)),
        (
            "RmsNorm",
            "epsilon arrives as an input of a primitive that is no function",
            (Limit("only of a function", ("epsilon",), 1e-6),),
        ),
        ("Softmax", "", (_constant("axis"),)),
    )
    yield Operator(
        "Custom",
        "GE adapter",
        f"{GE_FOLDER.removesuffix('/op_declare')}/op_adapter.cc",
        "GE's operator whose name is the attribute reg_op_name; held to GE's ports by `converter.py`",
    )
    yield from _ge(
        "nn_other_ops",
        ("RotaryPositionEmbedding", "a mode that is an attribute is lost", (_constant("mode"),)),
    )
    yield from _ge(
        "nonlinear_fuc_ops",
        ("GeLU", "the form with tanh, as in MindSpore", ()),
        "HSwish",
        "Mish",
        "ReLU",
        ("SiLU", "Swish, whose scale is 1 by default", ()),
        "Sigmoid",
        ("Tanh", "", (_float("input"),)),
    )
    yield from _ge(
        "pad_ops",
        ("BroadcastTo", "", (Limit("no -1", ("shape",)),)),
        ("FillV2", "what Lite makes of Zeros and Ones", ()),
    )
    yield from _ge(
        "reduce_ops",
        ("ReduceAll", "", (*_REDUCE, _bool("input"))),
        ("ReduceAny", "keep_dims does not arrive", (_AXES, Limit("only", ("keep_dims",), False), _bool("x"))),
        ("ReduceMax", "", _REDUCE),
        ("ReduceMean", "", _REDUCE),
        ("ReduceMin", "", _REDUCE),
        ("ReduceProd", "keep_dims does not arrive", (_AXES, Limit("only", ("keep_dims",), False))),
        ("ReduceSum", "skip_mode is not read", (_AXES, _constant("keep_dims"), Limit("only", ("skip_mode",), False))),
    )
    yield from _ge(
        "selection_ops",
        ("CumSum", "", (_constant("exclusive", "reverse"),)),
        ("Gather", "the axis is an input, batch_dims is put back", (_constant("batch_dims"),)),
        ("GatherD", "", (_constant("dim"),)),
        "GatherNd",
        ("MaskedFill", "", (Limit("one type", ("input_x", "value")),)),
        ("OneHot", "the axis does not arrive", (Limit("only", ("axis",), -1),)),
        ("Range", "", ()),
        ("Select", "CANN's Select does not broadcast", (Limit("one shape", ("condition", "input", "other")),)),
        ("ReverseV2", "", (_constant("axis"),)),
        "Slice",
        (
            "StridedSlice",
            "begin, end and strides may be computed",
            (_constant("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"),),
        ),
        "Tile",
        ("TopK", "k becomes int32", (_constant("k"),)),
    )
    yield from _ge(
        "split_combination_ops",
        (
            "Concat",
            "",
            (
                Limit("made by", ("tensors",), "MakeTuple"),
                Limit("no empty tensor", ("tensors",)),
                Limit("no bool", ("tensors",)),
                _constant("axis"),
            ),
        ),
        ("Split", "into equal parts", (_constant("axis", "output_num"),)),
        ("SplitV", "size_splits, split_dim and num_split are attributes", ()),
        ("Stack", "axis is an attribute", (Limit("made by", ("x",), "MakeTuple"),)),
    )
    yield from _ge(
        "transformation_ops",
        "Flatten",
        "Transpose",
        ("Unstack", "axis and num are attributes", ()),
    )
    removed = "optimizer/graph/redundant_op_remove_pass.cc"
    yield _lite("Identity", "RemoveRedundantOpPass", removed, "taken away")
    yield _lite("Load", "RemoveRedundantOpPass", removed, "taken away, so is a monad in an argument's place")
    yield _lite("TensorMove", "RemoveRedundantOpPass", removed, "taken away")
    yield _lite("UpdateState", "RemoveRedundantOpPass", removed, "taken away")
    yield _lite("make_list", "MakeListPass", "optimizer/graph/make_list_pass.cc", "becomes MakeTuple")
    for name in ("ScalarAdd", "ScalarDiv", "ScalarFloorDiv", "ScalarMul", "ScalarSub"):
        yield _lite(name, "ScalarOpPass", "optimizer/graph/scalar_op_pass.cc", _SCALAR)


_NONE = "no adapter"
_EXTEND = "no adapter; ConvertExtendOpsPass rewrites it where shapes are static, with the default provider only"
_EXTEND_ANY = "no adapter; ConvertExtendOpsPass rewrites it, with the default provider only"
_INLINE = "a call of a function has no adapter, and Lite's mappers stop at it"


def _refused() -> Iterator[Refused]:
    yield Refused("<call>", _INLINE, "the function's nodes in the caller's place")
    yield Refused("AdaptiveAvgPool2DExt", _NONE, "ReduceMean over blocks; else Gather, ReduceSum, Div")
    yield Refused("AddExt", _NONE, "Add of the second times alpha")
    yield Refused("AddScalar", _NONE, "Add of a tensor of its type")
    yield Refused("Addmm", _NONE, "MatMul, Mul by alpha and beta, Add")
    yield Refused("Arange", _NONE, "a constant, or Range where its arguments are computed")
    yield Refused("AvgPool2D", _NONE, "Reshape and ReduceMean for windows side by side")
    yield Refused("Baddbmm", _NONE, "BatchMatMul, Mul by alpha and beta, Add")
    yield Refused("BatchMatMulExt", _NONE, "BatchMatMul")
    yield Refused("BroadcastToView", _NONE, "BroadcastTo")
    yield Refused("Chunk", _NONE, "Split, or a StridedSlice a part where the parts differ")
    yield Refused("ChunkView", _NONE, "as Chunk")
    yield Refused("ClampScalar", _NONE, "Maximum and Minimum with tensors of its type")
    yield Refused("ClampTensor", _NONE, "Maximum and Minimum")
    yield Refused("Clone", _NONE, "its argument")
    yield Refused("ConstantPadND", _NONE, "Concat with constants")
    yield Refused("Conv2DBackpropInput", "an adapter; what format it gets there was not read", "as Conv2DTranspose")
    yield Refused("Conv2DExt", _NONE, "Conv2D, or BatchMatMul by groups, and Add of the bias as [1, C, 1, 1]")
    yield Refused(
        "Conv2DTranspose",
        "an adapter, but what it reads has no format there (GetOpIOFormat); a pass that only MindSpore runs makes it "
        "Conv2DBackpropInput",
        "Conv2D: by patches where its kernel is its stride, else of x with zeros between",
    )
    yield Refused("Conv3DExt", _NONE, "Conv3D with the bias, or Mul, ReduceSum and Add of the bias by channel")
    yield Refused("ConvTranspose2D", _NONE, "as Conv2DTranspose, and Add of the bias as [1, C, 1, 1]")
    yield Refused("CumsumExt", _NONE, "Cast to its dtype, CumSum")
    yield Refused("Dense", _EXTEND, "Reshape, MatMul with transpose_b, Add, Reshape")
    yield Refused("Divs", _NONE, "Div by a tensor of its type; integers are cast to float32")
    yield Refused("Embedding", _NONE, "Gather on axis 0, where max_norm is None")
    yield Refused("EmptyLike", _NONE, "zeros")
    yield Refused("EqScalar", _NONE, "Equal with a tensor of its type")
    yield Refused("ExpandDimsView", _NONE, "ExpandDims")
    yield Refused("Eye", "an adapter, and nothing in it that is known at run time only", "a constant")
    yield Refused("FillScalar", _NONE, "a constant, or FillV2")
    yield Refused("FillTensor", _NONE, "a constant, or FillV2, of a number that is known")
    yield Refused("FlashAttentionScore", "AttrToArgsPass does not put its eight scalars back", "PromptFlashAttention")
    yield Refused("FlattenExt", _NONE, "Reshape")
    yield Refused("FullLike", _NONE, "a constant, or FillV2")
    yield Refused(
        "GeluExt", _NONE, "GeGluV2 in a gate, or cut weights; GeLU for tanh; x / 2 * (1 + Erf(x / √2)) for none"
    )
    yield Refused("Generator", _NONE, "nothing: no result reads it")
    yield Refused("GreaterEqualScalar", _NONE, "GreaterEqual with a tensor of its type")
    yield Refused("GreaterScalar", _NONE, "Greater with a tensor of its type")
    yield Refused(
        "GroupNorm",
        "no adapter (there is one for GroupNormSilu)",
        "GroupNormSilu, and where that is refused ReduceMean, Sub, Rsqrt, …",
    )
    yield Refused("IndexSelect", _NONE, "Gather")
    yield Refused("InplaceAddExt", _NONE, "Add, where nothing else reads the changed tensor")
    yield Refused("InplaceMul", _NONE, "Mul, where nothing else reads the changed tensor")
    yield Refused("LayerNormExt", "an adapter, to LayerNormV4; Lite's own passes know LayerNorm only", "LayerNorm")
    yield Refused("LessScalar", _NONE, "Less with a tensor of its type")
    yield Refused("LinSpaceExt", _NONE, "a constant")
    yield Refused("LinalgVectorNorm", _NONE, "Sqrt of ReduceSum of Square for the norm of order 2")
    yield Refused("LogSoftmaxExt", _NONE, "LogSoftmax")
    yield Refused("MatMulExt", _EXTEND, "MatMul, or BatchMatMul with the batch axes broadcast")
    yield Refused("Max", _EXTEND_ANY, "ReduceMax over all axes")
    yield Refused("MaxDim", _NONE, "ReduceMax, and Argmax where the index is read")
    yield Refused("MeanExt", _NONE, "Cast to its dtype, ReduceMean over axes written out")
    yield Refused("Meshgrid", "an adapter, but its tuple is not taken apart", "Reshape and BroadcastTo")
    yield Refused("Min", _EXTEND_ANY, "ReduceMin over all axes")
    yield Refused("Mm", _NONE, "MatMul")
    yield Refused("Muls", _EXTEND_ANY, "Mul by a tensor of its type")
    yield Refused("Narrow", _NONE, "StridedSlice")
    yield Refused("NarrowView", _NONE, "StridedSlice")
    yield Refused("NeScalar", _NONE, "NotEqual with a tensor of its type")
    yield Refused("NewFull", _NONE, "a constant, or FillV2")
    yield Refused("NewOnes", _NONE, "a constant, or OnesLike")
    yield Refused("NewZeros", _NONE, "a constant, or ZerosLike")
    yield Refused("Ones", _EXTEND_ANY, "a constant, or FillV2")
    yield Refused("OnesLikeExt", _NONE, "a constant, or OnesLike and Cast")
    yield Refused("Outer", _NONE, "Mul of [-1, 1] and [1, -1]")
    yield Refused(
        "PadV3",
        "an adapter, but MindSpore counts paddings from the last axis and CANN from the first; only PadV3GePass, of "
        "the provider ge, turns them round",
        "Concat with constants",
    )
    yield Refused("Partial", "part of a conditional call", "both branches and Select")
    yield Refused("PowTensorScalar", _NONE, "Pow with a tensor of its type; Square for 2")
    yield Refused("ReflectionPad1D", _NONE, "Gather of the borders, Concat")
    yield Refused("ReflectionPad2D", _NONE, "as ReflectionPad1D")
    yield Refused("ReflectionPad3D", _NONE, "as ReflectionPad1D")
    yield Refused("Repeat", _NONE, "Tile")
    yield Refused("RepeatInterleaveInt", _NONE, "ExpandDims, Tile, Reshape")
    yield Refused("ReplicationPad1D", _NONE, "as ReflectionPad1D")
    yield Refused("ReplicationPad2D", _NONE, "as ReflectionPad1D")
    yield Refused("ReplicationPad3D", _NONE, "as ReflectionPad1D")
    yield Refused("ScalarGt", "ScalarOpPass knows arithmetic on sizes, no comparison", "shapes known before run time")
    yield Refused("SelectExtView", _NONE, "StridedSlice and Reshape")
    yield Refused("SliceExt", _NONE, "StridedSlice")
    yield Refused("SliceExtView", _NONE, "StridedSlice")
    yield Refused("SplitTensor", _NONE, "as SplitWithSize")
    yield Refused("SplitTensorView", _NONE, "as SplitWithSize")
    yield Refused("SplitWithSize", _NONE, "Split, or a StridedSlice a part where the parts differ")
    yield Refused("SplitWithSizeView", _NONE, "as SplitWithSize")
    yield Refused("StackExt", _NONE, "ExpandDims and Concat")
    yield Refused("SubExt", _NONE, "Sub of the second times alpha")
    yield Refused("SubScalar", _NONE, "Sub of a tensor of its type")
    yield Refused("SumExt", _EXTEND_ANY, "Cast to its dtype, ReduceSum over axes written out")
    yield Refused("Switch", "a conditional call", "both branches and Select")
    yield Refused("TExt", _NONE, "Transpose")
    yield Refused("TensorToScalar", "ScalarOpPass takes it only before ScalarToTensor or Cast", "a constant")
    yield Refused("TransposeExtView", _NONE, "Transpose")
    yield Refused("TransposeView", _NONE, "Transpose")
    yield Refused("TrilExt", _NONE, "Tril")
    yield Refused("Unique2", _NONE, "nothing")
    yield Refused("UnstackExtView", _NONE, "Unstack, or a StridedSlice a part")
    yield Refused("UpsampleNearest1D", _NONE, "ResizeNearestNeighbor of an image of one row")
    yield Refused("UpsampleNearest2D", _NONE, "ResizeNearestNeighbor; Reshape and BroadcastTo for whole factors")
    yield Refused(
        "UpsampleNearest3D",
        "an adapter; what becomes of the one of its two arguments that is None is not documented",
        "ResizeNearestNeighbor of its pictures, Gather of its depth",
    )
    yield Refused("View", _NONE, "Reshape")
    yield Refused("ViewAs", _NONE, "Reshape")
    yield Refused("Zeros", _EXTEND_ANY, "a constant, or FillV2")
    yield Refused("ZerosLikeExt", _NONE, "ZerosLike and Cast")


def _sorted(rows: Iterable[Operator]) -> dict[str, Operator]:
    return {row.name: row for row in sorted(rows, key=lambda row: row.name)}


OPERATORS: dict[str, Operator] = _sorted(_rows())
REFUSED: dict[str, Refused] = {row.name: row for row in _refused()}


def accepts(target: Target, op: str) -> bool:
    """Whether the target's runtime takes an operator of that name, within limits. MindSpore takes all of its own."""
    return target.runtime != "lite" or op in OPERATORS
