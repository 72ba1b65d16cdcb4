"""Which composite operators a device launches, by shapes, element types and attributes, per SoC.

Sources, named in each refusal:
  TILING   CANN's host-side tiling of each operator (August 2026), run on x86-64 with the platform figures of 910B2,
           910_9391 and 310P3 over 10,262 nodes
  KERNEL   the kernel's own sources, read: what the tiling takes and the kernel would not do right
  ADAPTER  MindSpore 2.7.1's adapter, which loses or misplaces what the operator needs
  SHAPES, BETWEEN  where the tiling takes what no shape inference does, or its own bound lies between two cases
  `ge.py`  the list of kernels by types
Where they disagree the stricter counts. No kernel was run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from attnfuse.targets.facts import Refusal, TensorFacts
from attnfuse.targets.ge import CAST, kernel_refusal
from attnfuse.targets.limits import Target

TILING = "CANN's tiling, August 2026"
KERNEL = "CANN 8.1.RC1's kernel, read"
ADAPTER = "MindSpore 2.7.1's adapter"
SHAPES = "shape inference: an odd size has no half"
BETWEEN = "CANN's tiling, which takes 1 x 1000 heads and refuses 2 x 600"

COMPOSITE_OPERATORS = ("AddLayerNorm", "GeGluV2", "GroupNormSilu", "LayerNormV3", "RmsNorm", "RotaryPositionEmbedding")
"""By the name of MindSpore's primitive, which is also GE's."""
CUSTOM_OPERATORS = ("AddRmsNorm", "GeluV2", "RotaryMul", "SwiGlu", "TransposeBatchMatMul")
"""GE operators without an adapter of use, which arrive as `Custom`."""

_MOST_AXES = 8
_LARGEST_ROTATED_HEAD = 896
_MANY_HEADS = 1000
_BLOCK_BYTES = 64
_SIZES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class CompositeFacts:
    """A node of a composite operator as it would be written: GE's name, inputs in GE's order, attributes by GE's names.

    None stands for an absent input.
    """

    operator: str
    inputs: tuple[TensorFacts | None, ...]
    attributes: Mapping[str, object]

    def tensor(self, at: int) -> TensorFacts:
        """An input that is there: `_absent` was asked before."""
        found = self.inputs[at]
        assert found is not None
        return found


_Rule = Callable[[Target, CompositeFacts], Iterator[Refusal]]


def composite_refusals(target: Target, node: CompositeFacts) -> tuple[Refusal, ...]:
    """Everything that keeps a device from launching the node, or its result from being right; () where nothing does.

    A size that is not known before run time is no multiple of anything. KeyError for an operator without rules.
    """
    required, rule = _RULES[node.operator]
    if any(at >= len(node.inputs) or node.inputs[at] is None for at in range(required)):
        message = ", ".join(str(tensor or "-") for tensor in node.inputs)
        return (_shape(f"all of the first {required} inputs", message),)
    types = kernel_refusal(target, node.operator, [None if t is None else t.dtype for t in node.inputs], ())
    return (*(() if types is None else (types,)), *_empty(node), *rule(target, node))


def _shape(expected: str, found: object, source: str = TILING) -> Refusal:
    return Refusal("composite.shape", expected, str(found), source)


def _empty(node: CompositeFacts) -> Iterator[Refusal]:
    for tensor in node.inputs:
        if tensor is not None and 0 in tensor.dims:
            yield _shape("tensors with elements", tensor)


def _integer(node: CompositeFacts, name: str) -> int:
    """An attribute that is a whole number; −1 stands for one that is missing or none."""
    value = node.attributes.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _group_norm_silu(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    x, gamma, beta = (node.tensor(at) for at in range(3))
    groups = _integer(node, "num_groups")
    if len(x.dims) < 2:
        yield _shape("x of [N, C, ...]", x)
        return
    batch, channels, *rest = x.dims
    if groups <= 0 or channels % groups:
        yield _shape("channels that are a multiple of num_groups", f"{channels} and {groups}")
    if gamma.dims != (channels,) or beta.dims != (channels,) or gamma.dtype != beta.dtype:
        yield _shape("gamma and beta of [C], in one type", f"{gamma} and {beta}")
    if target.soc != "ascend310p" or x.dtype == "float32":
        return
    # Where N = 1 and there are 32 groups, the 310P takes a kernel that reads all three in x's type, in whole blocks.
    if gamma.dtype != x.dtype:
        yield Refusal("composite.dtype", f"gamma and beta in x's {x.dtype}", gamma.dtype, KERNEL)
    if batch in (1, -1) and groups == 32 and (-1 in rest or math.prod(rest) % 16):
        wanted = "a multiple of 16 elements a channel, with a batch of 1 and 32 groups"
        yield _shape(wanted, x, KERNEL)


def _split_axis(node: CompositeFacts, source: str) -> tuple[TensorFacts, int] | Refusal:
    """x, and the axis of it that is halved, from the front; `source` refuses odd sizes."""
    x, dim = node.tensor(0), node.attributes.get("dim", -1)
    rank = len(x.dims)
    if not isinstance(dim, int) or not -rank <= dim < rank:
        return Refusal("composite.attribute", f"a dim of {-rank} to {rank - 1}", str(dim), TILING)
    axis = dim % rank
    if x.dims[axis] % 2:
        return _shape("an even number of elements to halve", x.dims[axis], source)
    return x, axis


def _geglu(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    found = _split_axis(node, TILING)
    if isinstance(found, Refusal):
        yield found
    approximate = node.attributes.get("approximate", 1)
    if approximate not in (0, 1):
        yield Refusal("composite.attribute", "approximate 0 (erf) or 1 (tanh)", str(approximate), TILING)


def _swiglu(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    found = _split_axis(node, SHAPES)
    if isinstance(found, Refusal):
        yield found
        return
    x, axis = found
    rest = x.dims[axis:]
    if target.soc == "ascend310p" and (-1 in rest or math.prod(rest) // 2 * _SIZES.get(x.dtype, 1) % _BLOCK_BYTES):
        yield _shape(f"halves of a multiple of {_BLOCK_BYTES} bytes", x)


def _is_tail(parameters: TensorFacts, x: TensorFacts) -> bool:
    """Whether gain or offset have exactly the sizes of x's last axes."""
    rank = len(parameters.dims)
    return 0 < rank <= len(x.dims) and parameters.dims == x.dims[len(x.dims) - rank :]


