"""Policies, as TOML files: read, decided by, and held to the passes and to what a SoC computes in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from attnfuse import pass_manager
from attnfuse.decisions import SiteFacts
from attnfuse.policy import SiteQuery, read_policy
from attnfuse.preflight import ComponentTypes, check_policy
from attnfuse.targets import Target
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_toml

FILE = "policy.toml"
_POLICIES = {
    "defaults": b"""[defaults]
flash = true
force_cast_dtype = "bfloat16"
assume_no_fully_masked_rows = true
precision = "high"
""",
    "rules": b"""[[rules]]
match = "unet.down_blocks.*"
force_cast_dtype = "none"

[[rules]]
match = "*"
attention = "cross"
min_sequence_length = 1024
head_dim = 64
dtype = "float32"
flash = false
""",
    "all": b"""[defaults]
precision = "fast"

[[rules]]
match = "vae/*"
flash = false

[[rules]]
match = "unet/mid_block.attentions.[0-9]"
assume_no_fully_masked_rows = false

[pass.fuse]
largest_constant = 16777216

[pass.composites]
swiglu = "custom"
gelu_gate = "cost"
""",
}
_SITES = (
    SiteQuery("unet", "unet", "mid_block.attentions.0", SiteFacts()),
    SiteQuery("vae_decoder", "vae", "decoder.mid_block", SiteFacts(head_dim=64, query_length=4096, key_length=77)),
)
_COMPONENTS = {"unet": ComponentTypes("unet", "float32", {"sample": "float32"}), "vae_decoder": ComponentTypes("vae")}


@cache
def _seeds() -> tuple[Seed, ...]:
    return tuple(Seed(name, {FILE: text}) for name, text in _POLICIES.items())


def _decide(folder: Path) -> None:
    policy = read_policy(folder / FILE)
    for site in _SITES:
        policy.decide(site)
    for soc in ("ascend910b", "ascend310p"):
        check_policy(Target("lite", soc), policy, _COMPONENTS)
    pass_manager.options_of(pass_manager.chosen(policy.options))


def _strictly(folder: Path) -> None:
    read_policy(folder / FILE).check_all_matched(_SITES)


KIND = Kind(
    "policy",
    _seeds,
    {edit_toml: 60},
    {"decide": _decide, "strictly": _strictly},
    ("attnfuse.policy", "attnfuse.documents", "attnfuse.pass_options", "attnfuse.preflight"),
)
