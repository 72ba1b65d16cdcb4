#!/usr/bin/env bash
# The middle block of the UNet keeps its formula; float32 attention elsewhere would be cast to bfloat16.
set -euo pipefail

cat >policy.toml <<'END'
[defaults]
force_cast_dtype = "bfloat16"

[[rules]]
match = "unet.mid_block.*"
flash = false
END

attnfuse policy show demo:stable-diffusion --component unet --policy policy.toml --progress never
attnfuse compile demo:stable-diffusion --component unet -o out --policy policy.toml --require 'kept>=1' --progress never