def _tail(x: TensorFacts, *parameters: TensorFacts) -> Iterator[Refusal]:
    if len(x.dims) > _MOST_AXES:
        yield _shape(f"at most {_MOST_AXES} axes", x)
    if not all(_is_tail(p, x) for p in parameters) or len({p.dims for p in parameters}) != 1:
        yield _shape(f"parameters of the last axes of {x}", " and ".join(map(str, parameters)))


def _add_layer_norm(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    x1, x2, gamma, beta = (node.tensor(at) for at in range(4))
    bias = node.inputs[4] if len(node.inputs) > 4 else None
    if x1.dims != x2.dims:
        yield _shape("two summands of one shape", f"{x1} and {x2}")
    yield from _tail(x1, gamma, beta)
    if bias is not None and bias.dims not in (x1.dims, gamma.dims):
        yield _shape("a bias of gamma's shape or of the summands'", bias)


def _rms_norm(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    yield from _tail(node.tensor(0), node.tensor(1))


def _add_rms_norm(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    x1, x2, gamma = (node.tensor(at) for at in range(3))
    if x1.dims != x2.dims:
        yield _shape("two summands of one shape", f"{x1} and {x2}")
    yield from _tail(x1, gamma)


def _layer_norm(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    """The kernel chooses its types itself (op_select_format): float32 parameters beside another type for some shapes.

    Where it does not offer that, the engine casts them, and statistics are rounded: a Reshape to [B·S, 1, D] helps.
    """
    x, gamma, beta = (node.tensor(at) for at in range(3))
    yield from _tail(x, gamma, beta)
    if {gamma.dtype, beta.dtype} == {x.dtype}:
        return
    mixed = {gamma.dtype, beta.dtype} == {"float32"} and x.dtype == "float16"
    if node.operator == "LayerNormV3" and x.dtype == "bfloat16":
        mixed = {gamma.dtype, beta.dtype} == {"float32"}
    if not mixed:
        wanted = "gamma and beta in x's type, or in float32 beside float16"
        yield Refusal("kernel.cast", wanted, f"{x.dtype}, {gamma.dtype}, {beta.dtype}: {CAST}", KERNEL)
        return
    rows, width = (1, 1, *x.dims)[-2:]
    if (rows < 0 or rows % 16 == 0) and width < 4096:
        wanted = "with float32 gamma and beta, a second last size that is no multiple of 16, or a last one from 4096 on"
        yield Refusal("kernel.cast", wanted, f"{x}, {gamma.dtype}, {beta.dtype}: {CAST}", KERNEL)


def _layer_norm_v4(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    x, gamma, beta = node.tensor(0), node.tensor(2), node.tensor(3)
    yield from _tail(x, gamma, beta)
    width = x.dims[-1]
    if target.soc == "ascend310p" and (width > 64 or width % 16 == 0 or width < 0):
        yield _shape("a last size of at most 64 that is no multiple of 16", x)


def _rotary(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
    x, cos, sin = (node.tensor(at) for at in range(3))
    mode = node.attributes.get("mode", 0)
    if mode not in (0, 1) or isinstance(mode, bool):
        # The tiling takes mode 2 as well, and runs the kernel of mode 0.
        yield Refusal("composite.attribute", "mode 0 (halves) or 1 (interleaved)", str(mode), KERNEL)
        return
    if len(x.dims) != 4 or len(cos.dims) != 4 or cos.dims != sin.dims:
        yield _shape("x, cos and sin of 4 axes, the last two of one shape", f"{x}, {cos} and {sin}")
        return
    head_dim = x.dims[-1]
    if head_dim % 2:
        yield _shape("an even head_dim", head_dim, TILING if mode == 0 else KERNEL)
    if mode == 0 and head_dim > _LARGEST_ROTATED_HEAD:
        yield _shape(f"a head_dim of at most {_LARGEST_ROTATED_HEAD}", head_dim)
    if cos.dims[-1] != head_dim or not _is_rotation(mode, x.dims[:3], cos.dims[:3]):
        wanted = "cosines of [1, S, 1, D], [1, 1, S, D] or [S, 1, 1, D]" + (", or of a batch" if mode == 0 else "")
        yield _shape(wanted, f"{cos} for {x}")
    if mode == 0 and cos.dims[:2] == (1, 1):
        many = x.dims[0] * x.dims[1]
        if -1 in x.dims[:2] or many >= _MANY_HEADS:
            yield _shape(f"fewer than {_MANY_HEADS} heads in all with cosines of [1, 1, S, D]", x, BETWEEN)


def _is_rotation(mode: int, x: tuple[int, ...], cos: tuple[int, ...]) -> bool:
    """Whether cosines of these leading axes were taken in a run, for x of these.

    Broadcast along all axes but one; in mode 0 along the second or third, or none, too.
    """
    if any(one not in (1, size) for one, size in zip(cos, x, strict=True)):
        return False
    kept = [at for at, size in enumerate(cos) if size != 1]
    if len(kept) == 1:
        return True
    return mode == 0 and (cos == x or kept in ([0, 1], [0, 2]))


def _never(why: str) -> _Rule:
    def rule(target: Target, node: CompositeFacts) -> Iterator[Refusal]:
        yield Refusal("composite.attribute", why, node.operator, ADAPTER)

    return rule


_RULES: Mapping[str, tuple[int, _Rule]] = MappingProxyType(
    {
        "AddLayerNorm": (4, _add_layer_norm),
        "AddRmsNorm": (3, _add_rms_norm),
        "ApplyRotaryPosEmb": (0, _never("the operator RotaryPositionEmbedding")),
        "GeGluV2": (1, _geglu),
        "GroupNormSilu": (3, _group_norm_silu),
        "LayerNorm": (3, _layer_norm),
        "LayerNormV3": (3, _layer_norm),
        "LayerNormV4": (4, _layer_norm_v4),
        "RmsNorm": (2, _rms_norm),
        "RotaryPositionEmbedding": (3, _rotary),
        "SwiGlu": (1, _swiglu),
    }
)
"""By GE operator, how many inputs must be there, and what else is asked."""
JUDGED = frozenset(_RULES)
"""The GE operators there are rules for."""
