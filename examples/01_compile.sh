#!/usr/bin/env bash
# Compile the demo, and fail unless MindSpore Lite takes every node, no attention was overlooked, and the result moves
# fewer bytes than its source by the estimate.
set -euo pipefail

attnfuse compile demo:stable-diffusion -o out \
    --verify static --require deployable --require missed==0 --require 'bytes<=1.0' --progress never
ls out
