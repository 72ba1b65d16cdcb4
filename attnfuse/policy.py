"""Which sites are fused, and in which type: ordered rules, the last that matches a site and says something decides.

The semantics are mindone's (`set_flash_attention_force_cast_dtype` and `enable_flash_sdp` of its model and pipeline
classes): each call walks the sub-cells it is made on, and the last call wins. So a rule for a module holds for all
that lies below it, and each setting has its own last rule.

Rules come from the settings found on a live pipeline, then from a TOML file, then from the command line:

    [defaults]
    flash = true
    force_cast_dtype = "float16"          # "float16" | "bfloat16" | "none": keep the formula
    assume_no_fully_masked_rows = false   # true: your word that every query row has a key it may attend to
    precision = "high"                    # "high" | "fast": of a fused node's scores and softmax

    [[rules]]
    match = "unet.down_blocks.*"          # a component, a module, or a glob over either
    force_cast_dtype = "bfloat16"

    [[rules]]
    match = "*"
    min_sequence_length = 1024            # the longer of query's and key's, in tokens
    head_dim = 64                         # query's
    dtype = "float32"                     # of query, key and value
    attention = "self"                    # "self" | "cross"
    flash = false

    [pass.fuse]                           # options of a pass, for all sites: `attnfuse passes` lists them
    largest_constant = 16777216

A rule that selects by something which is not known of a site does not match it.

Free of protobuf: it is imported beside MindSpore too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from attnfuse import documents
from attnfuse.decisions import AttentionKind, Precision, SiteFacts
from attnfuse.errors import PolicyError
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import FLOAT16, DType
from attnfuse.names import dotted, nearest, shortened, suggestion

CastName = Literal["float16", "bfloat16", "none"]
CAST_NAMES: tuple[CastName, ...] = ("float16", "bfloat16", "none")
SiteDType = Literal["float16", "bfloat16", "float32", "float64"]
BUILT_IN = "default"
SCHEMA = "attnfuse.policy/2"
DECISIONS_SCHEMA = "attnfuse.policy-decisions/2"
LONGEST_PATTERN = 1_000
"""Characters of a pattern: more than the path of any module has. What reads globs takes time that grows with the
square of their length, minutes for a hundred thousand."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "force_cast_dtype": CAST_NAMES,
    "precision": get_args(Precision),
    "dtype": get_args(SiteDType),
    "attention": get_args(AttentionKind),
}


