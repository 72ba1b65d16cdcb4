"""What MindSpore Lite is given with the graphs that attnfuse writes for it: a configuration each, and `convert.sh`.

Its parsers of configurations skip lines that begin with `#` (MindSpore Lite 2.7: `tools/common/parse_config_utils.cc`
for the converter, `src/common/config_file.cc` at run time), so that they explain themselves line by line. The flags of
converter_lite are those of `tools/converter/converter_lite/converter_flags.cc`; it has none that tells its version. All
of it was read in those sources; the converter was run with these flags up to where CANN begins, on no device.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from attnfuse.deployment.gears import IMAGES, Gears
from attnfuse.report.model import Manifest, ManifestComponent

_CONFIG = """\
# For MindSpore Lite on Ascend, with {graph}, which attnfuse wrote for {soc}:
#   converter_lite ... --configFile=THIS, or mindspore_lite.Model.build_from_file(..., config_path=THIS).
# Names of sections and keys were read in MindSpore Lite's sources; nothing was run on a device.
# No key names the SoC: CANN compiles for the device of the host that converts, which must be of {soc}.

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

_BATCHES = """
[acl_option_cfg_param]
# The graph is for any batch; CANN compiles one for each of these, of {images} images, and a run takes one of them.
# {what}
{lines}
"""

_UNKNOWN = """
[acl_option_cfg_param]
# The graph leaves sizes open (-1). Write those that it is to run with, one for each -1 in the order of input_shape and
# groups parted by semicolons (dynamic_dims=1,77;2,77), and take the signs away.
{lines}
"""

_ROWS = "Numbers are rows of each open input: two an image where the graph runs both halves of guidance at once."
_DIMS = "Numbers stand for each -1 in the order of input_shape."


def configuration(graph: str, soc: str, gears: Gears | None) -> str:
    """The text of a component's configuration, ASCII unless names are not."""
    # Names are one line: what follows a line break would be read as a section or a key.
    text = _CONFIG.format(graph=" ".join(graph.split()), soc=soc)
    if gears is None:
        return text
    lines = "\n".join(" ".join(line.split()) for line in gears.lines)
    if not gears.rows and not gears.dims:
        return text + _UNKNOWN.format(lines=lines)
    what = _ROWS if gears.rows else _DIMS
    images = ", ".join(map(str, IMAGES[:-1])) + f" and {IMAGES[-1]}"
    return text + _BATCHES.format(images=images, what=what, lines=lines)


_HEAD = """\
#!/usr/bin/env bash
# Converts the graphs beside this with MindSpore Lite's converter_lite. Written by attnfuse {attnfuse}.
#
#   bash convert.sh [FOLDER [COMPONENT...]]
#
# FOLDER gets a graph of each component, or of those that are named. Without one it is beside this folder and called
# after it: out-converted for out.
#
# It needs a host of {soc} with CANN's environment (source .../ascend-toolkit/set_env.sh), and converter_lite in PATH
# (.../mindspore-lite-VERSION-linux-ARCH/tools/converter/converter, with ../lib in LD_LIBRARY_PATH).
# What this does was read in MindSpore Lite's sources; nothing was run on a device.

# The first failure ends it, in a pipe and of a variable without a value too.
set -euo pipefail

stop() {{
  printf 'convert.sh: %s\\n' "$1" >&2
  exit 1
}}

here=$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd -P)
made=${{1:-$here-converted}}
# Without the folder what is left are the components asked for.
[[ $# -eq 0 ]] || shift
# Not in here: attnfuse replaces this folder only as long as all that lies in it is its own.
# Asked before it is made, so that nothing is left behind.
made=$(readlink -m -- "$made")
case "$made/" in
  "$here"/*) stop "$made lies in $here; name another folder, such as ../converted." ;;
esac

"""

