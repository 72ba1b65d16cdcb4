"""mindone's own guide on the demo pipeline: `python -m tests.live.demo PIPELINE DTYPE OUT`, which gets `report.json`.

In a process with MindSpore.
"""

from __future__ import annotations

import sys

import mindspore
from mindone.diffusers import DiffusionPipeline

import attnfuse


def main(folder: str, dtype: str, output: str) -> None:
    mindspore.set_device("CPU")
    pipe = DiffusionPipeline.from_pretrained(folder, mindspore_dtype=getattr(mindspore, dtype), use_safetensors=True)
    pipe.set_flash_attention_force_cast_dtype(mindspore.bfloat16)
    pipe.unet.set_flash_attention_force_cast_dtype(None)
    pipe.vae.enable_flash_sdp(False)
    pipe.vae.enable_flash_sdp(True)
    attnfuse.compile(pipe, output, verify="static")


if __name__ == "__main__":
    main(*sys.argv[1:])