@dataclass(frozen=True, slots=True)
class SiteQuery:
    """What a rule may ask of a site: the component, the pipeline's attribute it is made from, the dotted module, and
    what is known of the attention itself."""

    component: str
    owner: str
    module: str
    facts: SiteFacts = field(default_factory=SiteFacts)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """What holds for one site, each setting with the rule that set it.

    `force_cast_dtype` is what inputs of other types than float16 and bfloat16 are cast to; None keeps the formula.
    `assume_no_fully_masked_rows` is the user's word that every query row has at least one key it may attend to.
    `precision` is that of a fused node's scores and softmax; None leaves it to the site.
    """

    flash: bool
    flash_rule: str
    force_cast_dtype: DType | None
    force_cast_dtype_rule: str
    assume_no_fully_masked_rows: bool = False
    assume_no_fully_masked_rows_rule: str = BUILT_IN
    precision: Precision | None = None
    precision_rule: str = BUILT_IN


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings for the sites that `match` names and the selectors admit; None leaves a setting as it is, and a
    selector that is None admits every site.

    `label` names the rule to people. `from_pipeline`: it was read off a live pipeline, and may speak of cells that are
    not compiled, so that it is no typo where it fits no site. `is_default`: it is a file's `[defaults]`.
    """

    match: str
    label: str
    flash: bool | None = None
    force_cast_dtype: CastName | None = None
    assume_no_fully_masked_rows: bool | None = None
    precision: Precision | None = None
    min_sequence_length: int | None = None
    head_dim: int | None = None
    dtype: SiteDType | None = None
    attention: AttentionKind | None = None
    from_pipeline: bool = False
    is_default: bool = False

    def matches(self, site: SiteQuery) -> bool:
        """Whether the pattern fits the site, its component or owner, or a module above it, and the selectors do."""
        return self._admits(site.facts) and any(fnmatchcase(name, dotted(self.match)) for name in _names(site))

    def may_match(self, name: str) -> bool:
        """Whether the pattern could fit the component (or owner) of that name, or a module in it, with any selector."""
        match = dotted(self.match)
        literal = re.match(r"[^*?\[]*", match)
        assert literal is not None  # it may be empty
        if literal[0] == match:
            return name == match or match.startswith(f"{name}.")
        return f"{name}.".startswith(literal[0]) or literal[0].startswith(f"{name}.")

    @property
    def selects(self) -> bool:
        """Whether it asks for more than a name."""
        return any(wanted is not None for wanted in (self.min_sequence_length, *self._equal))

    @property
    def _equal(self) -> tuple[int | str | None, ...]:
        return self.head_dim, self.dtype, self.attention

    def _admits(self, facts: SiteFacts) -> bool:
        found = (facts.head_dim, facts.dtype, facts.attention)
        if any(wanted is not None and wanted != fact for wanted, fact in zip(self._equal, found, strict=True)):
            return False
        if self.min_sequence_length is None:
            return True
        # One length may be enough: the longer of the two can only be longer still.
        known = [length for length in (facts.query_length, facts.key_length) if length is not None]
        return any(length >= self.min_sequence_length for length in known)


@dataclass(frozen=True, slots=True)
class PassOption:
    """A value for one option of a pass, `where` it was given; `is_text` where it was not read yet.

    Whether there is such a pass, and such an option of it that takes the value, is for the pass manager to say.
    """

    where: str
    step: str
    option: str
    value: Any
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one compile, in order, and the options of its passes: of one option the last value counts."""

    rules: tuple[Rule, ...] = ()
    options: tuple[PassOption, ...] = ()

    def decide(self, site: SiteQuery) -> PolicyDecision:
        """The decision for a site."""
        flash, flash_rule = True, BUILT_IN
        cast: DType | None = FLOAT16
        cast_rule = BUILT_IN
        no_masked_rows, rows_rule = False, BUILT_IN
        precision: Precision | None = None
        precision_rule = BUILT_IN
        for rule in self.rules:
            if not rule.matches(site):
                continue
            if rule.flash is not None:
                flash, flash_rule = rule.flash, rule.label
            if rule.force_cast_dtype is not None:
                cast = None if rule.force_cast_dtype == "none" else dtypes.from_name(rule.force_cast_dtype)
                cast_rule = rule.label
            if rule.assume_no_fully_masked_rows is not None:
                no_masked_rows, rows_rule = rule.assume_no_fully_masked_rows, rule.label
            if rule.precision is not None:
                precision, precision_rule = rule.precision, rule.label
        return PolicyDecision(flash, flash_rule, cast, cast_rule, no_masked_rows, rows_rule, precision, precision_rule)

    def unmatched(self, sites: Iterable[SiteQuery]) -> tuple[Rule, ...]:
        """The rules that fit none of the sites: mostly typos."""
        all_sites = list(sites)
        return tuple(
            rule
            for rule in self.rules
            if not rule.from_pipeline
            and (rule.match != "*" or rule.selects)
            and not any(rule.matches(site) for site in all_sites)
        )

    def check_all_matched(self, sites: Iterable[SiteQuery]) -> None:
        """Raise PolicyError for a rule that fits none of the sites, with the nearest name that one has."""
        all_sites = list(sites)
        for rule in self.unmatched(all_sites):
            known = sorted({name for site in all_sites for name in _names(site)})
            near = None if rule.selects else nearest(dotted(rule.match), known)
            hint = "" if near is None else f"; did you mean {near!r}?"
            raise PolicyError(f"{rule.label} matches no site{hint} (--strict-policy).")

    def and_then(self, rules: Sequence[Rule], options: Sequence[PassOption] = ()) -> Policy:
        """This policy with rules and options that come later, and so win."""
        return Policy((*self.rules, *rules), (*self.options, *options))

    def filled_in(self, rules: Sequence[Rule]) -> Policy:
        """This policy with rules for what its own leave open: they come behind its defaults and before all else."""
        first, last = (tuple(rule for rule in self.rules if rule.is_default is wanted) for wanted in (True, False))
        return Policy((*first, *rules, *last), self.options)


