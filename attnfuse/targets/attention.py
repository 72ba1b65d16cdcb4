"""Which PromptFlashAttention nodes a device launches: the rules of CANN's own host-side tiling, per SoC.

A node is described in full, as it would be written. Sources, named in each refusal:
  TILING   CANN's tiling of the operator (ops-transformer, November 2025), run on x86-64 with the platform figures of
           910B2 and 310P3 over 6,824 nodes: what it refuses cannot be launched
  KERNELS  CANN 8.1.RC1's list of kernels: a combination of types that is not in it has none
  SHAPES   MindSpore 2.7.1's docstring and inference of the operator
  ONE_HEAD the kernel's sources: of a mask with heads of its own it reads the first
Where they disagree the stricter counts. No kernel was run. The 910_93 has the kernel list of the 910B; its figures were
not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attnfuse.targets.facts import NO_OPERATOR, Refusal, TensorFacts
from attnfuse.targets.limits import SOCS_OF, Target, listed

TILING = "CANN's tiling, November 2025"
KERNELS = "CANN 8.1.RC1's list of kernels"
SHAPES = "MindSpore 2.7.1's definition of the operator"
ONE_HEAD = "CANN's kernel reads the mask of one head only"

LAYOUTS = ("BSH", "BNSD", "BSND", "BNSD_BSND")
"""Of query, key and value; BNSD_BSND gives its result in BSND."""
HEAD_MULTIPLE = "target.head_multiple"
"""The code of what zeros behind each head cure."""
COMPRESSED_MASK = 2048
"""Both sizes of the triangular mask that sparse_mode 2, 3 and 4 want, whatever the sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchLimits:
    """What PromptFlashAttention takes on one SoC. Sizes are inclusive upper bounds.

    `precisions` are values of `inner_precise`: bit 0 clear computes in high precision, set in high performance, bit 1
    repairs fully masked rows. `max_group` bounds query heads for each head of key and value. `aligned_head` is what
    head_dim must be a multiple of in bfloat16, in float16 and high precision, which a float16 bias forces, and in any
    mode where the batch is above `unaligned_batch`. `mask_multiple`: 0, any mask; n, one only where both sequences are
    equal and a multiple of n.
    """

    dtypes: tuple[str, ...]
    mask_dtypes: tuple[str, ...]
    precisions: tuple[int, ...]
    max_head_dim: int
    aligned_head: int
    unaligned_batch: int
    max_batch: int
    max_heads: int
    max_group: int
    max_sequence: int
    sequence_source: str
    bias: bool
    mask_multiple: int


ASCEND_910B = LaunchLimits(
    dtypes=("float16", "bfloat16"),
    mask_dtypes=("bool", "int8", "uint8"),
    precisions=(0, 1, 2, 3),
    max_head_dim=512,
    aligned_head=16,
    unaligned_batch=128,
    max_batch=65536,
    max_heads=256,
    max_group=64,
    max_sequence=20971520,
    sequence_source=SHAPES,  # the tiling takes longer ones
    bias=True,
    mask_multiple=0,
)
ASCEND_310P = replace(
    ASCEND_910B,
    dtypes=("float16",),
    mask_dtypes=("bool",),
    precisions=(1,),
    max_batch=128,
    max_sequence=65536,
    sequence_source=TILING,
    bias=False,
    mask_multiple=16,
)
LAUNCH_LIMITS = {"ascend310p": ASCEND_310P, "ascend910b": ASCEND_910B, "ascend910_93": ASCEND_910B}
"""Of the SoCs that have the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedNodeFacts:
    """A fused node as it would be written: its attributes by PromptFlashAttention's names, None for an absent tensor.

    `pse_shift` is the bias, before or behind the scale. `kv_heads` of 0 stands for as many as `heads`.
    """

    layout: str
    query: TensorFacts
    key: TensorFacts
    value: TensorFacts
    heads: int
    kv_heads: int = 0
    sparse_mode: int = 0
    inner_precise: int = 1
    mask: TensorFacts | None = None
    pse_shift: TensorFacts | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the attention behind a layout; -1 where one is not known before run time."""

    batch: int
    heads: int
    kv_heads: int
    query_length: int
    key_length: int
    head_dim: int


def launch_refusals(target: Target, node: FusedNodeFacts) -> tuple[Refusal, ...]:
    """Everything that keeps a device from launching the node; () where nothing does.

    A size that is not known before run time goes beyond no bound, but is no multiple of anything and equal to nothing.
    Of a node whose operands do not fit each other only that is told.
    """
    limits = LAUNCH_LIMITS.get(target.soc)
    if limits is None:
        return (Refusal(NO_OPERATOR, listed(SOCS_OF["PromptFlashAttention"]), target.soc, KERNELS),)
    sizes = sizes_of(node)
    if isinstance(sizes, Refusal):
        return (sizes,)
    return (
        *_types(limits, node),
        *_bounds(limits, sizes),
        *_precision(limits, node, sizes),
        *_mask(limits, node, sizes),
        *_bias(limits, node, sizes),
    )


