"""Textual inversions: vectors that a text encoder's table of tokens gets behind its own, and the tokens they stand for.

Namings of tensors, each [vectors, width] or [width]:

    `emb_params`            of one encoder (AUTOMATIC1111's and ComfyUI's files)
    `clip_l`, `clip_g`      of the first and the second encoder of Stable Diffusion XL
    the token itself        of one encoder (diffusers, loaders/textual_inversion.py)

Several vectors are several tokens, `TOKEN`, `TOKEN_1`, `TOKEN_2` and so on, which stand side by side wherever a text
has the first: as TextualInversionLoaderMixin does it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnfuse.errors import SourceError, UsageError
from attnfuse.mindir import codec
from attnfuse.mindir.external import lay_out, parameter_name, parameters
from attnfuse.mindir.rows import Rows
from attnfuse.mindir.schema import AttributeProto, NodeProto
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.names import some
from attnfuse.output import digest
from attnfuse.tracing.contract import FixedValue, StoredWeight
from attnfuse.tracing.folder import read_json
from attnfuse.tracing.tokenizer_files import LONGEST_TOKEN

FIXED_NAME = "textual_inversion"
_TABLES = ("token_embedding.weight", "token_embedding.embedding_table")
"""How the name of CLIP's table of tokens ends, in checkpoints and in graphs."""

_ENCODERS = ("text_encoder", "text_encoder_2")
_OF_XL = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_MEANING = (
    "rows behind the encoder's own: each file, its SHA-256, its token, and how many vectors it has; texts have them"
    " where they have the token, which the tokenizer in the output knows"
)


@dataclass(frozen=True, slots=True)
class GivenInversion:
    """A file, and what its token is to be called; None for what the file says, or its own name."""

    file: Path
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Inversion:
    """One that was read: by part of the pipeline the name of its tensor and how many vectors that has."""

    file: Path
    token: str
    sha256: str
    tensors: Mapping[str, tuple[str, int]]

    @property
    def parts(self) -> tuple[str, ...]:
        """What of the pipeline it changes."""
        return tuple(self.tensors)

    def tokens(self, part: str) -> list[str]:
        """What its vectors of that part are called."""
        return [self.token, *(f"{self.token}_{i}" for i in range(1, self.tensors[part][1]))]


def parse_inversion(text: str) -> GivenInversion:
    """What `FILE` or `FILE:TOKEN` names. Raises UsageError."""
    name, mark, token = text.rpartition(":")
    if not mark or Path(text).exists():
        name, token = text, ""
    if not name:
        raise UsageError("--textual-inversion needs the path of a file; it was given an empty one.")
    if mark and name != text and not token.strip():
        raise UsageError(f"--textual-inversion {text}: the token is empty; leave out the colon, or name one.")
    return GivenInversion(Path(name), token or None)


def read_inversions(given: Sequence[GivenInversion], parts: Sequence[str]) -> tuple[Inversion, ...]:
    """Read them for a pipeline with these parts.

    Raises SourceError for what is no textual inversion of a text encoder that the pipeline has, UsageError where a file
    or a token is given twice.
    """
    found: dict[str, Inversion] = {}
    for one in given:
        if not one.file.is_file():
            raise SourceError(f"the textual inversion {one.file} does not exist, or is no file.")
        file = TensorFile(one.file)
        sha256 = digest(one.file).sha256
        if sha256 in found:
            raise UsageError(f"the textual inversion {one.file} is given twice; drop one.")
        found[sha256] = _read(file, one, sha256, [part for part in _ENCODERS if part in parts])
    tokens = [(part, token) for one in found.values() for part in one.parts for token in one.tokens(part)]
    for (_, token), times in Counter(tokens).items():
        if times > 1:
            raise UsageError(f"two textual inversions have the token {token!r}; give one another: FILE:TOKEN.")
    return tuple(found.values())


def _read(file: TensorFile, given: GivenInversion, sha256: str, encoders: Sequence[str]) -> Inversion:
    keys = list(file.tensors)
    if not encoders:
        raise SourceError(f"{file.path} is for a text encoder, and the pipeline has none.")
    if keys and set(keys) <= _OF_XL.keys():
        places = {part: key for key, part in _OF_XL.items() if key in keys}
        token = file.path.stem
    elif len(keys) == 1:
        places = {encoders[0]: keys[0]}
        token = file.path.stem if keys[0] == "emb_params" else keys[0]
    else:
        held = some(keys) if keys else "no tensors"
        raise SourceError(
            f"{file.path} is no textual inversion: it has {held}, and neither emb_params, clip_l and clip_g, nor one"
            " tensor named as its token."
        )
    if absent := [part for part in places if part not in encoders]:
        raise SourceError(f"{file.path} has {places[absent[0]]!r}, for a part {absent[0]} that the pipeline lacks.")
    token = given.token or token
    if len(token) > LONGEST_TOKEN:
        raise UsageError(
            f"the token of {file.path} has {len(token)} characters, and {LONGEST_TOKEN} at most are taken;"
            " give another: FILE:TOKEN."
        )
    if any(letter.isspace() for letter in token):
        raise UsageError(f"the token {token!r} of {file.path} has a space in it; give another: FILE:TOKEN.")
    return Inversion(file.path, token, sha256, {part: (key, _vectors(file, key)) for part, key in places.items()})


def _vectors(file: TensorFile, key: str) -> int:
    shape = file.entry(key).shape
    if len(shape) not in (1, 2) or 0 in shape:
        raise SourceError(f"tensor {key!r} of {file.path} has shape {list(shape)}, and is no list of vectors.")
    if not np.isfinite(file.values(key).astype(np.float64)).all():
        raise SourceError(f"tensor {key!r} of {file.path} holds numbers that are not finite.")
    return shape[0] if len(shape) == 2 else 1