def command_line_rules(force_cast_dtype: CastName | None, no_flash: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of `--force-cast-dtype` and of every `--no-flash`. Raises PolicyError for a pattern that is empty or
    longer than LONGEST_PATTERN."""
    rules = []
    if force_cast_dtype is not None:
        rules.append(Rule("*", f"--force-cast-dtype {force_cast_dtype}", force_cast_dtype=force_cast_dtype))
    for pattern in no_flash:
        if not pattern:
            raise PolicyError("--no-flash needs a pattern, such as vae or unet.mid_block.*; it was given an empty one.")
        if len(pattern) > LONGEST_PATTERN:
            raise PolicyError(f"--no-flash was given {_too_long(pattern)}")
        rules.append(Rule(pattern, f"--no-flash {pattern}", flash=False))
    return tuple(rules)


def command_line_options(texts: Sequence[str]) -> tuple[PassOption, ...]:
    """The options of every `--pass`. Raises PolicyError for one that is not written NAME.OPTION=VALUE."""
    found = []
    for text in texts:
        parts = re.fullmatch(r"([^.=]+)\.([^.=]+)=(.*)", text, re.DOTALL)
        if parts is None:
            raise PolicyError(
                f"--pass {text} is not written NAME.OPTION=VALUE; attnfuse passes lists the passes and their options."
            )
        found.append(PassOption(f"--pass {text}", parts[1], parts[2], parts[3], is_text=True))
    return tuple(found)


def read_policy(path: Path) -> Policy:
    """The policy in a TOML file.

    Raises PolicyError, naming the file and the entry, for a file that cannot be read, for bad TOML, for a key or a
    value that does not exist (with the nearest one that does), and for a rule that sets nothing.
    """
    try:
        text = documents.read_text(path)
    except OSError as error:
        raise PolicyError(f"the policy {path} cannot be read: {documents.reason(error)}.") from None
    except ValueError:
        raise PolicyError(f"the policy {path} is not UTF-8 text; write it as TOML.") from None
    return parse_policy(text, path.name)


def parse_policy(text: str, where: str) -> Policy:
    """The policy in TOML text; `where` names it in errors and rule labels. Raises PolicyError as `read_policy` does."""
    try:
        document = documents.parse(text, "TOML")
    except ValueError as error:
        raise PolicyError(f"{where} is not valid TOML: {error}.") from None
    return policy_of(document, where)


def policy_of(document: Mapping[str, Any], where: str) -> Policy:
    """The policy in plain values, shaped as in TOML: {"defaults": {…}, "rules": [{…}, …]}. Raises PolicyError."""
    try:
        checked = _Document.model_validate(dict(document))
    except ValidationError as error:
        raise PolicyError(f"{where}: {_sentence(error.errors()[0])}") from None
    rules = []
    if (defaults := checked.defaults) is not None:
        rules.append(Rule("*", f"{where} [defaults]", is_default=True, **defaults.model_dump()))
    for index, entry in enumerate(checked.rules):
        if all(getattr(entry, setting) is None for setting in _Settings.model_fields):
            known = ", ".join(_Settings.model_fields)
            raise PolicyError(f"{where}: rules[{index}] sets nothing; give it at least one of {known}.")
        rules.append(Rule(label=f'{where} rules[{index}] (match = "{entry.match}")', **entry.model_dump()))
    options = (
        PassOption(f"{where} [pass.{step}]", step, option, value)
        for step, table in checked.passes.items()
        for option, value in table.items()
    )
    return Policy(tuple(rules), tuple(options))


def rule_document(rule: Rule) -> dict[str, Any]:
    """A rule as plain values, shaped as in TOML; a default has no match."""
    values = {name: getattr(rule, name) for name in _RuleEntry.model_fields if getattr(rule, name) is not None}
    match = values.pop("match")
    return values if rule.is_default else {"match": match, **values}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy document, for editors."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "$id": SCHEMA, **_Document.model_json_schema()}


class _Settings(BaseModel):
    """What holds for a site; what is left out stays as earlier rules have it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    flash: bool | None = Field(default=None, description="Whether attention is fused at all.")
    force_cast_dtype: CastName | None = Field(
        default=None,
        description="What attention in other types than float16 and bfloat16 is cast to; none keeps the formula.",
    )
    assume_no_fully_masked_rows: bool | None = Field(
        default=None, description="Your word that every query row has a key it may attend to."
    )
    precision: Precision | None = Field(
        default=None,
        description="What a fused node computes scores and softmax in: high, float32; fast, float16.",
    )


class _RuleEntry(_Settings):
    """Settings for the sites that fit `match` and every selector that is given."""

    match: Annotated[str, Field(min_length=1, max_length=LONGEST_PATTERN)] = Field(
        description="A component, a module, or a glob over either."
    )
    min_sequence_length: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Least length of the longer of the query and key sequences, in tokens."
    )
    head_dim: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Head size of query, in elements.")
    dtype: SiteDType | None = Field(default=None, description="Type that query, key and value come in.")
    attention: AttentionKind | None = Field(
        default=None, description="self: query, key and value are projected from the same values."
    )


