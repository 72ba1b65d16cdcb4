"""Rules: what they match, which one wins, what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.errors import PolicyError
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16
from attnfuse.policy import BUILT_IN, Policy, SiteQuery, command_line_rules, parse_policy, read_policy

ATTN1 = SiteQuery("unet", "unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1")
VAE = SiteQuery("vae_decoder", "vae", "decoder.mid_block.attentions.0")


def test_without_rules_everything_is_fused_in_float16() -> None:
    decision = Policy().decide(ATTN1)
    assert (decision.flash, decision.flash_rule) == (True, BUILT_IN)
    assert (decision.force_cast_dtype, decision.cast_rule) == (FLOAT16, BUILT_IN)
    assert (decision.rows_attended, decision.rows_rule) == (False, BUILT_IN)


@pytest.mark.parametrize(
    ("pattern", "site", "expected"),
    [
        ("*", ATTN1, True),
        ("unet", ATTN1, True),
        ("vae", VAE, True),
        ("vae_decoder", VAE, True),
        ("vae_*", VAE, True),
        ("vae.decoder.mid_block.*", VAE, True),
        ("vae_decoder.decoder.mid_block.*", VAE, True),
        ("unet.down_blocks.1", ATTN1, True),  # a module above it, as mindone walks the sub-cells
        ("unet.down_blocks.1.*.attn1", ATTN1, True),
        ("*.attn1", ATTN1, True),
        ("unet.down_blocks", ATTN1, True),
        ("unet.down_blocks.[12]", ATTN1, True),
        ("vae_encoder", VAE, False),
        ("unet.down_blocks.10", ATTN1, False),
        ("unet.down", ATTN1, False),
        ("down_blocks.1", ATTN1, False),  # a pattern starts at a component
        ("*.attn2", ATTN1, False),
        ("UNET", ATTN1, False),
        ("une", ATTN1, False),
    ],
)
def test_what_a_pattern_matches(pattern: str, site: SiteQuery, expected: bool) -> None:
    policy = Policy(command_line_rules(None, [pattern]))
    assert policy.decide(site).flash is not expected
    assert (policy.unmatched([site]) == ()) is (expected or pattern == "*")


def test_the_last_rule_that_says_something_wins_for_each_setting_alone() -> None:
    policy = parse_policy(
        """
        [defaults]
        force_cast_dtype = "none"
        [[rules]]
        match = "unet"
        force_cast_dtype = "bfloat16"
        flash = false
        [[rules]]
        match = "unet.down_blocks.*"
        flash = true
        masked_rows = "attended"
        """,
        "policy.toml",
    )
    decision = policy.decide(ATTN1)
    assert (decision.flash, decision.flash_rule) == (True, 'policy.toml rules[1] (match = "unet.down_blocks.*")')
    assert (decision.force_cast_dtype, decision.cast_rule) == (BFLOAT16, 'policy.toml rules[0] (match = "unet")')
    assert (decision.rows_attended, decision.rows_rule) == (True, 'policy.toml rules[1] (match = "unet.down_blocks.*")')
    decision = policy.decide(VAE)
    assert (decision.flash, decision.flash_rule) == (True, BUILT_IN)
    assert (decision.force_cast_dtype, decision.cast_rule) == (None, "policy.toml [defaults]")


def test_the_command_line_comes_last() -> None:
    policy = parse_policy('[[rules]]\nmatch = "unet"\nforce_cast_dtype = "bfloat16"\nflash = true\n', "p.toml")
    policy = policy.and_then(command_line_rules("none", ["vae.*", "unet.mid_block", "unet"]))
    decision = policy.decide(ATTN1)
    assert (decision.force_cast_dtype, decision.cast_rule) == (None, "--force-cast-dtype none")
    assert (decision.flash, decision.flash_rule) == (False, "--no-flash unet")
    assert [rule.label for rule in policy.unmatched([ATTN1])] == ["--no-flash vae.*", "--no-flash unet.mid_block"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[rules]]\nmatch = "unet"\nforce_cast_dtyp = "none"', "rules[0] has no key 'force_cast_dtyp'; did you mean"),
        ('[[rules]]\nmatch = "unet"\nmtch = "unet"', "did you mean 'match'"),
        ("[default]\nflash = true", "a policy has no key 'default'; did you mean 'defaults'"),
        ("[defaults]\nmatch = 'unet'", "defaults has no key 'match'"),
        ('[defaults]\nforce_cast_dtype = "flot16"', "defaults.force_cast_dtype is 'flot16'; did you mean 'float16'"),
        ('[defaults]\nforce_cast_dtype = "q"', "known: float16, bfloat16, none"),
        ('[[rules]]\nmatch = "a"\nmasked_rows = "attend"', "did you mean 'attended'"),
        ("[defaults]\nflash = 1", "defaults.flash is 1"),
        ('[defaults]\nflash = "false"', "defaults.flash is 'false'"),
        ("[[rules]]\nflash = false", "rules[0].match is missing"),
        ('[[rules]]\nmatch = ""\nflash = false', "rules[0].match is empty"),
        ('[[rules]]\nmatch = "unet"', "rules[0] sets nothing"),
        ("rules = 3", "rules is 3"),
        ("[defaults\n", "not valid TOML"),
        ("flash = true", "a policy has no key 'flash'"),
    ],
)
def test_a_bad_policy_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "policy.toml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("policy.toml")
    assert "\n" not in str(caught.value)


def test_a_policy_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"absent\.toml cannot be read"):
        read_policy(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="not UTF-8"):
        read_policy(tmp_path / "binary.toml")
    with pytest.raises(PolicyError, match="empty"):
        command_line_rules(None, [""])


def test_rules_name_the_file_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[[rules]]\nmatch = "*"\nflash = false\n')
    assert read_policy(tmp_path / "mine.toml").decide(VAE).flash_rule == 'mine.toml rules[0] (match = "*")'
