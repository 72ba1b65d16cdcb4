"""Names of operators stand in the operator table and, beyond it, only where code is about that very operator."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import attnfuse
import attnfuse_passes
from attnfuse.ir.graph import CALL, CONSTANT
from attnfuse.ir.operators.table import OPERATORS

_FOLDERS = {"attnfuse": Path(attnfuse.__file__).parent, "passes": Path(attnfuse_passes.__file__).parent}
_TABLE = "attnfuse/ir/operators/"
_NAME = re.compile(r"[A-Z]\w*[a-z]\w*|[a-z]+_[a-z]+")
_REGISTER = {"identity", "legalises", "lowers", "simplifies"}
_WRITE = {"op", "emit", "emit_many", "reduce_last"}
"""Methods of builders: their first argument is the operator that is written."""
_OTHER_WORDS = {
    "attnfuse/cost/kinds.py": "GE's operators",
    "attnfuse/targets/composites.py": "GE's operators",
    "attnfuse/targets/ge.py": "GE's operators",
    "attnfuse/verify/memory/liveness.py": "ONNX's operators",
    "attnfuse/verify/numbers/planning.py": "ONNX's operators",
    "attnfuse/verify/numbers/rows.py": "ONNX's operators",
    "attnfuse/verify/numbers/same_nodes.py": "ONNX's operators",
    "attnfuse/tracing/": "classes of the model's code",
    "passes/api.py": "names of Python classes: Identity is what a plugin brings",
}
"""Where a word that is also an operator's name is something else."""

