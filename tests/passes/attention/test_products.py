"""Products that are written otherwise than as a matrix product, and what only looks like one."""

from __future__ import annotations

import pytest

from tests.support.written import fused, refused

BHSD = "q: float16[2, 4, 8, 16]; k: float16[2, 4, 10, 16]; v: float16[2, 4, 10, 16]\n"
BSHD = "q: float16[2, 8, 4, 16]; k: float16[2, 10, 4, 16]; v: float16[2, 10, 4, 16]\n"
FLAT = "q: float16[8, 16]; k: float16[10, 16]; v: float16[10, 16]\n"
GROUPS = "q: float16[2, 8, 2, 3, 16]; k: float16[2, 10, 2, 16]; v: float16[2, 10, 2, 16]\n"


def einsums(scores: str, result: str, inputs: str = BHSD, axis: int = -1) -> str:
    """Attention by two equations."""
    return inputs + (
        f's = Muls(Einsum((q, k); equation="{scores}"), 0.25)\nEinsum((Softmax(s, ({axis},)), v); equation="{result}")'
    )


SPELLINGS = {
    "einsum": einsums("bhid,bhjd->bhij", "bhij,bhjd->bhid"),
    "einsum with an ellipsis": einsums("... i d, ... j d -> ... i j", "...ij,...jd->...id"),
    "einsum of sequences first": einsums("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", BSHD),
    "einsum with heads behind": einsums("bqhd,bkhd->bqkh", "bqkh,bkhd->bqhd", BSHD, axis=-2),
    "einsum with keys before queries": einsums("bhid,bhjd->bhji", "bhji,bhjd->bhid", axis=-2),
    "einsum of groups": einsums("bqgrd,bkgd->bgrqk", "bgrqk,bkgd->bqgrd", GROUPS),
    "einsum of groups, the group behind": einsums("bqgrd,bkgd->bgqrk", "bgqrk,bkgd->bqgrd", GROUPS),
    "einsum of one query": (
        "q: float16[2, 4, 16]; k: float16[2, 4, 10, 16]; v: float16[2, 4, 10, 16]\n"
        's = Einsum((q, k); equation="bhd,bhkd->bhk"); Einsum((Softmax(s, (-1,)), v); equation="bhk,bhkd->bhd")'
    ),
    "einsum with the value first": BHSD
    + ('s = Einsum((k, q); equation="bhjd,bhid->bhij"); Einsum((v, Softmax(s, (-1,))); equation="bhjd,bhij->bhid")'),
    "einsum of keys of all heads": (
        "q: float16[2, 4, 8, 16]; k: float16[2, 10, 16]; v: float16[2, 10, 16]\n"
        's = Einsum((q, k); equation="bhqd,bkd->bhqk"); Einsum((Softmax(s, (-1,)), v); equation="bhqk,bkd->bhqd")'
    ),
    "mm": FLAT + "Mm(Softmax(Muls(Mm(q, Transpose(k, (1, 0))), 0.25), (-1,)), v)",
    "linear": FLAT + "Mm(Softmax(Muls(Dense(q, k, None), 0.25), (-1,)), v)",
    "linear with a bias": FLAT + "b: float16[10]\nMm(Softmax(Dense(q, k, b), (-1,)), v)",
    "linear twice": FLAT + "Dense(Softmax(Dense(q, k, None), (-1,)), Transpose(v, (1, 0)), None)",
    "addmm": FLAT + "b: float16[8, 10]\nMm(Softmax(Addmm(b, q, Transpose(k, (1, 0)), 1, 0.25), (-1,)), v)",
    "a product that is summed": BHSD
    + (
        "s = SumExt(Mul(ExpandDims(q, 3), ExpandDims(k, 2)), (-1,), False, None)\n"
        "SumExt(Mul(ExpandDims(Softmax(s, (-1,)), -1), ExpandDims(v, 2)), (-2,), False, None)"
    ),
    "a product that is summed by reduction": BHSD
    + ("s = ReduceSum(Mul(ExpandDims(k, 2), ExpandDims(q, 3)), -1, False, False)\nMatMulExt(Softmax(s, (-1,)), v)"),
    "rows of groups in another order": (
        "q: float16[2, 2, 3, 8, 16]; k: float16[2, 2, 10, 16]; v: float16[2, 2, 10, 16]\n"
        "s = MatMulExt(Reshape(q, (2, 2, 24, 16)), Transpose(k, (0, 1, 3, 2)))\n"
        "p = Transpose(Reshape(Softmax(s, (-1,)), (2, 2, 3, 8, 10)), (0, 1, 3, 2, 4))\n"
        "MatMulExt(Reshape(p, (2, 2, 24, 10)), v)"
    ),
}

