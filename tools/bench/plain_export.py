"""What a user does without attnfuse: load a UNet through mindone, `mindspore.export` it.

    python -m tools.bench.plain_export PIPELINE OUT DTYPE

Imports MindSpore: runs in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mindspore
import numpy as np
from mindone.diffusers import UNet2DConditionModel
from mindspore import nn


class _UNet(nn.Cell):  # type: ignore[misc]
    """The UNet with the three inputs of Stable Diffusion 1.x and one output."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__(auto_prefix=False)
        self.unet = unet
        self.set_train(False)

    def construct(self, sample, timestep, encoder_hidden_states):  # type: ignore[no-untyped-def]
        return self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]


def main(arguments: list[str]) -> int:
    """Load, export."""
    pipeline, out, dtype_name = arguments
    dtype = getattr(mindspore, dtype_name)
    mindspore.set_device("CPU")
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    unet = UNet2DConditionModel.from_pretrained(
        pipeline, subfolder="unet", mindspore_dtype=dtype, use_safetensors=True, local_files_only=True
    )
    size, width = unet.config.sample_size, unet.config.cross_attention_dim
    shapes = ((2, 4, size, size), (1,), (2, 77, width))
    kinds = (dtype, mindspore.int64, dtype)
    inputs = [mindspore.Tensor(np.zeros(s, np.float32), dtype=k) for s, k in zip(shapes, kinds, strict=True)]
    mindspore.export(_UNet(unet), *inputs, file_name=str(Path(out) / "unet"), file_format="MINDIR")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