_VERSION = """\
# The graphs were traced with MindSpore {mindspore}, and belong to MindSpore Lite {wanted}. converter_lite has no flag
# that tells its version: it is in the name of its package's folder, or the Python package knows it. LITE_VERSION=...
# in front of the command says it where neither does.
program=$(command -v converter_lite) || stop "converter_lite is not in PATH; add its folder of MindSpore Lite {wanted}."
version=${{LITE_VERSION:-}}
if [[ -z $version && $(readlink -f -- "$program") =~ /mindspore-lite-([0-9]+\\.[0-9]+[^/-]*)- ]]; then
  version=${{BASH_REMATCH[1]}}
fi
if [[ -z $version ]]; then
  # An empty answer is no version, whatever Python says of it.
  version=$(python3 -c 'from importlib.metadata import version; print(version("mindspore-lite"))' 2>/dev/null || true)
fi
[[ -n $version ]] || stop "the version of $program is not known; say it with LITE_VERSION=... in front of the command."
case $version in
  {wanted} | {wanted}.*) ;;
  *) stop "$program is of MindSpore Lite $version, and these graphs are for {wanted}; use that." ;;
esac

"""

_ANY_VERSION = """\
# With which MindSpore the graphs were traced is not known: use the MindSpore Lite of the same version.
program=$(command -v converter_lite) || stop "converter_lite is not in PATH; add its folder."

"""

_LIST = """\
# Of each component its name, its graph and its configuration.
components=(
{components}
)

"""

_TAIL = """\
for name in "$@"; do
  known=
  for ((i = 0; i < ${#components[@]}; i += 3)); do
    [[ ${components[i]} != "$name" ]] || known=yes
  done
  [[ -n $known ]] || stop "there is no component $name; look at components= in this file."
done
mkdir -p -- "$made"

for ((i = 0; i < ${#components[@]}; i += 3)); do
  name=${components[i]}
  graph=${components[i + 1]}
  config=${components[i + 2]}
  # Spaces around both: a name is not found in a longer one.
  [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
  arguments=(
    # What is read, and what is written: a graph that mindspore_lite.Model loads.
    --fmk=MINDIR
    --saveType=MINDIR
    # CANN compiles the graph for the device of this host.
    --optimize=ascend_oriented
    # The weights are read from the folder beside the graph.
    --modelFile="$here/$graph"
    # Without its suffix, which converter_lite adds: NAME.mindir, or NAME_graph.mindir and NAME_variables.
    --outputFile="$made/$name"
    # Types as in the graph, and the batches of a graph for any batch.
    --configFile="$here/$config"
  )
  # What an earlier run left would be taken for this one's.
  rm -f -- "$made/$name.mindir" "$made/${name}_graph.mindir"
  printf 'converting %s\\n' "$name"
  "$program" "${arguments[@]}" || stop "converter_lite failed at $name; what it said is above."
  [[ -e $made/$name.mindir || -e $made/${name}_graph.mindir ]] ||
    stop "converter_lite wrote no graph of $name into $made; what it said is above."
done
printf 'the graphs are in %s\\n' "$made"
"""


def convert_script(manifest: Manifest) -> str:
    """The text of `convert.sh` for an output folder: its components that have a configuration."""
    mindspore = manifest.versions.get("mindspore")
    version = _ANY_VERSION
    if mindspore is not None:
        version = _VERSION.format(mindspore=mindspore, wanted=lite_series(mindspore))
    head = _HEAD.format(attnfuse=manifest.versions["attnfuse"], soc=manifest.soc)
    return head + version + _LIST.format(components=_rows(manifest.components)) + _TAIL


def lite_series(mindspore: str) -> str:
    """The MindSpore Lite that takes a graph of this MindSpore: 2.7 of 2.7.1."""
    return ".".join(mindspore.split(".")[:2])


def _rows(components: Sequence[ManifestComponent]) -> str:
    rows = ((one.name, one.graph, one.config) for one in components if one.config is not None)
    return "\n".join(f"  {' '.join(map(shlex.quote, row))}" for row in rows)