_FUSED = "FlashAttentionScore PromptFlashAttention"
_ASSIGNS = "Assign AssignAdd AssignSub InplaceAddExt InplaceSubExt InplaceCopy"
_ROWS = "Max MaxDim ArgMaxWithValue ReduceMax ReduceSum SumExt LogSumExp Log LogExt Log2 LinalgVectorNorm Exp Exp2"
_OF_ROWS = "Add AddExt Maximum Minimum ClampScalar ClampTensor Select Where MaskedFill Equal IsInf"
_ABOUT = {
    # Passes.
    "passes/attention/identities/product.py": (
        "MatMulExt BatchMatMulExt MatMul BatchMatMul Mm Baddbmm Addmm Dense Mul Add AddExt InplaceAddExt Sub SubExt",
        "how each matrix product takes its operands, and which operands of a sum are scores",
    ),
    "passes/attention/identities/rows.py": (
        f"{_ROWS} {_OF_ROWS}",
        "what makes a number for each row, of magnitudes too, and what may be done to it before the row meets it again",
    ),
    "passes/attention/identities/exponentials.py": (
        "Exp Exp2 Pow PowScalarTensor PowTensorScalar Reciprocal",
        "exponentials of any base, and what divides by their sum",
    ),
    "passes/attention/identities/nan_guard.py": ("LogicalNot Equal NotEqual IsFinite", "what tells NaN from numbers"),
    "passes/attention/identities/weights.py": (
        "Dropout DropoutExt Chunk Split SplitWithSize SplitTensor",
        "what a TupleGetItem or a Concat undoes",
    ),
    "passes/attention/identities/slices.py": (
        "StridedSlice Slice SliceExt Narrow Split SplitTensor SplitWithSize Chunk",
        "where each cuts, and along which axis",
    ),
    "passes/attention/softmax.py": (
        "ReduceSum SumExt LinalgVectorNorm LogSoftmax LogSoftmaxExt LogSumExp",
        "sums that exponentials may enter, and logarithms of such sums",
    ),
    "passes/attention/identities/contraction.py": (
        "Einsum SumExt ReduceSum Mul",
        "einsum's equation, and a product that is summed",
    ),
    "passes/attention/formula.py": ("Baddbmm", "its bias is scaled by a factor of its own"),
    "passes/attention/restated/parts.py": (
        "MatMulExt BatchMatMulExt MatMul BatchMatMul Mm Transpose BroadcastTo BroadcastToView ExpandAs",
        "products of which one is written over all keys, and what repeats logits for each row",
    ),
    "passes/attention/restated/masked.py": ("Maximum ReduceMax", "what the largest score so far is made of"),
    "passes/attention/restated/scores.py": (
        "Concat Add AddExt MaxDim ReduceMax",
        "what puts scores beside each other, finds the largest, and adds what parts of the weights give",
    ),
    "passes/attention/restated/reweighted.py": (
        "Mul SumExt ReduceSum Sigmoid ReLU Exp Abs Square",
        "weights weighed again and their sum, and what gives no number below 0",
    ),
    "passes/attention/restated/chunks.py": (
        "Div RealDiv Add AddExt Mul Exp",
        "the exponentials of chunks, what scales and adds them, and the division at the end",
    ),
    "passes/attention/restated/rows.py": (
        "Exp Sub SubExt ExpandDims Squeeze Reshape",
        "exponentials of differences of rows, and a last axis of one element",
    ),
    "passes/attention/restated/stacked.py": (
        "StackExt Mul SumExt ReduceSum",
        "what chunks give beside each other, multiplied and summed",
    ),
    "passes/attention/census.py": (
        "Tanh TopK Mul SumExt ReduceSum Baddbmm Addmm",
        "what caps scores, what ends a router, a product that is summed, and those whose first operand is added",
    ),
    "passes/attention/masks.py": ("Add", "the sum of biases"),
    "passes/attention/hiding.py": ("Add AddExt InplaceAddExt Sub SubExt", "sums, which are learned where each part is"),
    "passes/attention/open_sizes.py": (
        "ExpandDims Reshape Shape Tile Transpose",
        "what asks for a size, and which axis keeps one that is not known",
    ),
    "passes/attention/fused_node.py": ("Cast", "the cast around a query"),
    "passes/attention/producers.py": (
        "FlashAttentionScore Cast NotEqual NotEqualScalar LogicalNot Tile RepeatInterleaveInt",
        "how a mask comes to be boolean, negated, and repeated along one axis",
    ),
    "passes/attention/lower/flash_attention_score.py": ("FlashAttentionScore", "it is the operator"),
    "passes/attention/lower/prompt_flash_attention.py": ("PromptFlashAttention", "it is the operator"),
    "passes/linear.py": ("Add AddExt BiasAdd", "what adds a bias behind a product"),
    # Composites: what they begin at and take in.
    "passes/composites/add_layer_norm.py": ("Add AddExt Mul Muls Div Divs", "the sum, and factors of 1 in it"),
    "passes/composites/layer_norm.py": ("LayerNorm LayerNormExt", "the norms that it begins at"),
    "passes/composites/group_norm.py": ("GroupNorm Mul SiLU Sigmoid", "the norm, and both spellings of SiLU behind it"),
    "passes/composites/gate.py": ("SiLU", "the activation within, which is not written"),
    "passes/composites/gelu.py": (
        "Tanh Add Adds Mul Muls Pow PowTensorScalar Square",
        "the formula, with numbers as tensors or plain",
    ),
    "passes/composites/matching.py": (
        "Chunk ChunkView Split SplitTensor SplitTensorView SplitWithSize SplitWithSizeView StridedSlice",
        "what cuts an axis in halves",
    ),
    "passes/composites/rms_norm.py": (
        "Mul Add Cast Pow PowTensorScalar Square MeanExt ReduceMean Rsqrt",
        "the formula of mean squares",
    ),
    "passes/composites/rotation.py": (
        "Neg Mul Add Cast Concat StackExt UnstackExtView",
        "the formula, by pairs and by halves",
    ),
    # Rules: what they write by name kept aside, or what another function writes for them.
    "passes/legalise/activate.py": ("Maximum Minimum", "written for the ends of a clamp"),
    "passes/legalise/choose.py": ("LogicalAnd LogicalOr", "written for bits of booleans"),
    "passes/legalise/convolve.py": ("Conv2D Conv3D ReduceSum", "written for convolutions, and what a kernel sums"),
    "passes/legalise/create.py": ("ZerosLike OnesLike", "written for their namesakes"),
    "passes/legalise/nodes.py": ("ReduceSum", "has an argument more than other reductions"),
    "passes/legalise/normalise.py": ("ReduceMean", "written for the statistics of a norm"),
    "passes/legalise/pool.py": ("ReduceMean ReduceSum", "written for a pool"),
    "passes/legalise/products.py": ("BatchMatMul", "written for other products"),
    "passes/legalise/rules.py": ("Contiguous", "a copy that is taken, and written as its argument"),
    "passes/legalise/scalars.py": (
        "Add Sub Mul Div Pow Equal NotEqual Less Greater GreaterEqual",
        "written for the same with a number",
    ),
    "passes/simplify/transposed.py": (
        "AddLayerNorm Cast GroupNorm GroupNormSilu Mul Sub",
        "elementwise neighbours that take a bias in, and those that take row-major tensors",
    ),
    "passes/simplify/ranges.py": (
        "Neg Abs Sin Cos Add Sub Mul Div Minimum Maximum Select",
        "between which numbers the results of some lie",
    ),
    "passes/simplify/dropout.py": ("Dropout DropoutExt", "what a TupleGetItem takes the first result of"),
    "passes/simplify/doubles.py": ("Neg Add Sub Mul Div Sin Cos Concat", "how errors go through each"),
    "attnfuse/cost/program.py": (
        "Add AddLayerNorm Cast",
        "the bias of a product, a sum that need not be given out, and a cast of a number, which is a constant",
    ),
    "attnfuse/cost/regions.py": ("Cast", "it may stand between a sum and the norm behind it"),
    # Targets.
    "attnfuse/targets/limits.py": (_FUSED, "one a runtime"),
    "attnfuse/targets/attention.py": ("PromptFlashAttention", "it is the operator whose rules these are"),
    "attnfuse/targets/fused.py": (_FUSED, "one a runtime"),
    "attnfuse/targets/converter.py": (
        "Custom RmsNorm RotaryPositionEmbedding Shape",
        "what of each the converter loses",
    ),
    "attnfuse/targets/support.py": ("Cast Load", "what a learned bias may go through"),
    "attnfuse/targets/nodes.py": (
        "Custom PromptFlashAttention",
        "the one names another, the other has limits of its own",
    ),
    # Verification reads meaning by itself, so that a mistake in the table is seen.
    "attnfuse/verify/lowering/graph.py": ("Identity", "ONNX's, which names an output"),
    "attnfuse/verify/graph/fused_nodes.py": (_FUSED, "its own reader of the two"),
    "attnfuse/verify/graph/assigned.py": (
        (
            f"{_ASSIGNS} ScatterUpdate ScatterNdUpdate TensorScatterUpdate Load Add AddExt Sub SubExt Cast BroadcastTo "
            "Reshape"
        ),
        "what each writes to a parameter, and the nodes that make the same",
    ),
    "attnfuse/verify/inference/inferred_types.py": (
        "MatMul BatchMatMul BroadcastTo Custom Swiglu",
        "what MindSpore Lite takes and MindSpore does not, and what MindSpore is asked instead",
    ),
    "attnfuse/verify/graph/sums.py": (
        "AddLayerNorm Add AddExt Mul Muls Div Divs RealDiv",
        "the operator that gives a sum out, sums, and factors of 1 in them",
    ),
    "attnfuse/verify/graph/branches.py": ("Partial Switch", "how an if and a while are written"),
    "attnfuse/verify/graph/known.py": (
        "Triu Tril TrilExt Arange OnesLike OnesLikeExt Ones FullLike FillV2 FillScalar Mul Muls",
        "triangles of what is known, ranges, and what fills a shape with a number",
    ),
    "attnfuse/verify/numbers/baseline.py": (
        "Mul Muls Div Divs RealDiv Exp SumExt ReduceSum MaskedFill MaskedFillScalar Select Where",
        "operators of scale, products by hand, and operators that fill in a number",
    ),
    "attnfuse/verify/numbers/inputs.py": (
        "Mul Muls IsFinite NanToNum Equal NotEqual",
        "what scales a time, and what tells NaN from numbers",
    ),
    "attnfuse/reduction/layouts.py": ("Reshape Transpose", "layouts that are moved out of a part"),
    # The graph's own language, and what follows a batch.
    "attnfuse/ir/canonical.py": ("TensorMove", "what MindSpore puts behind a weight that is read twice"),
    "attnfuse/ir/text/program.py": (
        "Load Depend UpdateState MakeTuple TupleGetItem",
        "what the text form leaves unwritten, and has signs for",
    ),
    "attnfuse/dynamic/generalise.py": ("StridedSlice", "its end may be left out"),
    "attnfuse/dynamic/rows.py": (
        "StridedSlice ZerosLike OnesLike Cast Reshape Sub LogicalAnd CumSum Tile",
        "written for a row as often as the batch says",
    ),
}
"""Names that a file may hold beside those that it registers a function for or writes; and what it is about there."""

