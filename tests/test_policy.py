"""Rules: what they match, which one wins, what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnfuse.decisions import SiteFacts
from attnfuse.errors import PolicyError
from attnfuse.mindir.dtypes import BFLOAT16, FLOAT16
from attnfuse.policy import (
    BUILT_IN,
    LONGEST_PATTERN,
    CastName,
    Policy,
    Rule,
    SiteQuery,
    command_line_rules,
    json_schema,
    parse_policy,
    policy_of,
    read_policy,
    rule_document,
)

ATTN1 = SiteQuery("unet", "unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1")
VAE = SiteQuery("vae_decoder", "vae", "decoder.mid_block.attentions.0")


def test_without_rules_everything_is_fused_in_float16() -> None:
    decision = Policy().decide(ATTN1)
    assert (decision.flash, decision.flash_rule) == (True, BUILT_IN)
    assert (decision.force_cast_dtype, decision.force_cast_dtype_rule) == (FLOAT16, BUILT_IN)
    assert (decision.assume_no_fully_masked_rows, decision.assume_no_fully_masked_rows_rule) == (False, BUILT_IN)


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
        ("unet/down_blocks.1", ATTN1, True),  # as a site's id has it
        ("unet/down_blocks/1/*/attn1", ATTN1, True),
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
        assume_no_fully_masked_rows = true
        """,
        "policy.toml",
    )
    decision = policy.decide(ATTN1)
    assert (decision.flash, decision.flash_rule) == (True, 'policy.toml rules[1] (match = "unet.down_blocks.*")')
    assert (decision.force_cast_dtype, decision.force_cast_dtype_rule) == (
        BFLOAT16,
        'policy.toml rules[0] (match = "unet")',
    )
    assert (decision.assume_no_fully_masked_rows, decision.assume_no_fully_masked_rows_rule) == (
        True,
        'policy.toml rules[1] (match = "unet.down_blocks.*")',
    )
    decision = policy.decide(VAE)
    assert (decision.flash, decision.flash_rule) == (True, BUILT_IN)
    assert (decision.force_cast_dtype, decision.force_cast_dtype_rule) == (None, "policy.toml [defaults]")


def test_the_command_line_comes_last() -> None:
    policy = parse_policy('[[rules]]\nmatch = "unet"\nforce_cast_dtype = "bfloat16"\nflash = true\n', "p.toml")
    policy = policy.and_then(command_line_rules("none", ["vae.*", "unet.mid_block", "unet"]))
    decision = policy.decide(ATTN1)
    assert (decision.force_cast_dtype, decision.force_cast_dtype_rule) == (None, "--force-cast-dtype none")
    assert (decision.flash, decision.flash_rule) == (False, "--no-flash unet")
    assert [rule.label for rule in policy.unmatched([ATTN1])] == ["--no-flash vae.*", "--no-flash unet.mid_block"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[rules]]\nmatch = "unet"\nforce_cast_dtyp = "none"', "rules[0] has no key 'force_cast_dtyp'; did you mean"),
        ('[[rules]]\nmatch = "unet"\nmtch = "unet"', "did you mean 'match'"),
        ("[default]\nflash = true", "a policy has no key 'default'; did you mean 'defaults'"),
        ("[defaults]\nmatch = 'unet'", "defaults has no key 'match'"),
        ('[defaults]\nforce_cast_dtype = "flot16"', "defaults.force_cast_dtype is 'flot16'; did you mean 'float16'"),
        ('[defaults]\nforce_cast_dtype = "q"', "known: float16, bfloat16, none"),
        ('[[rules]]\nmatch = "a"\nmasked_rows = "attended"', "did you mean 'assume_no_fully_masked_rows'"),
        ('[defaults]\nassume_no_fully_masked_rows = "yes"', "defaults.assume_no_fully_masked_rows is 'yes'"),
        ("[defaults]\nflash = 1", "defaults.flash is 1"),
        ('[defaults]\nflash = "false"', "defaults.flash is 'false'"),
        ("[[rules]]\nflash = false", "rules[0].match is missing"),
        ('[[rules]]\nmatch = ""\nflash = false', "rules[0].match is empty"),
        (f'[[rules]]\nmatch = "{"[" * 1_001}"\nflash = false', "rules[0].match is a pattern of 1001 characters, '[["),
        ('[[rules]]\nmatch = "unet"', "rules[0] sets nothing"),
        ("rules = 3", "rules is 3"),
        ('[[rules]]\nmatch = "a"\nflash = true\ndtype = "fp32"', "rules[0].dtype is 'fp32'; did you mean 'float32'"),
        ('[[rules]]\nmatch = "a"\nflash = true\nattention = "slef"', "did you mean 'self'"),
        ('[[rules]]\nmatch = "a"\nflash = true\nhead_dim = 0', "rules[0].head_dim is 0; input should be greater"),
        ('[[rules]]\nmatch = "a"\nflash = true\nmin_sequence_lenght = 3', "did you mean 'min_sequence_length'"),
        ('[[rules]]\nmatch = "a"\nhead_dim = 64', "rules[0] sets nothing; give it at least one of flash,"),
        ("[defaults\n", "not valid TOML"),
        ("flash = true", "a policy has no key 'flash'"),
    ],
)
def test_a_bad_policy_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "policy.toml")
    assert message in str(caught.value)
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


