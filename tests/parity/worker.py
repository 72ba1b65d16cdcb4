"""Traces models as mindone runs them on Ascend: `python -m tests.parity.worker FOLDER NAME...`.

NAME is CASE/DTYPE/SETTING: a case of tools/corpus, a type, and what the user set: `formula` (the host has no fused
operator), `off` (enable_flash_sdp(False)), or what set_flash_attention_force_cast_dtype was given. Leaves
CASE-DTYPE-SETTING.mindir each. In a process with MindSpore; each trace in a fork of it, so that none sees another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import mindspore
from mindone.diffusers.models.attention_processor import Attention

from tools.corpus import worker
from tools.corpus.exports import pretend_ascend
from tools.corpus.models import CASES

MASKED = ("prior", "pixart_mask")
_CASTS = {"float16": mindspore.float16, "bfloat16": mindspore.bfloat16, "none": None}


def _decide(self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):  # type: ignore[no-untyped-def]
    """mindone's decision (attention_processor.py) without its `1.0 in attn_mask`, which no graph can hold."""
    if not (self.fa_op_available and self._enable_flash_sdp) or query.shape[-1] > 512:
        return self.math_attention_op(query, key, value, attn_mask)
    elif query.dtype in (mindspore.float16, mindspore.bfloat16):
        return self.flash_attention_op(query, key, value, attn_mask, keep_prob=1 - dropout_p, scale=scale)
    elif self.fa_force_dtype in (mindspore.float16, mindspore.bfloat16):
        return self.flash_attention_op(
            query.to(self.fa_force_dtype),
            key.to(self.fa_force_dtype),
            value.to(self.fa_force_dtype),
            attn_mask,
            keep_prob=1 - dropout_p,
            scale=scale,
        ).to(query.dtype)
    else:
        return self.math_attention_op(query, key, value, attn_mask)


@contextmanager
def _exportable(case: str) -> Iterator[None]:
    """Leave mindone's own decision in force but where a mask would keep it from being exported."""
    original = Attention.scaled_dot_product_attention
    if case in MASKED:
        Attention.scaled_dot_product_attention = _decide
    try:
        yield
    finally:
        Attention.scaled_dot_product_attention = original


def _set(model: Any, setting: str) -> None:
    if setting == "formula":
        return
    pretend_ascend(model)
    if setting == "off":
        model.enable_flash_sdp(False)
    else:
        model.set_flash_attention_force_cast_dtype(_CASTS[setting])


def main(folder: Path, names: list[str]) -> int:
    """Trace each; the number of those that failed."""
    failed = 0
    for name in names:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                case, dtype, setting = name.split("/")
                model = worker._build(CASES[case], dtype)
                _set(model, setting)
                with _exportable(case), _corpus_does_not_patch():
                    proto = worker._trace(case, CASES[case], model, dtype)
                path = folder / f"{name.replace('/', '-')}.mindir"
                path.write_bytes(proto.SerializeToString(deterministic=True))
                code = 0
            finally:
                os._exit(code)
        failed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    return failed


@contextmanager
def _corpus_does_not_patch() -> Iterator[None]:
    """The corpus takes the decision out of mindone's hands while it traces; here it is what we want to see."""

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    with mock.patch.object(worker, "exportable", nothing):
        yield


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