OTHERS = {
    "einsum that sums heads": (einsums("bhid,bhjd->bij", "bij,bhjd->bhid"), "missed", "structure.scores"),
    "einsum that sums queries": (einsums("bhid,bhjd->bhij", "bhij,bhjd->bhd"), "missed", "structure.weights_changed"),
    "einsum of a diagonal": (
        (
            "q: float16[2, 8, 8]; k: float16[2, 8, 8]; v: float16[2, 8, 16]\n"
            's = Einsum((q, k); equation="bii,bji->bij"); Einsum((Softmax(s, (-1,)), v); equation="bij,bjd->bid")'
        ),
        "missed",
        "structure.scores",
    ),
    "einsum over the queries": (
        (
            "q: float16[2, 4, 10, 16]; k: float16[2, 4, 10, 16]; v: float16[2, 4, 10, 16]\n"
            's = Einsum((q, k); equation="bhid,bhjd->bhij"); Einsum((Softmax(s, (-1,)), v); equation="bhij,bhid->bhjd")'
        ),
        "missed",
        "structure.value_axis",
    ),
    "einsum of three": (
        BHSD + 'w: float16[16]\ns = Einsum((q, k, w); equation="bhid,bhjd,d->bhij"); MatMulExt(Softmax(s, (-1,)), v)',
        "missed",
        "structure.scores",
    ),
    "a layer with a weight": (
        FLAT + "w: parameter float16[10, 16]\nMm(Softmax(Dense(q, w, None), (-1,)), v)",
        "not_attention",
        "structure.scores",
    ),
    "a sum with a weight": (
        FLAT + "w: parameter float16[16, 10]; b: float16[10]\nMm(Softmax(Addmm(b, q, w, 1, 1), (-1,)), v)",
        "not_attention",
        "structure.scores",
    ),
    "a product that is summed over two axes": (
        BHSD + "s = SumExt(Mul(ExpandDims(q, 3), ExpandDims(k, 2)), (1, -1), False, None)\n"
        "MatMulExt(ExpandDims(Softmax(s, (-1,)), 1), v)",
        "missed",
        "structure.scores",
    ),
    "a product of equal shapes that is summed": (
        BHSD
        + "SumExt(Mul(Softmax(SumExt(Mul(q, q), (-1,), False, None), (-1,)), w: float16[2, 4, 8]), (-1,), False, None)",
        "not_attention",
        "structure.softmax_axis",
    ),
}


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_products_however_they_are_written(spelling: str, runtime: str) -> None:
    fused(SPELLINGS[spelling], runtime)


@pytest.mark.parametrize("spelling", OTHERS)
def test_what_only_looks_like_a_product(spelling: str) -> None:
    text, *told = OTHERS[spelling]
    assert refused(text) == tuple(told)


def test_groups_of_an_equation_are_not_repeated() -> None:
    """Six query heads read two key heads as they are."""
    record = fused(SPELLINGS["einsum of groups"], "lite")
    assert record.query_shape is not None
    assert record.key_shape is not None
    assert (record.query_shape[1], record.key_shape[1]) == (6, 2) or (record.query_shape[2], record.key_shape[2]) == (
        96,
        32,
    )