def test_the_longest_pattern() -> None:
    """One character more is refused at once, and not after minutes; the longest is matched."""
    (rule,) = command_line_rules(None, ["[" * LONGEST_PATTERN])
    assert not rule.matches(ATTN1)
    with pytest.raises(PolicyError, match=r"--no-flash was given a pattern of 100000 characters, '\[+…', and .*\.$"):
        command_line_rules(None, ["[" * 100_000])


def test_rules_name_the_file_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[[rules]]\nmatch = "*"\nflash = false\n')
    assert read_policy(tmp_path / "mine.toml").decide(VAE).flash_rule == 'mine.toml rules[0] (match = "*")'


FACTS = SiteFacts(4096, 77, 64, "float32", "cross")


@pytest.mark.parametrize(
    ("selector", "facts", "expected"),
    [
        ("min_sequence_length = 4096", FACTS, True),
        ("min_sequence_length = 4097", FACTS, False),
        ("min_sequence_length = 4096", SiteFacts(77, 4096), True),  # the longer of the two
        ("min_sequence_length = 77", SiteFacts(None, 77), True),  # enough is known
        ("min_sequence_length = 78", SiteFacts(None, 77), False),
        ("min_sequence_length = 1", SiteFacts(), False),
        ("head_dim = 64", FACTS, True),
        ("head_dim = 40", FACTS, False),
        ("head_dim = 64", SiteFacts(), False),
        ('dtype = "float32"', FACTS, True),
        ('dtype = "float16"', FACTS, False),
        ('attention = "cross"', FACTS, True),
        ('attention = "self"', FACTS, False),
        ('attention = "self"', SiteFacts(), False),
        ('attention = "cross"\nhead_dim = 64\ndtype = "float32"\nmin_sequence_length = 8', FACTS, True),
        ('attention = "cross"\nhead_dim = 64\ndtype = "float32"\nmin_sequence_length = 8000', FACTS, False),
    ],
)
def test_what_a_selector_admits(selector: str, facts: SiteFacts, expected: bool) -> None:
    policy = parse_policy(f'[[rules]]\nmatch = "*"\nflash = false\n{selector}\n', "p.toml")
    site = SiteQuery("unet", "unet", ATTN1.module, facts)
    assert policy.decide(site).flash is not expected
    # With a selector even `*` may be a mistake.
    assert (policy.unmatched([site]) == ()) is expected


def test_rules_from_plain_values_are_those_of_the_file() -> None:
    text = '[defaults]\nflash = false\n[[rules]]\nmatch = "vae"\nhead_dim = 64\nforce_cast_dtype = "none"\n'
    values = {
        "defaults": {"flash": False},
        "rules": [{"match": "vae", "head_dim": 64, "force_cast_dtype": "none"}],
    }
    assert policy_of(values, "p.toml") == parse_policy(text, "p.toml")
    with pytest.raises(PolicyError, match=r"policy: rules\[0\] has no key 'flsh'; did you mean 'flash'"):
        policy_of({"rules": [{"match": "vae", "flsh": True}]}, "policy")


def test_a_rule_that_was_read_off_a_pipeline_is_no_mistake() -> None:
    assert Policy((Rule("vae", "pipe.vae: …", flash=False, from_pipeline=True),)).unmatched([ATTN1]) == ()


