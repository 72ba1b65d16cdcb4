"""What must hold for every spelling and every near miss, shared by the property tests and `tools/spell.py`.

Each law raises AssertionError where it is broken, and tells what became of the site otherwise.
"""

from __future__ import annotations

import numpy as np

from attnfuse.decisions import SiteRecord
from attnfuse.mindir.dtypes import FLOAT16
from attnfuse.targets import Target
from tests.support import oracle
from tests.support.forms import LOWEST, Array, Form, Numbers, Term, fine_rows, formula
from tests.support.fusing import fuse
from tests.support.mutations import MUST_REFUSE
from tests.support.spellings import Spelling

FUSED_OPS = ("FlashAttentionScore", "PromptFlashAttention")
ABSORBING = -1e30
HIDING = -1000.0


def check(spelling: Spelling, runtime: str) -> str:
    """The law for this spelling on this runtime; the site's code."""
    if spelling.mutation is None:
        return check_spelling(spelling, runtime)
    return check_mutant(spelling, runtime)


def check_spelling(spelling: Spelling, runtime: str) -> str:
    """Fused into the same normal form, with the formula's numbers; or refused with a code that the form explains."""
    form, original = spelling.form, spelling.model()
    before = oracle.run(original, spelling.inputs)[0]
    assert_same(spelling.result(before), formula(form, spelling.numbers), 1e-9, "the spelling is not the formula")
    model = spelling.model()
    (site,) = fuse(model, runtime, no_fully_masked_rows=form.no_fully_masked_rows)
    if site.status != "fused":
        assert site.code in may_refuse(form, spelling.numbers, runtime), (site.code, site.reason)
        assert model.proto == spelling.proto, "a refused site was changed"
        return site.code
    _check_normal_form(spelling, site)
    after = oracle.run(model, spelling.inputs)[0]
    fine = fine_rows(form, spelling.numbers)
    one, other = spelling.result(after)[fine], spelling.result(before)[fine]
    assert_same(one, other, tolerance(site), "the fused graph is not the formula")
    assert not any(node.op == "Softmax" for node in model.nodes), "the formula is still there"
    return site.code


def check_mutant(spelling: Spelling, runtime: str) -> str:
    """No attention: nothing fused. Perhaps another attention: fused only with the mutant's own numbers."""
    model = spelling.model()
    sites = fuse(model, runtime, no_fully_masked_rows=spelling.form.no_fully_masked_rows)
    if not any(site.status == "fused" for site in sites):
        assert model.proto == spelling.proto, "a refused site was changed"
        return sites[0].code
    assert spelling.mutation not in MUST_REFUSE, "fused, and no attention"
    (site,) = sites
    before = oracle.run(spelling.model(), spelling.inputs)
    after = oracle.run(model, spelling.inputs)
    for one, other in zip(after, before, strict=True):
        assert_same(one, other, tolerance(site), "the fused graph is not the mutant")
    return site.code


def assert_same(one: Array, other: Array, within: float, what: str) -> None:
    """Equal to `within`, and not a number in the same places."""
    np.testing.assert_allclose(one, other, rtol=within, atol=within, equal_nan=True, err_msg=what)


def tolerance(site: SiteRecord) -> float:
    """Bias and scale go into low-precision constants where there is a bias; else only a float32 scale is rounded."""
    if site.mask != "additive":
        return 1e-5
    return 0.06 if site.compute_dtype == "bfloat16" else 0.01


def _check_normal_form(spelling: Spelling, site: SiteRecord) -> None:
    form = spelling.form
    assert site.scale is not None
    assert abs(site.scale / abs(form.scale) - 1) < 1e-6, (site.scale, form.scale)
    compute = form.dtype.name if form.dtype.is_low_precision else "float16"
    assert (site.facts.dtype, site.compute_dtype, site.output_dtype) == (form.dtype.name, compute, form.dtype.name)
    assert site.mask in expected_mask(form, spelling.numbers), site.mask
    assert site.query_shape is not None
    assert site.key_shape is not None
    assert site.value_shape is not None
    lengths = (site.query_shape[-2], site.key_shape[-2], site.value_shape[-2])
    assert lengths == (form.query_length, form.key_length, form.key_length)
    width = form.head_dim + site.head_dim_padding
    assert width >= max(form.head_dim, form.value_head_dim)
    shapes = (site.query_shape, site.key_shape, site.value_shape)
    heads = (form.heads, form.kv_heads, form.kv_heads)
    if not spelling.shows_heads:
        assert int(np.prod(site.query_shape)) == form.batch * form.heads * form.query_length * width
        return
    # With one batch entry or one head, which of the two axes is which does not show.
    shown = form.batch > 1 and form.heads > 1
    if site.layout == "BSH":
        assert all(shape[0] == form.batch for shape in shapes) or not shown
        assert [shape[-1] for shape in shapes] == [own * width for own in heads] or not shown, shapes
    else:
        assert site.layout in ("BNSD", "BNSD_BSND")
        assert all(shape[-1] == width for shape in shapes)
        assert [shape[:2] for shape in shapes] == [(form.batch, own) for own in heads] or not shown, shapes


