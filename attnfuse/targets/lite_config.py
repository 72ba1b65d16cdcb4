"""The configuration that MindSpore Lite is to be given with the graphs attnfuse writes for it.

One text for every model and SoC. Its parsers skip lines that begin with `#` (MindSpore Lite 2.7:
`tools/common/parse_config_utils.cc` for the converter, `src/common/config_file.cc` at run time), so it explains
itself line by line. Read in those sources, not run.
"""

LITE_CONFIG = """\
# For MindSpore Lite on Ascend, with the graphs that attnfuse wrote beside this file:
#   converter_lite ... --configFile=THIS, or mindspore_lite.Model.build_from_file(..., config_path=THIS).
# Names of sections and keys were read in MindSpore Lite's sources; nothing was run on a device.

[ascend_context]
# Every operator computes in the type it has in the graph. The default, Lite's and CANN's, is force_fp16: all that is
# float32 or bfloat16 and has a float16 kernel computes and stores float16, whatever policy and model chose, a softmax
# or a normalisation in float32 among it. A square in float16 overflows from 256 on.
precision_mode=enforce_origin
# plugin_custom_ops is left out on purpose. With FlashAttention or All in it, MindSpore Lite's own fusion rewrites the
# attention that attnfuse left as it is for a reason, with a scale that it recomputes and without some of the operands.

[ge_global_options]
# The same as precision_mode, for context.ascend.provider = "ge", which sets force_fp16 and reads its own section only.
ge.exec.precision_mode=must_keep_origin_dtype
"""