_ONLY_VERIFIED = {
    "ArgMaxExt",
    "ArgMinExt",
    "ArgMinWithValue",
    "ArgSort",
    "Argmin",
    "InplaceScatterAdd",
    "InplaceScatterSrc",
    "MinDim",
    "Roll",
    "ScatterAddExt",
    "ScatterNd",
    "Softplus",
    "SoftplusExt",
    "Sort",
    "SortExt",
    "Std",
    "TensorCopySlices",
    "TensorScatterSub",
    "TopkExt",
    "Var",
}
"""MindSpore's operators that verification computes and of which nothing else is asked: the table has no row of them."""

_MEANINGS = {
    "attnfuse/cost/sorts.py": "which kernel CANN runs for an operator, where the row's kernel does not tell",
    "passes/attention/mask_values.py": "how each operator of mask arithmetic is computed",
    "passes/attention/uniform.py": "what fills a tensor with one number, and what becomes of it",
    "attnfuse/targets/operators.py": "one line an operator, read in the target's sources",
    "attnfuse/verify/lowering/elementwise.py": "ONNX's operator for each",
    "attnfuse/verify/graph/readers.py": "what each operator asks of its input",
    "attnfuse/verify/inference/binding.py": "what each operator makes of shapes",
}
"""Files that are a table of what operators mean, or of what a target says of them: one line an operator."""


