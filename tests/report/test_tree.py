"""Sites as a tree: chains of modules in one, equal blocks in one, what differs apart."""

from __future__ import annotations

from attnfuse.cost.records import Share, SiteCost
from attnfuse.decisions import SiteRecord, Status
from attnfuse.report.build import with_ids
from attnfuse.report.figures import Error
from attnfuse.report.tree import Branch, site_tree


def tree(
    *modules: str,
    missed: str = "",
    errors: dict[str, Error] | None = None,
    shares: dict[str, SiteCost] | None = None,
) -> tuple[Branch, ...]:
    records = []
    for module in modules:
        status: Status = "missed" if module == missed else "fused"
        records.append(
            SiteRecord(module=module, graph="g", anchor=module, form="formula", status=status, code=status, reason="")
        )
    return site_tree(with_ids("unet", records), errors or {}, shares or {})


def outline(branches: tuple[Branch, ...]) -> list[object]:
    """Labels, with what is in each; of a leaf the number of sites."""
    return [
        [branch.label, *outline(branch.children), *(len(leaf.ids) for leaf in branch.leaves)] for branch in branches
    ]


def test_equal_blocks_stand_once() -> None:
    blocks = [f"down.blocks.{n}.{name}" for n in (0, 1, 2, 4) for name in ("attn1", "attn2")]
    (branch,) = tree(*blocks)
    assert outline((branch,)) == [["down.blocks.0–2, 4", ["attn1", 4], ["attn2", 4]]]
    assert branch.sites == 8
    assert branch.all_leaves[0].ids == tuple(f"unet/down.blocks.{n}.attn1" for n in (0, 1, 2, 4))


def test_equal_blocks_within_equal_blocks() -> None:
    blocks = [f"down.{a}.blocks.{b}.attn" for a in (0, 1) for b in (0, 1, 2)]
    assert outline(tree(*blocks)) == [["down.0–1.blocks.0–2.attn", 6]]


def test_a_block_that_differs_stands_apart() -> None:
    blocks = [f"blocks.{n}.attn" for n in range(4)]
    assert outline(tree(*blocks, missed="blocks.2.attn")) == [["blocks", ["0–1, 3.attn", 3], ["2.attn", 1]]]


def test_names_that_are_no_numbers_are_not_put_together() -> None:
    assert outline(tree("attn1", "attn2")) == [["attn1", 1], ["attn2", 1]]


def test_several_sites_of_a_module_and_one_without() -> None:
    assert outline(tree("a.attn", "a.attn", "")) == [["a.attn", 1, 1], ["(no module)", 1]]


def test_of_equal_blocks_the_largest_error_is_shown() -> None:
    errors = {"blocks.0.attn": Error(1e-4, 1e-3), "blocks.1.attn": Error(3e-4, 1e-3)}
    (branch,) = tree("blocks.0.attn", "blocks.1.attn", "blocks.2.attn", errors=errors)
    assert branch.leaves[0].error == Error(3e-4, 1e-3)


def test_of_equal_blocks_the_most_of_the_estimate_is_shown() -> None:
    shares = {
        f"unet/blocks.{n}.attn": SiteCost(
            f"unet/blocks.{n}.attn", Share((n + 2) * 2**20, 9, (n + 2) * 1e-6), Share(2**19, 1, 3e-7) if after else None
        )
        for n, after in enumerate((True, True, False))
    }
    first, missed = tree("blocks.0.attn", "blocks.1.attn", "blocks.2.attn", missed="blocks.2.attn", shares=shares)[
        0
    ].children
    assert first.leaves[0].costs == ("3.00 → 0.50 MiB moved", "3.00 → 0.30 µs at least", "9 → 1 kernels")
    assert missed.leaves[0].costs == ("4.0 MiB moved", "4.0 µs at least", "9 kernels")
