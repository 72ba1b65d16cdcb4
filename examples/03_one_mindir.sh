#!/usr/bin/env bash
# A .mindir by itself. The first command makes one, as mindspore.export would: every formula left as it is.
set -euo pipefail

attnfuse compile demo:stable-diffusion --component unet -o plain --runtime mindspore --no-flash '*' --progress never

attnfuse inspect plain/unet_graph.mindir --progress never
attnfuse compile plain/unet_graph.mindir -o fused.mindir --require missed==0 --progress never
attnfuse verify plain/unet_graph.mindir fused.mindir --level sampled --progress never
