"""The pass that legalises: for MindSpore Lite, every operator outside its table that a rule can write otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import ClassVar

from attnfuse.api import REWRITES, Context, Effects, Model, Property, TakeExtensions
from attnfuse_passes.legalise import (
    activate,
    arrange,
    choose,
    convolve,
    create,
    inplace,
    normalise,
    pool,
    products,
    reduce,
    scalars,
    split,
    views,
)
from attnfuse_passes.legalise.rules import RULES, RuleRewrite, extend, plugged
from attnfuse_passes.rewrite import AnyRewrite, rewrite

FAMILIES = (
    *(activate, arrange, choose, convolve, create, inplace, normalise),
    *(pool, products, reduce, scalars, split, views),
)
"""The modules whose import filled the table of rules."""


@dataclass(frozen=True, slots=True)
class Legalise:
    """Rewrites what MindSpore Lite has no adapter for, after fusing. Rewrites of plugins run for any runtime."""

    id: ClassVar[str] = "legalise"
    order: ClassVar[int] = 200
    summary: ClassVar[str] = "operators MindSpore Lite does not take are written with those it does"
    requires: ClassVar[frozenset[Property]] = frozenset({Property.DECIDED})
    takes: ClassVar[Mapping[str, TakeExtensions]] = {REWRITES: extend}

    def run(self, model: Model, context: Context) -> bool:
        """Visit the nodes in file order; the edits are applied at the end, at once."""
        rewrites: list[AnyRewrite] = [*plugged()]
        if context.target.runtime == "lite":
            rewrites += starmap(RuleRewrite, RULES.items())
        return bool(rewrites) and rewrite(model, context, Effects.of(model), rewrites)
