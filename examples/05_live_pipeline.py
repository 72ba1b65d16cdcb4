"""A pipeline in this process: the settings on it count, and it is left as it was."""

import subprocess
import sys
from pathlib import Path

import mindspore
from mindone.diffusers import DiffusionPipeline

import attnfuse
from attnfuse.tracing.demo import write_demo

folder = Path("demo")
folder.mkdir()
write_demo(folder)  # your checkpoint's folder, in diffusers' layout

pipe = DiffusionPipeline.from_pretrained(str(folder), mindspore_dtype=mindspore.float16, use_safetensors=True)
pipe.vae.enable_flash_sdp(False)
outcome = attnfuse.compile(pipe, "out", verify="static", progress="never")

kept = [site.id for component in outcome.report.components for site in component.sites if site.status == "kept"]
print("kept as formulas:", *kept)
assert all(name.startswith("vae") for name in kept)
subprocess.run([sys.executable, "-m", "attnfuse", "verify", "out", "--level", "static"], check=True)
