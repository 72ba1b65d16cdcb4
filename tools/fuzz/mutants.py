"""A number makes a mutant: a seed, a few edits, and the command it is given to. The same number, the same mutant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

from google.protobuf.message import EncodeError

from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import RUNTIMES, SOCS
from tools.fuzz import seeds
from tools.fuzz.agreeing import agree, lay_weights
from tools.fuzz.edits import EDITS, GENTLE, Edit

MOST_EDITS = 4
ATTEMPTS = 20
"""Edits that are tried where none finds anything that it could change."""
AGREEING = 0.85
"""How often edits are gentle, and types made to agree again after them: what contradicts itself reaches no pass."""
CENSUS = "census"
"""In place of a command: what `inspect` does, with neither the reading of a command line nor the tables for people,
which take longer than all else of a small graph."""
WHOLE = 0.03
"""How often a mutant of a small graph goes through a whole command line; those of larger ones always do."""
_POLICIES = (
    '[defaults]\nforce_cast_dtype = "bfloat16"\n',
    '[[rules]]\nmatch = "*attn*"\nassume_no_fully_masked_rows = true\n',
    '[[rules]]\nmatch = "*"\nmin_sequence_length = 8\nattention = "cross"\nflash = false\n',
)
_WITH_BFLOAT16 = ("ascend910b", "ascend910_93")
_COMMANDS = (
    *(("inspect",), ("inspect", "--json"), ("explain",), ("policy", "show"), ("policy", "show", "--json")),
    *(("compile", "-o", "OUT"), ("compile", "-o", "OUT"), ("compile", "-o", "OUT.mindir"), ("compile", "--dry-run")),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged graph and what is asked of it. `edits` tell what was done, one line each.

    In `command` GRAPH, OUT and POLICY stand for paths; it may be a `CENSUS`. `weights` are the bytes beside the graph.
    """

    number: int
    seed: str
    data: bytes
    weights: int
    edits: tuple[str, ...]
    command: tuple[str, ...]
    policy: str | None

    @property
    def parses(self) -> bool:
        """Whether the bytes are a MindIR message with a graph, which is all that `parse` asks."""
        try:
            codec.parse(self.data, "a mutant")
        except SourceError:
            return False
        return True


def make(number: int, without: Collection[int] = ()) -> Mutant:
    """The mutant of that number; `without` leaves out some of its edits, the others stay as they are."""
    random = Random(number)
    seed = seeds.draw(random)
    weights = seed.weights
    gentle = random.random() < AGREEING
    wanted = random.choice((1, 1, 1, 2, 3, MOST_EDITS))
    message, told = edited(str(number), seed.message(), GENTLE if gentle else EDITS, wanted, without)
    if gentle:
        told += agree(message)
        weights = lay_weights(message, weights)
    data = message.SerializeToString(deterministic=True)
    if random.random() < 0.01:
        data = _not_text(random, data, message)
        told.append("a name that is no text")
    command, policy = _command(random, whole=len(seed.data) > seeds.SMALL or random.random() < WHOLE)
    return Mutant(number, seed.name, data, weights, tuple(told), command, policy)


def edited(
    key: str, message: ModelProto, edits: Mapping[Edit, int], wanted: int, without: Collection[int] = ()
) -> tuple[ModelProto, list[str]]:
    """The message, which is changed in place where it can be, after so many edits, and what they did; the same `key`,
    the same edits."""
    told: list[str] = []
    for at in range(ATTEMPTS):
        if at >= wanted and (told or without):
            break
        own = Random(f"{key}.{at}")
        edit = own.choices(list(edits), list(edits.values()))[0]
        if at in without:
            continue
        before = ModelProto()
        before.CopyFrom(message)
        done = edit(own, message)
        try:
            message.SerializeToString()
        except (EncodeError, ValueError):
            message, done = before, ""
        if done:
            told.append(done)
    return message, told


def _not_text(random: Random, data: bytes, message: ModelProto) -> bytes:
    names = [n.name.encode() for n in message.graph.node if n.name]
    if not names:
        return data
    name = random.choice(names)
    return data.replace(name, b"\xff" * len(name), random.choice((1, -1)))


def _command(random: Random, *, whole: bool) -> tuple[tuple[str, ...], str | None]:
    name = random.choice(_COMMANDS) if whole else (CENSUS,)
    soc = random.choice(SOCS)
    arguments = [*name, "GRAPH", "--runtime", random.choice(RUNTIMES), "--soc", soc]
    casts = ("none", "float16", "bfloat16")[: 3 if soc in _WITH_BFLOAT16 else 2]  # another is an error of usage
    if random.random() < 0.2:
        arguments += ["--force-cast-dtype", random.choice(casts)]
    if random.random() < 0.1:
        arguments += ["--no-flash", "*attn1*"]
    policies = _POLICIES if soc in _WITH_BFLOAT16 else _POLICIES[1:]
    policy = random.choice(policies) if random.random() < 0.2 else None
    if policy is not None:
        arguments += ["--policy", "POLICY"]
    return (*arguments, "--progress", "never") if whole else tuple(arguments), policy