def grow(
    inversions: Sequence[Inversion], part: str, class_name: str, weights: Mapping[str, StoredWeight]
) -> dict[str, tuple[Rows, ...]]:
    """The rows that a component of that part gets behind its table of tokens, by parameter.

    Raises SourceError, naming both widths, where they are of another model.
    """
    mine = [one for one in inversions if part in one.tensors]
    if not mine:
        return {}
    tables = [name for name, weight in weights.items() if weight.key.endswith(_TABLES) or name.endswith(_TABLES)]
    if len(tables) != 1:
        raise SourceError(
            f"{mine[0].file} is for a text encoder of CLIP's, and {part} is {class_name}, without its table of tokens."
        )
    width = weights[tables[0]].shape[1]
    rows = []
    for one in mine:
        key, count = one.tensors[part]
        own = TensorFile(one.file).entry(key).shape[-1]
        if own != width:
            raise SourceError(
                f"{one.file} has vectors of {own} numbers, and {part} ({class_name}) those of {width}; it was made for"
                " another model."
            )
        rows.append(Rows(one.file, key, count))
    return {tables[0]: tuple(rows)}


def rows_of(added: Mapping[str, Sequence[object]]) -> dict[str, list[Rows]]:
    """Of what is added to weights, by parameter, what is put behind them."""
    found = {name: [one for one in ones if isinstance(one, Rows)] for name, ones in added.items()}
    return {name: rows for name, rows in found.items() if rows}


def grown_graph(data: bytes, where: str, rows: Mapping[str, Sequence[Rows]]) -> bytes:
    """A graph whose tables have those rows too. What is declared changes, of the tables and of nodes that hand them on,
    alone or in a tuple, and places in the variables file, which is one; a look-up gives what it gave."""
    if not rows:
        return data
    model = codec.parse(data, where)
    tables: dict[str, tuple[list[int], int]] = {}
    for parameter in parameters(model):
        if more := sum(one.count for one in rows.get(parameter_name(parameter), ())):
            tables[parameter.name] = list(parameter.dims), more
            parameter.dims[0] += more
    for node in model.graph.node:  # in the order of their edges
        for declared in (one for one in node.attribute if one.name == "shape"):
            _grow_declared(node, declared, tables)
    for location in {one.external_data.location for one in parameters(model) if one.HasField("external_data")}:
        lay_out(model, location)
    return codec.serialise(model)


def _grow_declared(node: NodeProto, declared: AttributeProto, tables: dict[str, tuple[list[int], int]]) -> None:
    """What a node declares that takes tables; one that hands a table on is a table too."""
    for place, name in enumerate(node.input):
        if name in tables:
            dims, more = tables[name]
            in_a_tuple = place < len(declared.values)
            element = declared.values[place] if in_a_tuple else declared
            for tensor in element.tensors if in_a_tuple or place == 0 else ():
                if list(tensor.dims) == dims:
                    tensor.dims[0] += more
                    if not in_a_tuple:
                        tables[node.output[0]] = dims, more


def told(inversions: Sequence[Inversion], part: str) -> FixedValue | None:
    """What stands in report and manifest of those that change the part; None where none does."""
    entries = [
        {"file": one.file.name, "sha256": one.sha256, "token": one.token, "vectors": one.tensors[part][1]}
        for one in inversions
        if part in one.tensors
    ]
    return FixedValue(FIXED_NAME, entries, _MEANING) if entries else None


def with_tokens(files: Mapping[str, bytes], inversions: Sequence[Inversion], folder: Path) -> dict[str, bytes]:
    """The files of an output, by name, with the tokens in the tokenizer of each text encoder.

    `folder` is the source's. Raises SourceError where a tokenizer is missing, knows the token already,
    or has another number of tokens than the encoder has rows: they would get numbers that are not theirs.
    """
    made = dict(files)
    for part in dict.fromkeys(part for one in inversions for part in one.parts):
        name = part.replace("text_encoder", "tokenizer")
        file = f"{name}/tokenizer.json"
        if file not in made:
            raise SourceError(f"{folder} has no tokenizer for {part} that {inversions[0].file} can add to.")
        tokens = [token for one in inversions if part in one.parts for token in one.tokens(part)]
        rows = read_json(folder / part / "config.json").get("vocab_size", 49408)
        made[file] = _with_tokens(made[file], file, tokens, part, rows)
        # Where transformers' own tokenizers look.
        if (beside := f"{name}/added_tokens.json") in made or f"{name}/vocab.json" in made:
            own = json.loads(made.get(beside, b"{}"))
            added = {**own, **{token: rows + i for i, token in enumerate(tokens)}}
            made[beside] = (json.dumps(added, indent=2, ensure_ascii=False) + "\n").encode()
    return dict(sorted(made.items()))


def _with_tokens(content: bytes, file: str, tokens: Sequence[str], part: str, rows: Any) -> bytes:
    try:
        document = json.loads(content)
        known: dict[str, int] = {**document["model"]["vocab"]}
        own = list(document["added_tokens"])
        known |= {one["content"]: one["id"] for one in own}
        if not all(isinstance(number, int) for number in known.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SourceError(f"{file} of the source has no vocabulary that tokens can be added to.") from None
    first = max(known.values(), default=-1) + 1
    if first != rows:
        raise SourceError(
            f"{file} has {first} tokens, and {part} {rows} rows for them: tokens of a textual inversion would get rows"
            " of others."
        )
    for i, token in enumerate(tokens):
        if token in known:
            raise SourceError(f"{file} has the token {token!r} already; give it another name: FILE:TOKEN.")
        marks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        own.append({"id": first + i, "content": token, **marks})
    document["added_tokens"] = own
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
