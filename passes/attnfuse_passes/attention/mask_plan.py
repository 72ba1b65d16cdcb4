"""What a fused node is given for masks and biases; `masks.py` makes it of the terms of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnfuse.api import FullyMaskedRows, Obligation
from attnfuse_passes.attention.axes import product
from attnfuse_passes.attention.normal_form import Attention, Band, Bias, BooleanMask, Fill


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


def as_given(attention: Attention) -> MaskPlan:
    """The mask and the bias of a fused node of the source, which go on as they are, and what its mode discards."""
    masks = tuple(term for term in attention.terms if isinstance(term, BooleanMask))
    biases = tuple(term for term in attention.terms if isinstance(term, Bias))
    bands = [term for term in attention.terms if isinstance(term, Band)]
    lengths = (product(attention.axes.query_length), product(attention.axes.key_length))
    outside = bands[0].discarded(*lengths) if bands else None
    kind = "bool" if masks else None if outside is None else "causal" if is_causal(outside) else "bool"
    return MaskPlan(masks=masks, constant_mask=outside, biases=biases, kind="additive" if biases else kind)


def is_causal(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a constant mask hides what comes after, from the first row on or up to the last."""
    batch, heads, rows, columns = mask.shape
    if (batch, heads) != (1, 1) or rows == 1:
        return False
    future = np.triu(np.ones((rows, columns), np.bool_), 1)
    return bool((mask[0, 0] == future).all()) or bool(
        (mask[0, 0] == np.triu(np.ones((rows, columns), np.bool_), 1 + columns - rows)).all()
    )
