"""A number makes a mutant: a seed, a few edits, and the command it is given to. The same number, the same mutant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from google.protobuf.message import EncodeError

from attnfuse.errors import SourceError
from attnfuse.mindir import codec
from attnfuse.mindir.schema import ModelProto
from attnfuse.targets import RUNTIMES, SOCS
from tools.fuzz import seeds
from tools.fuzz.edits import EDITS

MOST_EDITS = 4
_POLICIES = (
    '[defaults]\nforce_cast_dtype = "bfloat16"\n',
    '[[rules]]\nmatch = "*attn*"\nmasked_rows = "attended"\n',
    '[[rules]]\nmatch = "*"\nmin_sequence_length = 8\nattention = "cross"\nflash = false\n',
)
_COMMANDS = (
    *(("inspect",), ("inspect", "--json"), ("explain",), ("policy", "show"), ("policy", "show", "--json")),
    *(("compile", "-o", "OUT"), ("compile", "-o", "OUT"), ("compile", "-o", "OUT.mindir"), ("compile", "--dry-run")),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged graph and what is asked of it. `edits` tell what was done, one line each.

    In `command` GRAPH, OUT and POLICY stand for paths. `weights` are the bytes beside the graph.
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
    message = seed.message()
    told: list[str] = []
    data = seed.data
    for at in range(random.randint(1, MOST_EDITS)):
        own = Random(f"{number}.{at}")
        edit = own.choices(list(EDITS), list(EDITS.values()))[0]
        before = ModelProto()
        before.CopyFrom(message)
        if at in without:
            continue
        done = edit(own, message)
        try:
            data = message.SerializeToString(deterministic=True)
        except (EncodeError, ValueError):
            message, done = before, ""
        if done:
            told.append(done)
    if random.random() < 0.01:
        data = _not_text(random, data, message)
        told.append("a name that is no text")
    command, policy = _command(random)
    return Mutant(number, seed.name, data, seed.weights, tuple(told), command, policy)


def _not_text(random: Random, data: bytes, message: ModelProto) -> bytes:
    names = [n.name.encode() for n in message.graph.node if n.name]
    if not names:
        return data
    name = random.choice(names)
    return data.replace(name, b"\xff" * len(name), random.choice((1, -1)))


def _command(random: Random) -> tuple[tuple[str, ...], str | None]:
    name = random.choice(_COMMANDS)
    arguments = [*name, "GRAPH", "--runtime", random.choice(RUNTIMES), "--soc", random.choice(SOCS)]
    if random.random() < 0.2:
        arguments += ["--force-cast-dtype", random.choice(("none", "float16", "bfloat16"))]
    if random.random() < 0.1:
        arguments += ["--no-flash", "*attn1*"]
    policy = random.choice(_POLICIES) if random.random() < 0.2 else None
    if policy is not None:
        arguments += ["--policy", "POLICY"]
    return (*arguments, "--progress", "never"), policy
