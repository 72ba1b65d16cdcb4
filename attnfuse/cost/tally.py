"""The estimate of one graph by kinds of kernels, and the fusions of the engine that it counts on.

What a device's profile and the engine's own count of its fusions can be held to. May import `estimate`, `kernels`,
`kinds`, `program` and `regions` of this package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from attnfuse import collector
from attnfuse.cost.estimate import shortest
from attnfuse.cost.kernels import scheduled
from attnfuse.cost.kinds import Kind, kind_of_operator, strongest
from attnfuse.cost.program import read_program
from attnfuse.cost.regions import Groups
from attnfuse.cost.sorts import Sort
from attnfuse.ir.graph import Model
from attnfuse.targets.socs import SPECIFICATIONS


@dataclass(frozen=True, slots=True)
class KindEstimate:
    """The kernels of one kind: how many, the bytes they move, and the seconds they take at least."""

    kernels: int
    bytes_moved: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fusion:
    """What the engine is counted on to fuse: `rule` of docs/cost.md, by any of its `passes`, `assumed` times."""

    rule: str
    what: str
    passes: tuple[str, ...]
    assumed: int


@dataclass(frozen=True, slots=True)
class Tally:
    """An estimate by kinds, in their order, none without a kernel; all fusions that rules name passes for."""

    kinds: Mapping[Kind, KindEstimate]
    fusions: tuple[Fusion, ...]

    @property
    def seconds(self) -> float:
        """Of all kernels, at least."""
        return sum(kind.seconds for kind in self.kinds.values())


_BIAS, _REGION, _REDUCTION = "bias", "region", "reduction"
_BEHIND, _NORM, _TRANSPOSE, _PAD, _CONVOLUTION = "behind", "norm", "transpose", "pad", "convolution"
_FUSIONS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    _BIAS: ("3", "a bias with the product before it", ("MatMulBiasAddFusionPass", "BatchMatMulBiasAddFusionPass")),
    _CONVOLUTION: ("3", "a bias with the convolution before it", ("AABiasaddConvFusion",)),
    _REGION: ("4", "elementwise operations as one kernel", ("AutomaticUbFusion", "TbeEltwiseFusionPass")),
    _REDUCTION: ("5", "a reduction with its elementwise neighbours", ("TbeReduceElemwiseFusionPass",)),
    _BEHIND: (
        "6",
        "elementwise operations with the product or convolution before them",
        ("ATbeMatMulElemwise", "TbeBatchMatmulElementWise", "TbeConvDoubleIn"),
    ),
    _NORM: ("7", "an Add with the LayerNorm behind it", ("AddLayerNormFusionPass",)),
    _TRANSPOSE: ("8", "a Transpose with the product behind it", ("BatchMatMulFusionPass",)),
    _PAD: ("10", "a Pad with the convolution behind it", ("PadConv2dFusionPass",)),
}
"""Rule, what is fused, and the passes that may do it, by the names that they have in fusion_result.json.

The names are those of CANN 8.1's fusion_config.json and of its reference of fusion rules.
"""


def tally(model: Model, soc: str) -> Tally:
    """Estimate a graph on a SoC, one of `attnfuse.targets.SOCS`, by kinds.

    Raises NotEstimated as `read_program` does.
    """
    about = SPECIFICATIONS[soc]
    with collector.paused():
        groups = Groups(read_program(model), about)
        counts = _fused(groups)
        found: dict[Kind, KindEstimate] = {}
        for kernel in scheduled(groups).kernels:
            if kernel.is_task:
                kind = strongest(map(kind_of_operator, kernel.what.split("+")))
                one = found.get(kind, KindEstimate(0, 0, 0.0))
                found[kind] = KindEstimate(
                    one.kernels + 1, one.bytes_moved + kernel.bytes, one.seconds + shortest(kernel, about)
                )
    fusions = (Fusion(*told, counts[name]) for name, told in _FUSIONS.items())
    return Tally({kind: found[kind] for kind in Kind if kind in found}, tuple(fusions))


def _fused(groups: Groups) -> Counter[str]:
    """How often each fusion is counted on."""
    found: Counter[str] = Counter()
    for at, operation in enumerate(groups.operations):
        found[_TRANSPOSE] += at in groups.free and groups.goes_into_product(operation)
    for members in groups.members.values():
        sorts = Counter(groups.operations[at].sort for at in members)
        if len(members) > 1:
            found.update(_of_kernel(groups, members, sorts))
    return found


def _of_kernel(groups: Groups, members: list[int], sorts: Counter[Sort]) -> list[str]:
    """The fusions that a kernel of several operations comes of."""
    for heavy, name in ((Sort.PRODUCT, _BIAS), (Sort.CONVOLUTION, _CONVOLUTION)):
        if sorts[heavy]:
            behind = [at for at in members if groups.operations[at].sort is Sort.ELEMENTWISE]
            has_bias = bool(behind) and groups.adds_bias(behind[0], heavy)
            taken = {_PAD: sorts[Sort.PAD] > 0, name: has_bias, _BEHIND: len(behind) > has_bias}
            return [fusion for fusion, is_taken in taken.items() if is_taken]
    for sort, name in ((Sort.NORM, _NORM), (Sort.REDUCE, _REDUCTION)):
        if sorts[sort]:
            return [name]
    return [_REGION]
