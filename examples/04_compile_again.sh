#!/usr/bin/env bash
# The second compile traces nothing and writes nothing; the third traces nothing, and rewrites the UNet.
set -euo pipefail

attnfuse compile demo:stable-diffusion -o out --cache-dir cache --progress never
attnfuse compile demo:stable-diffusion -o out --cache-dir cache
attnfuse compile demo:stable-diffusion -o out --cache-dir cache --no-flash 'unet.mid_block.*'
attnfuse compile demo:stable-diffusion -o out --cache-dir cache --no-flash 'unet.mid_block.*' --check