@cache
def _sources() -> tuple[tuple[str, ast.Module], ...]:
    found = []
    for name, folder in _FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            place = f"{name}/{path.relative_to(folder).as_posix()}"
            if not place.startswith((_TABLE, *_OTHER_WORDS)):
                found.append((place, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Trees of all sources take memory that the tests behind these are measured with."""
    yield
    _sources.cache_clear()


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _names(tree: ast.AST) -> set[str]:
    """Every string that is the name of a row."""
    texts = {_text(node) for node in ast.walk(tree)}
    return {text for text in texts if text is not None and text in OPERATORS}


def _of_its_own(tree: ast.Module) -> set[str]:
    """Names that the file registers a function for, by themselves or by a list of it, and those that it writes."""
    lists = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in _REGISTER:
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "ops")]
            for part in (part for argument in given for part in ast.walk(argument)):
                listed = lists.get(part.id) if isinstance(part, ast.Name) else None
                keys = [key for key in listed.keys if key is not None] if isinstance(listed, ast.Dict) else [listed]
                found |= _names(part).union(*(_names(key) for key in keys if key is not None))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in _WRITE and node.args:
            found |= _names(node.args[0])
    return found


def _used_as_names(tree: ast.Module) -> set[str]:
    """Strings used as names of operators: compared with a node's, registered for, or listed beside one."""
    found: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "op":
            found |= {_text(part) for other in node.comparators for part in ast.walk(other)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _REGISTER:
            named = [keyword.value for keyword in node.keywords if keyword.arg == "ops"]
            found |= {_text(part) for other in (named or node.args) for part in ast.walk(other)}
        elif isinstance(node, ast.Tuple | ast.Set | ast.List | ast.Dict):
            texts: set[str | None] = {_text(part) for part in (node.keys if isinstance(node, ast.Dict) else node.elts)}
            found |= texts if len(OPERATORS.keys() & texts) > 1 else set()
    return {text for text in found if text is not None and _NAME.fullmatch(text)}


def test_names_stand_only_where_code_is_about_the_operator() -> None:
    found = {place: _names(tree) - _of_its_own(tree) for place, tree in _sources() if place not in _MEANINGS}
    allowed = {place: set(names.split()) for place, (names, _) in _ABOUT.items()}
    assert {place: names for place, names in found.items() if names} == allowed


def test_a_table_of_meanings_is_one() -> None:
    found = {place: _names(tree) for place, tree in _sources() if place in _MEANINGS}
    assert found.keys() == _MEANINGS.keys()
    assert all(len(names) > 15 for names in found.values())


def test_every_name_is_one_of_the_table() -> None:
    unknown = {place: _used_as_names(tree) - OPERATORS.keys() - {CALL, CONSTANT} for place, tree in _sources()}
    only_verified = {place: names for place, names in unknown.items() if names}
    assert all(place.startswith("attnfuse/verify/") for place in only_verified)
    assert set().union(*only_verified.values()) == _ONLY_VERIFIED


def test_a_name_is_found_however_it_is_used() -> None:
    tree = ast.parse(
        """
        if node.op == "One" or other.op in ("Two", "Three"): pass
        @legalises("Four")
        def rule(): pass
        @identity("bias.add", ops=("Five",), identity="x")
        def other(): pass
        LIST = {"Add": 1, "Mul": 2, "Six": 3}
        WORDS = {"Seven", "Add"}
        """.replace("\n        ", "\n")
    )
    assert _used_as_names(tree) == {"One", "Two", "Three", "Four", "Five", "Add", "Mul", "Six"}


def test_what_is_registered_or_written_is_the_files_own() -> None:
    tree = ast.parse(
        """
        LIST = {"Sub": "Mul"}
        @legalises("Add", *LIST)
        def rule(at): return at.nodes.op("Reshape" if at.plain else "Transpose", LIST["Sub"], "Cast")
        """.replace("\n        ", "\n")
    )
    assert _of_its_own(tree) == {"Add", "Sub", "Reshape", "Transpose"}
    assert _names(tree) == {"Add", "Sub", "Mul", "Reshape", "Transpose", "Cast"}
