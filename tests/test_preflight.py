"""What is refused before anything is traced: bfloat16 on SoCs that have none, asked for in every way it can be."""

from __future__ import annotations

import pytest

from attnfuse.errors import PolicyError, UsageError
from attnfuse.policy import Policy, Rule, command_line_rules, policy_of
from attnfuse.preflight import ComponentTypes, check_asked, check_components, check_policy
from attnfuse.targets import SOCS, Target

WITHOUT = ("ascend310p", "ascend910")
UNET = {"unet": ComponentTypes("unet", "float32", {"sample": "float32", "timestep": "int64"})}
VAE = {"vae_decoder": ComponentTypes("vae", "float16", {})}


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_the_type_that_is_asked_for(soc: str, runtime: str) -> None:
    target = Target(runtime, soc)
    for fine in ("float16", "float32", None):
        check_asked(target, fine)
    if soc not in WITHOUT:
        check_asked(target, "bfloat16")
        return
    with pytest.raises(UsageError, match=f"bfloat16 is not on {soc}: trace in float16 or float32"):
        check_asked(target, "bfloat16")


def test_the_type_a_component_would_be_held_in() -> None:
    check_components(Target("lite", "ascend310p"), UNET | VAE)
    types = {**UNET, "vae_decoder": ComponentTypes("vae", "bfloat16", {})}
    check_components(Target("lite", "ascend910b"), types)
    with pytest.raises(UsageError, match="which component vae_decoder has: give --dtype float16 or float32"):
        check_components(Target("lite", "ascend310p"), types)
    given = {"unet": ComponentTypes("unet", "float16", {"sample": "bfloat16"})}
    with pytest.raises(UsageError, match="component unet would be called with sample in it"):
        check_components(Target("lite", "ascend910"), given)


def _policy(*rules: dict[str, object], **defaults: object) -> Policy:
    return policy_of({"defaults": defaults, "rules": list(rules)}, "p.toml")


BEARING = [
    Policy(command_line_rules("bfloat16", ())),
    _policy(force_cast_dtype="bfloat16"),
    _policy({"match": "unet", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "unet.mid_block", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "un*.mid_block.*", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "*.attn1", "force_cast_dtype": "bfloat16", "dtype": "float32"}),
    _policy({"match": "vae", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "vae_decoder.*", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "*", "force_cast_dtype": "float16", "head_dim": 64}, force_cast_dtype="bfloat16"),
    Policy((Rule("unet", "pipe.unet: …", force_cast_dtype="bfloat16", from_pipeline=True),)),
]
IDLE = [
    Policy(),
    _policy(force_cast_dtype="none"),
    _policy({"match": "text_encoder", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "unet2", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "text*", "force_cast_dtype": "bfloat16"}),
    _policy({"match": "*", "force_cast_dtype": "bfloat16", "dtype": "float16"}),
    Policy(command_line_rules("bfloat16", ())).and_then(command_line_rules("float16", ())),
    # Found on a pipeline whose decoder is types in float16: nothing there is cast.
    Policy((Rule("vae", "pipe.vae: …", force_cast_dtype="bfloat16", from_pipeline=True),)),
]


@pytest.mark.parametrize("policy", BEARING)
def test_a_rule_that_would_cast_to_it(policy: Policy) -> None:
    check_policy(Target("lite", "ascend910b"), policy, UNET | VAE)
    for soc in WITHOUT:
        with pytest.raises(PolicyError, match=f"bfloat16 is not on {soc}, .*: ask for float16, or for none"):
            check_policy(Target("mindspore", soc), policy, UNET | VAE)


@pytest.mark.parametrize("policy", IDLE)
def test_a_rule_that_cannot_come_to_bear(policy: Policy) -> None:
    check_policy(Target("lite", "ascend310p"), policy, UNET | VAE)


def test_of_a_graph_that_is_there_nothing_is_known_but_its_name() -> None:
    with pytest.raises(PolicyError):
        check_policy(Target("lite", "ascend310p"), BEARING[0], {"unet": ComponentTypes("unet")})
