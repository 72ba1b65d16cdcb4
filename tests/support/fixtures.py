"""Fixtures of passes: a graph before and after in the short text form, and what is told of it.

    pass: fuse
    given: q, k, v: float16[2, 8, 64, 40]

    title: the scale on query
    status: fused
    s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2))); MatMulExt(Softmax(s, (-1,)), v)
    => PromptFlashAttention(q, k, v, num_heads=8, scale_value=0.125, input_layout=1, inner_precise=1)

Blocks stand apart by an empty line. A block begins with lines `key: value`; those of the first, which has no graph,
hold for all that do not say otherwise. `#` at the start of a line is a comment.

    title     what it shows; a name no other fixture of the file has
    pass      the id of the pass that runs
    runtime   lite (default), mindspore;  soc  ascend910b (default)
    policy    settings in TOML, such as flash = false
    given     inputs, declared where the graph does not: those it names. A block's come to those of the first
    status    of its one site;  code  likewise
    reason    a part of why an operator is not legalised

Without `=>` the pass must change nothing. May import the engine, the passes and `tests.support`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attnfuse.ir.graph import Model
from attnfuse.ir.text import parse_program, program_text
from attnfuse.pass_manager import Context, Pass
from attnfuse.policy import Policy, policy_of
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse
from attnfuse_passes.legalise.legalise import Legalise
from tests.support.inference import infer

PASSES: Mapping[str, type[Pass]] = {"fuse": Fuse, "legalise": Legalise}
_KEYS = ("title", "pass", "runtime", "soc", "policy", "given", "status", "code", "reason")
_KEY = re.compile(rf"({'|'.join(_KEYS)}): (.*)")
_NONE = "None"
_ANY_TOKENS = "2147483647"
_SIGNATURES: Mapping[str, Mapping[str, str]] = {
    "PromptFlashAttention": {
        "query": "",
        "key": "",
        "value": "",
        **dict.fromkeys(("attn_mask", "actual_seq_lengths", "actual_seq_lengths_kv", "pse_shift"), _NONE),
        **dict.fromkeys(("deq_scale1", "quant_scale1", "deq_scale2", "quant_scale2", "quant_offset2"), _NONE),
        "num_heads": "",
        "scale_value": "",
        "pre_tokens": _ANY_TOKENS,
        "next_tokens": _ANY_TOKENS,
        "input_layout": "",
        "num_key_value_heads": "0",
        "sparse_mode": "0",
        "inner_precise": "",
    },
    "FlashAttentionScore": {
        "query": "",
        "key": "",
        "value": "",
        **dict.fromkeys(("real_shift", "drop_mask", "padding_mask", "attn_mask", "prefix"), _NONE),
        **dict.fromkeys(("actual_seq_qlen", "actual_seq_kvlen"), _NONE),
        "head_num": "",
        "keep_prob": "1.0",
        "scale_value": "",
        "pre_tokens": _ANY_TOKENS,
        "next_tokens": _ANY_TOKENS,
        "inner_precise": "0",
        "input_layout": "",
        "sparse_mode": "0",
    },
}


@dataclass(frozen=True, slots=True)
class Fixture:
    """One block. `told` are its keys; `after` is None where nothing may change."""

    file: str
    line: int
    before: str
    after: str | None
    told: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file}: {self.told['title']}"

    def model(self) -> Model:
        """The graph before, each input declared that it names."""
        given = "".join(f"{name}: {kind}\n" for name, kind in self._given().items())
        return Model(parse_program(given + self.before, infer=infer))

    def _given(self) -> dict[str, str]:
        declared: dict[str, str] = {}
        for part in filter(None, self.told.get("given", "").split(";")):
            names, _, kind = part.partition(":")
            declared |= {name.strip(): kind.strip() for name in names.split(",")}
        named = set(re.findall(r"\w+", self.before)) - set(re.findall(r"(\w+):", self.before))
        return {name: kind for name, kind in declared.items() if name in named}

    def expected(self, before: Model) -> str:
        """The text of the graph after."""
        if self.after is None:
            return program_text(before)
        return program_text(Model(parse_program(self.after, signature=_SIGNATURES.get, like=before.proto)))

    def run(self, model: Model) -> Context:
        """Run the pass in place; what it told."""
        policy = Policy()
        if "policy" in self.told:
            policy = policy_of({"defaults": tomllib.loads(self.told["policy"].replace(";", "\n"))}, str(self))
        target = Target(self.told.get("runtime", "lite"), self.told.get("soc", "ascend910b"))
        context = Context("unet", "unet", policy, target)
        PASSES[self.told["pass"]]().run(model, context)
        return context


def read(path: Path) -> Iterator[Fixture]:
    """The fixtures of a file, in order."""
    common: dict[str, str] = {}
    line = 1
    for block in re.split(r"\n(?:[ \t]*\n)+", path.read_text(encoding="utf-8")):
        first = line
        line += block.count("\n") + 2
        lines = [text for text in block.split("\n") if text.strip() and not text.startswith("#")]
        told: dict[str, str] = {}
        while lines and (match := _KEY.fullmatch(lines[0].strip())):
            told[match[1]] = match[2]
            del lines[0]
        if "given" in common and "given" in told:
            told["given"] = f"{common['given']}; {told['given']}"
        if not lines:
            common |= told
            continue
        before, arrow, after = "\n".join(lines).partition("=>")
        yield Fixture(path.stem, first, before, after if arrow else None, common | told)