class _Document(BaseModel):
    """A policy: rules in order; of those that fit a site the last one to name a setting decides it."""

    model_config = ConfigDict(strict=True, extra="forbid", title="attnfuse policy")

    defaults: _Settings | None = None
    rules: list[_RuleEntry] = []
    passes: dict[str, dict[str, JsonValue]] = Field(
        default={}, alias="pass", description="Options of passes, by the name of each; attnfuse passes lists them."
    )


def _names(site: SiteQuery) -> set[str]:
    """Every name under which a pattern may mean the site: component and owner, and each module down to its own."""
    names = set()
    for head in (site.component, site.owner):
        name = head
        names.add(name)
        for part in site.module.split(".") if site.module else ():
            name = f"{name}.{part}"
            names.add(name)
    return names


def _keys(kind: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _too_long(pattern: str) -> str:
    return (
        f"a pattern of {len(pattern)} characters, {shortened(pattern, 40)!r}, and no module's path is longer than "
        f"{LONGEST_PATTERN}; write a glob, such as unet.down_blocks.*."
    )


def _sentence(error: ErrorDetails) -> str:
    """What is wrong with a policy document, in one sentence with the nearest right name."""
    path = error["loc"]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
    kind = error["type"]
    if kind == "extra_forbidden":
        parent = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path[:-1]).lstrip(".")
        owner = _RuleEntry if path[0] == "rules" else _Settings if len(path) > 1 else _Document
        return f"{parent or 'a policy'} has no key {path[-1]!r}; {suggestion(str(path[-1]), _keys(owner))}"
    if kind == "missing":
        return f"{place} is missing; a rule names a component, a module or a glob in it."
    if kind == "literal_error":
        return f"{place} is {error['input']!r}; {suggestion(str(error['input']), _CHOICES[str(path[-1])])}"
    if kind == "string_too_short":
        return f"{place} is empty; name a component, a module or a glob."
    if kind == "string_too_long":
        return f"{place} is {_too_long(error['input'])}"
    return f"{place} is {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}."
