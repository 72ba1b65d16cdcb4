"""Matrix products: the mint products as MatMul and BatchMatMul."""

from __future__ import annotations

from attnfuse_passes.legalise.rules import At, legalises


@legalises("BatchMatMulExt")
def batch_matmul_ext(at: At) -> str:
    """[B, M, K] · [B, K, N]; MindSpore's inference asks for equal batches, so nothing broadcasts."""
    no = at.build.constant(False)
    return at.build.node("BatchMatMul", (at.input(0), at.input(1), no, no), at.out)