def sizes_of(node: FusedNodeFacts) -> Sizes | Refusal:
    """The sizes behind the layout, or why query, key and value do not fit each other."""
    if node.layout not in LAYOUTS:
        return Refusal("target.layout", f"the layouts {', '.join(LAYOUTS)}", node.layout, TILING)
    query, key, value = node.query, node.key, node.value
    message = f"{query}, {key} and {value} in {node.layout}"
    axes = node.layout.partition("_")[0]
    heads, kv_heads = node.heads, node.kv_heads or node.heads
    if heads <= 0 or kv_heads < 0:
        return Refusal("target.heads", "heads, of key and value too", f"{heads} and {kv_heads}", TILING)
    if any(len(tensor.dims) != len(axes) for tensor in (query, key, value)):
        return Refusal("target.operands", f"operands of {len(axes)} axes", message, SHAPES)
    q, k = (dict(zip(axes, tensor.dims, strict=True)) for tensor in (query, key))
    if axes == "BSH":
        q |= {"N": heads, "D": _quotient(q["H"], heads)}
        k |= {"N": kv_heads, "D": _quotient(k["H"], kv_heads)}
    fits = (q["N"], k["N"]) == (heads, kv_heads) and _agree(q["B"], k["B"]) and _agree(q["D"], k["D"])
    if not fits or key.dims != value.dims or 0 in (q["D"], k["D"]):
        wanted = f"operands of one batch and head_dim, with {heads} and {kv_heads} heads, key and value of one shape"
        return Refusal("target.operands", wanted, message, SHAPES)
    if 0 in (q["S"], k["S"]):
        return Refusal("target.sequence", "sequences that are not empty", message, SHAPES)
    return Sizes(q["B"], heads, kv_heads, q["S"], k["S"], max(q["D"], k["D"]))


def _quotient(width: int, heads: int) -> int:
    """Elements a head: -1 where that is not known, 0 where the heads do not divide them."""
    if width < 0:
        return -1
    return 0 if width % heads else width // heads


def _agree(one: int, other: int) -> bool:
    return one == other or -1 in (one, other)


def _types(limits: LaunchLimits, node: FusedNodeFacts) -> Iterator[Refusal]:
    dtypes = {tensor.dtype for tensor in (node.query, node.key, node.value)}
    if len(dtypes) > 1 or not dtypes <= set(limits.dtypes):
        wanted = f"query, key and value all in {' or '.join(limits.dtypes)}"
        yield Refusal("target.dtype", wanted, " and ".join(sorted(dtypes)), KERNELS)
    if node.mask is not None and node.mask.dtype not in limits.mask_dtypes:
        # float16 is in the list for float16 queries, and is no truth value: MindSpore does not take it.
        source = TILING if node.mask.dtype != "float16" or "float16" not in dtypes else SHAPES
        yield Refusal("target.mask_dtype", f"a mask in {' or '.join(limits.mask_dtypes)}", node.mask.dtype, source)


def _bounds(limits: LaunchLimits, sizes: Sizes) -> Iterator[Refusal]:
    longest = max(sizes.query_length, sizes.key_length)
    for code, what, bound, value, source in (
        ("target.head_dim", "a head_dim", limits.max_head_dim, sizes.head_dim, TILING),
        ("target.batch", "a batch", limits.max_batch, sizes.batch, TILING),
        ("target.heads", "a number of heads", limits.max_heads, sizes.heads, TILING),
        ("target.sequence", "a sequence", limits.max_sequence, longest, limits.sequence_source),
    ):
        if value > bound:
            yield Refusal(code, f"{what} of at most {bound}", str(value), source)
    group, rest = divmod(sizes.heads, sizes.kv_heads)
    if rest or group > limits.max_group:
        wanted = f"a number of heads that is 1 to {limits.max_group} times that of key and value"
        yield Refusal("target.grouped_heads", wanted, f"{sizes.heads} and {sizes.kv_heads}", TILING)


_PRECISIONS = ("high precision", "fast precision", "high precision with rows mended", "fast precision with rows mended")


def _precision_name(inner_precise: int) -> str:
    """What a policy calls it, and the argument; a value of no meaning is told as it is."""
    argument = f"inner_precise {inner_precise}"
    return f"{_PRECISIONS[inner_precise]} ({argument})" if inner_precise in range(len(_PRECISIONS)) else argument


