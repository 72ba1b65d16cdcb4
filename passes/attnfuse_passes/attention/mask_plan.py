"""What a fused node is given for masks and biases; `masks.py` makes it of the terms of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnfuse.api import FullyMaskedRows, Obligation
from attnfuse_passes.attention.normal_form import Bias, BooleanMask, Fill, Term


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """What the fused node is given. Constants have axes [batch, heads, query, key], 1 where they do not vary.

    `kind` is "bool", "causal", "additive" or None. `guard` is what stands for fully masked rows behind the node.
    `divide`: whether the bias may be divided by the scale. `shifted` are terms to be summed and shifted in float32; if
    there are any, nothing else is used. `level`: rows whose largest bias is −level or less have none of their scores.
    """

    masks: tuple[BooleanMask, ...] = ()
    constant_mask: npt.NDArray[np.bool_] | None = None
    biases: tuple[Bias, ...] = ()
    constant_bias: npt.NDArray[np.float64] | None = None
    shifted: tuple[Bias | Fill, ...] = ()
    guard: FullyMaskedRows | None = None
    divide: bool = True
    level: float | None = None
    kind: str | None = None
    obligations: tuple[Obligation, ...] = ()

    @property
    def masking(self) -> bool:
        """Whether keys are discarded."""
        return bool(self.masks) or self.constant_mask is not None

    @property
    def biased(self) -> bool:
        return bool(self.biases or self.shifted) or self.constant_bias is not None

    @property
    def per_head(self) -> bool:
        """Whether the mask of one head may differ from another's."""
        constant = self.constant_mask
        return any(mask.per_head for mask in self.masks) or (constant is not None and constant.shape[1] > 1)


def as_given(terms: Sequence[Term]) -> MaskPlan:
    """The mask and the bias of a fused node of the source, which go on as they are."""
    masks = tuple(term for term in terms if isinstance(term, BooleanMask))
    biases = tuple(term for term in terms if isinstance(term, Bias))
    return MaskPlan(masks=masks, biases=biases, kind="additive" if biases else "bool" if masks else None)