def _is_discard(form: Form, term: Term) -> bool:
    """Whether the term's meaning, keys left out, is known before run time."""
    limit = ABSORBING if term.dtype.is_low_precision else -4 / term.dtype.unit_roundoff
    low = term.low * abs(_factor_behind(form, term))
    return term.what == "fill" or (term.what == "drop" and term.source != "input" and low <= limit)


def _factor_behind(form: Form, term: Term) -> float:
    """The product of all factors that the scores meet after the term."""
    later = [step for step in form.steps[form.steps.index(term) + 1 :] if not isinstance(step, Term)]
    return float(np.prod(later)) if later else 1.0


def expected_mask(form: Form, numbers: Numbers) -> tuple[str | None, ...]:
    """How the mask may be reported."""
    kinds: set[str] = set()
    for term, value in zip(form.terms, numbers.terms, strict=True):
        if term.what == "drop" and _factor_behind(form, term) < 0:
            if term.source != "constant" or value.any():
                kinds.add("additive")  # it draws attention to the keys it marks
        elif _is_discard(form, term):
            if term.source != "constant":
                kinds.add("bool")
            elif value.any() or term.what == "fill":
                kinds.add("causal" if term.causal else "constant")
        elif term.source != "constant" or value.any():
            kinds.add("additive")
    if "additive" in kinds:
        return ("additive",)
    grows = any(abs(step) > 1 for step in form.steps if not isinstance(step, Term))
    if len(form.terms) > 1 or (grows and not form.no_fully_masked_rows):
        return ("additive", "bool", "causal", None)  # masks that only together may leave a row no key are added up
    if not kinds:
        return (None,)
    if "bool" in kinds:
        return ("bool",)
    return ("causal",) if kinds == {"causal"} else ("bool", "causal")


def may_refuse(form: Form, numbers: Numbers, runtime: str) -> set[str]:
    """The codes with which this form may be left as a formula; an empty set: it has to be fused."""
    codes: set[str] = set()
    compute = form.dtype.name if form.dtype.is_low_precision else "float16"
    for term in form.terms:
        factor = _factor_behind(form, term)
        if _is_discard(form, term):
            if runtime == "lite" and ("N" in term.over or "B" in term.over):
                codes.add("target.mask_per_head")
            if factor < 0:
                codes |= {"facts.fill", "facts.bias_not_finite", "facts.bias_range", "facts.bias_too_large"}
            if term.what == "fill" and term.low * abs(factor) > HIDING:
                codes.add("facts.fill")
            if not np.isinf(term.low) and abs(factor) > 1:
                codes |= {"facts.fill", "facts.bias_range"}  # beyond the type's range
        elif term.what == "drop" and factor < 0 and np.isinf(term.low):
            codes |= {"facts.bias_not_finite", "facts.bias_range"}
        elif term.what == "drop" and abs(term.low * factor) > -LOWEST[compute]:
            codes.add("facts.bias_range")
    fills = [term for term in form.terms if term.what == "fill"]
    drops = [term for term in form.terms if term.what == "drop"]
    large = [*drops, *(term for term in form.terms if term.what == "bias" and term.source == "input")]
    if len(large) > 1 and any(abs(_factor_behind(form, term)) < 1 for term in large):
        codes.add("facts.fully_masked_rows")  # what overflows together may not do so each with a factor
    wider = form.scores_dtype != (form.dtype if form.dtype.is_low_precision else FLOAT16)
    if wider and any(abs(_factor_behind(form, term)) > 1 for term in large):
        codes.add("facts.fully_masked_rows")  # whether the factor meets the mask before a cast or behind it is not told
    if any(_factor_behind(form, term) < 0 for term in large):
        codes |= {"facts.fully_masked_rows", "facts.bias_too_large"}  # turned, it may be one that scores are lost in
    turned = any(_factor_behind(form, term) < 0 for term in form.terms)
    if (turned or not form.no_fully_masked_rows) and len(form.terms) > 1 and fills:
        codes.add("facts.fully_masked_rows")  # a fill in place of a sum is no sum
    return codes


def target_node(runtime: str) -> str:
    """The fused operator of a runtime."""
    return Target(runtime, "ascend910b").node
