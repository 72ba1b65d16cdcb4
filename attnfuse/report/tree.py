"""The sites of a component as a tree of its modules, in which equal blocks stand once.

A branch whose children bear numbers, as a list of blocks has them, shows those that are equal as one: `0–9`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from attnfuse.cost.records import SiteCost
from attnfuse.decisions import SiteRecord
from attnfuse.names import counted
from attnfuse.report.figures import Error
from attnfuse.report.units import BYTES, SECONDS, both, human_bytes, human_seconds


@dataclass(frozen=True, slots=True)
class Leaf:
    """One site, or several that are equal but for where they are. `error` is the largest of theirs."""

    status: str
    code: str
    reason: str
    rule: str
    form: str
    facts: tuple[str, ...]
    """Layout, types, sizes, mask: in the order in which they are shown."""
    cost: tuple[str, ...]
    """What is saved, and what the fused node needs beside it."""
    share: SiteCost | None
    """Of the estimate; of several sites, that of the one which moves the most in the source."""
    warnings: tuple[str, ...]
    ids: tuple[str, ...]
    error: Error | None

    @property
    def costs(self) -> tuple[str, ...]:
        """Bytes moved, time and kernels, source → result, and the rest of what it costs."""
        return (*(() if self.share is None else _told(self.share)), *self.cost)

    @property
    def message(self) -> str:
        """Why it is not fused; nothing where it is."""
        return "" if self.status == "fused" else self.reason


@dataclass(frozen=True, slots=True)
class Branch:
    """A module with those in it. `name` is its own, or the numbers of those that it stands for; `rest` is behind it,
    where one module alone lies in it and it is shown as one with that."""

    name: str
    rest: str = ""
    children: tuple[Branch, ...] = ()
    leaves: tuple[Leaf, ...] = ()

    @property
    def label(self) -> str:
        """The name in the module above: `transformer_blocks.0–9`."""
        return ".".join(filter(None, (self.name, self.rest)))

    @property
    def all_leaves(self) -> tuple[Leaf, ...]:
        """Those of the branch and of all in it."""
        return (*self.leaves, *(leaf for child in self.children for leaf in child.all_leaves))

    @property
    def sites(self) -> int:
        """How many sites it stands for."""
        return sum(len(leaf.ids) for leaf in self.all_leaves)


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)


def site_tree(
    sites: Iterable[SiteRecord], errors: Mapping[str, Error], shares: Mapping[str, SiteCost]
) -> tuple[Branch, ...]:
    """The modules at the top, in the order of their first sites; `errors` by module, `shares` by site."""
    root = _Node()
    for site in sites:
        node = root
        for name in site.module.split(".") if site.module else ():
            node = node.children.setdefault(name, _Node())
        node.leaves.append(_leaf(site, errors.get(site.module), shares.get(site.id)))
    top = _folded(root)
    return (*top, Branch("(no module)", leaves=tuple(root.leaves))) if root.leaves else top


def _leaf(site: SiteRecord, error: Error | None, share: SiteCost | None) -> Leaf:
    return Leaf(
        site.status,
        site.code,
        site.reason,
        site.rule or "",
        site.form,
        tuple(_facts(site)),
        tuple(_cost(site)),
        share,
        site.warnings,
        (site.id,),
        error,
    )


def _facts(site: SiteRecord) -> Iterable[str]:
    facts = site.facts
    if site.layout:
        yield site.layout
    if site.compute_dtype or facts.dtype:
        types = list(dict.fromkeys(filter(None, (site.compute_dtype or facts.dtype, site.output_dtype))))
        yield " → ".join(types)
    if facts.query_length is not None or facts.key_length is not None:
        yield " × ".join("?" if n is None else str(n) for n in (facts.query_length, facts.key_length))
    if facts.head_dim is not None:
        yield f"head_dim {facts.head_dim}"
    if site.mask:
        yield f"{site.mask} mask"
    if site.fully_masked_rows:
        yield f"fully masked rows: {site.fully_masked_rows}"


def _told(share: SiteCost) -> Iterable[str]:
    """`9.12 → 0.50 MiB moved`, or of the source alone."""
    before, after = share.before, share.after
    if before is None:
        return
    if after is None:
        yield f"{human_bytes(before.bytes_moved)} moved"
        yield f"{human_seconds(before.seconds)} at least"
        yield counted(before.kernels, "kernel")
        return
    yield f"{both(before.bytes_moved, after.bytes_moved, BYTES)} moved"
    yield f"{both(before.seconds, after.seconds, SECONDS)} at least"
    yield f"{both(before.kernels, after.kernels)} kernels"


def _cost(site: SiteRecord) -> Iterable[str]:
    if site.status == "fused" and site.score_bytes_saved:
        yield f"{human_bytes(site.score_bytes_saved)} of scores saved"
    if site.casts:
        yield f"casts: {site.casts}"
    if site.head_dim_padding:
        yield f"{site.head_dim_padding} zeros per head"
    if site.mask_bytes:
        yield f"{human_bytes(site.mask_bytes)} of mask"


def _folded(node: _Node) -> tuple[Branch, ...]:
    groups: dict[object, list[Branch]] = {}
    for name, child in node.children.items():
        branch = _branch(name, child)
        groups.setdefault(_shape(branch) if name.isdigit() else name, []).append(branch)
    return tuple(_one_of(group) for group in groups.values())


def _branch(name: str, node: _Node) -> Branch:
    """A module; with the only one in it as one: `transformer_blocks.0`."""
    children = _folded(node)
    if len(children) == 1 and not node.leaves:
        (only,) = children
        return Branch(name, only.label, only.children, only.leaves)
    return Branch(name, "", children, tuple(node.leaves))


def _shape(branch: Branch) -> object:
    """What is the same of equal blocks: all but their own name, their sites' ids, errors and shares of the estimate."""
    return (
        branch.rest,
        tuple((child.name, _shape(child)) for child in branch.children),
        tuple(replace(leaf, ids=("",) * len(leaf.ids), error=None, share=None) for leaf in branch.leaves),
    )


def _one_of(group: Sequence[Branch]) -> Branch:
    """One branch for several that are equal."""
    if len(group) == 1:
        return group[0]
    return replace(_merged(group), name=_runs([int(branch.name) for branch in group]))


def _merged(group: Sequence[Branch]) -> Branch:
    children = tuple(_merged(several) for several in zip(*(branch.children for branch in group), strict=True))
    leaves = tuple(_merged_leaves(several) for several in zip(*(branch.leaves for branch in group), strict=True))
    return replace(group[0], children=children, leaves=leaves)


def _merged_leaves(group: Sequence[Leaf]) -> Leaf:
    errors = [leaf.error for leaf in group if leaf.error is not None]
    worst = max(errors, key=lambda error: error.fused, default=None)
    shares = [leaf.share for leaf in group if leaf.share is not None]
    most = max(shares, key=lambda share: 0 if share.before is None else share.before.bytes_moved, default=None)
    return replace(group[0], ids=tuple(name for leaf in group for name in leaf.ids), error=worst, share=most)


def _runs(numbers: Sequence[int]) -> str:
    """`0–3, 5` of 0, 1, 2, 3, 5."""
    runs = []
    for _, run in groupby(enumerate(sorted(numbers)), lambda item: item[1] - item[0]):
        values = [number for _, number in run]
        runs.append(str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}")
    return ", ".join(runs)