def _precision(limits: LaunchLimits, node: FusedNodeFacts, sizes: Sizes) -> Iterator[Refusal]:
    if node.inner_precise not in limits.precisions:
        wanted = " or ".join(map(_precision_name, limits.precisions))
        yield Refusal("target.inner_precise", f"{wanted} only", _precision_name(node.inner_precise), TILING)
    if sizes.head_dim % limits.aligned_head == 0:
        return
    aligned = f"a head_dim that is a multiple of {limits.aligned_head}"
    if not 0 <= sizes.batch <= limits.unaligned_batch:
        wanted = f"{aligned} where the batch may be above {limits.unaligned_batch}"
        yield Refusal(HEAD_MULTIPLE, wanted, str(sizes.head_dim), TILING)
    if node.query.dtype == "bfloat16":  # the tiling takes any, MindSpore does not load the graph
        yield Refusal(HEAD_MULTIPLE, f"{aligned} in bfloat16", str(sizes.head_dim), SHAPES)
    has_bias = node.pse_shift is not None
    if node.query.dtype == "float16" and (node.inner_precise % 2 == 0 or has_bias):
        why = "a bias in float16" if has_bias else "float16 in high precision"
        yield Refusal(HEAD_MULTIPLE, f"{aligned} with {why}", str(sizes.head_dim), TILING)


def _mask(limits: LaunchLimits, node: FusedNodeFacts, sizes: Sizes) -> Iterator[Refusal]:
    mode, mask = node.sparse_mode, node.mask
    if mode not in range(5):
        yield Refusal("target.sparse_mode", "a sparse_mode of 0 to 4", str(mode), TILING)
    elif mode and mask is None:
        yield Refusal("target.sparse_mode", f"a mask with sparse_mode {mode}", "none", TILING)
    if mask is None:
        return
    yield from _mask_shape(mask, mode, sizes)
    n = limits.mask_multiple
    if n and (sizes.query_length != sizes.key_length or sizes.query_length < 0 or sizes.query_length % n):
        wanted = f"with a mask, query and key sequences equal and multiples of {n}"
        yield Refusal("target.mask_shape", wanted, f"{sizes.query_length} and {sizes.key_length}", TILING)


def _mask_shape(mask: TensorFacts, mode: int, sizes: Sizes) -> Iterator[Refusal]:
    """[Sq, Sk], [1 or B, Sq, Sk] or [1 or B, 1, Sq, Sk], or larger in the last two; triangular in modes 2 to 4."""
    if len(mask.dims) not in (2, 3, 4):
        yield Refusal("target.mask_shape", "a mask of 2, 3 or 4 axes", str(mask), TILING)
        return
    *leading, rows, columns = mask.dims
    batch = leading[0] if leading else 1
    if mode in (2, 3, 4):
        if (rows, columns) != (COMPRESSED_MASK,) * 2 or any(size != 1 for size in leading):
            wanted = f"a mask of [1, 1, {COMPRESSED_MASK}, {COMPRESSED_MASK}] with sparse_mode {mode}"
            yield Refusal("target.mask_shape", wanted, str(mask), TILING)
        return
    if len(leading) == 2 and leading[1] != 1:
        yield Refusal("target.mask_per_head", "one mask for all heads", str(mask), ONE_HEAD)
    if not (_is_row(batch, sizes.batch) and _covers(rows, sizes.query_length) and _covers(columns, sizes.key_length)):
        wanted = f"a mask of [1 or {sizes.batch}, 1, {sizes.query_length} or more, {sizes.key_length} or more]"
        yield Refusal("target.mask_shape", wanted, str(mask), TILING)


def _is_row(batch: int, wanted: int) -> bool:
    """Whether a batch of masks or biases is one for all, or one for each."""
    return batch == 1 or _agree(batch, wanted)


def _covers(size: int, length: int) -> bool:
    """A size that is not known covers a length that is not known, and one of 1 covers none but 1."""
    if length < 0:
        return size < 0 or size > 1
    return size < 0 or size >= length


def _bias(limits: LaunchLimits, node: FusedNodeFacts, sizes: Sizes) -> Iterator[Refusal]:
    bias = node.pse_shift
    if bias is None:
        return
    if not limits.bias:
        yield Refusal("target.bias", "attention without an additive bias", "attention with one", TILING)
        return
    if bias.dtype != node.query.dtype:
        yield Refusal("target.bias_dtype", f"a bias in the query's {node.query.dtype}", bias.dtype, TILING)
    batch, heads, rows, columns = bias.dims if len(bias.dims) == 4 else (0, 0, 0, 0)
    fits = _is_row(batch, sizes.batch) and heads == sizes.heads
    if not (fits and _covers(rows, sizes.query_length) and _covers(columns, sizes.key_length)):
        wanted = (
            f"a bias of [1 or {sizes.batch}, {sizes.heads}, {sizes.query_length} or more, {sizes.key_length} or more]"
        )
        yield Refusal("target.bias_shape", wanted, str(bias), TILING)