def test_the_schema_knows_every_key() -> None:
    schema = json_schema()
    entry = schema["$defs"]["_RuleEntry"]
    assert set(entry["properties"]) == {
        "match",
        "flash",
        "force_cast_dtype",
        "assume_no_fully_masked_rows",
        "precision",
        "min_sequence_length",
        "head_dim",
        "dtype",
        "attention",
    }
    assert entry["required"] == ["match"]
    assert entry["additionalProperties"] is False
    assert set(schema["properties"]) == {"defaults", "rules", "pass"}
    assert all("description" in p for name, p in entry["properties"].items())


# --- composition: live settings, then the file, then the command line; for each setting alone the last that speaks wins

_PATTERNS = st.sampled_from(["*", "unet", "unet.down_blocks", "unet.*.attn1", "vae", "unet.mid_block"])
_CASTS: st.SearchStrategy[CastName | None] = st.sampled_from([None, "float16", "bfloat16", "none"])
_RULES = st.lists(
    st.builds(
        Rule,
        _PATTERNS,
        st.just("label"),
        flash=st.sampled_from([None, True, False]),
        force_cast_dtype=_CASTS,
        min_sequence_length=st.sampled_from([None, 50, 5000]),
        attention=st.sampled_from([None, "self", "cross"]),
    ),
    max_size=4,
)
_SITES = [SiteQuery("unet", "unet", ATTN1.module, FACTS), SiteQuery("vae_decoder", "vae", VAE.module)]


@settings(max_examples=300, deadline=None)
@given(_RULES, _RULES, _CASTS, st.lists(_PATTERNS, max_size=2), st.sampled_from(_SITES))
def test_sources_of_rules_compose_as_documented(
    live: list[Rule], file: list[Rule], cast: CastName | None, no_flash: list[str], site: SiteQuery
) -> None:
    whole = Policy(tuple(live)).and_then(file).and_then(command_line_rules(cast, no_flash))
    decision = whole.decide(site)
    message = None if decision.force_cast_dtype is None else decision.force_cast_dtype.name

    # The command line has the last word on what it speaks of.
    if cast is not None:
        assert (message or "none", decision.force_cast_dtype_rule) == (cast, f"--force-cast-dtype {cast}")
    if any(Rule(pattern, "").matches(site) for pattern in no_flash):
        assert decision.flash is False
        assert decision.flash_rule.startswith("--no-flash ")
    # What neither it nor the file speaks of is what the live settings say; what nobody does is the default.
    if cast is None and not any(r.matches(site) and r.force_cast_dtype for r in file):
        assert decision.force_cast_dtype == Policy(tuple(live)).decide(site).force_cast_dtype
    speaking = [r for r in (*live, *file) if r.matches(site) and r.flash is not None]
    if not any(Rule(pattern, "").matches(site) for pattern in no_flash):
        assert decision.flash is (speaking[-1].flash if speaking else True)
        assert decision.flash_rule == ("label" if speaking else BUILT_IN)
    # A rule put before all others never changes what they decide.
    if speaking:
        before = Policy((Rule("*", "first", flash=not decision.flash), *whole.rules))
        assert before.decide(site).flash is decision.flash


GIVEN = """
[defaults]
flash = false
precision = "fast"

[[rules]]
match = "unet.mid_block"
force_cast_dtype = "none"
min_sequence_length = 64
attention = "self"
"""


def test_rules_that_fill_in_come_behind_defaults_and_before_the_rest() -> None:
    whole = parse_policy(GIVEN, "p.toml").filled_in([Rule("unet", "found", flash=True, force_cast_dtype="bfloat16")])
    plain = whole.decide(ATTN1)
    assert (plain.flash, plain.flash_rule, plain.force_cast_dtype, plain.precision) == (True, "found", BFLOAT16, "fast")
    assert not whole.decide(VAE).flash
    pinned = whole.decide(SiteQuery("unet", "unet", "mid_block.attn1", SiteFacts(64, 64, attention="self")))
    assert (pinned.flash, pinned.force_cast_dtype) == (True, None)


def test_a_rule_is_what_it_was_read_from() -> None:
    policy = parse_policy(GIVEN, "p.toml")
    defaults, rule = map(rule_document, policy.rules)
    assert policy_of({"defaults": defaults, "rules": [rule]}, "p.toml") == policy
    assert "match" not in defaults
