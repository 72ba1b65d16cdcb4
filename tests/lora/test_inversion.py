"""Textual inversions: what their files hold, the rows behind a table, and the tokens in a tokenizer."""

from __future__ import annotations

import json
import lzma
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError, UsageError
from attnfuse.ir import check
from attnfuse.ir.graph import Model
from attnfuse.lora.fitting import baked_in, put_in
from attnfuse.lora.given import check_used
from attnfuse.lora.inversion import (
    GivenInversion,
    Inversion,
    grow,
    grown_graph,
    parse_inversion,
    read_inversions,
    rows_of,
    told,
    with_tokens,
)
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16, FLOAT32
from attnfuse.mindir.external import lay_out
from attnfuse.mindir.schema import ModelProto
from attnfuse.mindir.stored import StoredWeights
from attnfuse.tracing.contract import StoredWeight
from attnfuse.tracing.demo import write_demo
from attnfuse.tracing.tokenizer_files import make_tokenizer
from attnfuse_runtime.tokenizer import Tokenizer

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
TABLE = "text_model.embeddings.token_embedding.embedding_table"
PARTS = ("unet", "text_encoder", "text_encoder_2")


def vectors(*shape: int) -> Any:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


def given(file: Path, tensors: dict[str, Any], token: str | None = None) -> Inversion:
    save_file(tensors, file)
    (found,) = read_inversions([GivenInversion(file, token)], PARTS)
    return found


def stored(folder: Path, rows: int = 64, width: int = 32) -> dict[str, StoredWeight]:
    key = "text_model.embeddings.token_embedding.weight"
    save_file({key: vectors(rows, width).astype(np.float16)}, folder / "model.safetensors")
    return {TABLE: StoredWeight(TABLE, folder / "model.safetensors", key, "float16", (rows, width))}


def test_the_namings(tmp_path: Path) -> None:
    one = given(tmp_path / "cat.safetensors", {"emb_params": vectors(3, 8)})
    assert (one.token, one.tensors) == ("cat", {"text_encoder": ("emb_params", 3)})
    assert one.tokens("text_encoder") == ["cat", "cat_1", "cat_2"]
    one = given(tmp_path / "a.safetensors", {"<dog>": vectors(8)})
    assert (one.token, one.tensors) == ("<dog>", {"text_encoder": ("<dog>", 1)})
    one = given(tmp_path / "b.safetensors", {"clip_l": vectors(2, 8), "clip_g": vectors(2, 9)}, "<xl>")
    assert (one.token, one.parts) == ("<xl>", ("text_encoder", "text_encoder_2"))


@pytest.mark.parametrize(
    ("tensors", "token", "message"),
    [
        ({"a": vectors(2, 8), "b": vectors(2, 8)}, None, "is no textual inversion: it has tensors 'a', 'b'"),
        ({"emb_params": vectors(2, 3, 4)}, None, r"shape \[2, 3, 4\], and is no list of vectors"),
        ({"emb_params": vectors(2, 8) * np.float32(np.inf)}, None, "not finite"),
        ({"emb_params": vectors(2, 8)}, "a b", "has a space in it"),
    ],
)
def test_what_is_none(tmp_path: Path, tensors: dict[str, Any], token: str | None, message: str) -> None:
    with pytest.raises((SourceError, UsageError), match=message):
        given(tmp_path / "x.safetensors", tensors, token)


def test_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"emb_params": vectors(2, 8)}, file)
    assert parse_inversion(str(file)) == GivenInversion(file)
    assert parse_inversion(f"{file}:<cat>") == GivenInversion(file, "<cat>")
    with pytest.raises(UsageError, match="the token is empty"):
        parse_inversion(f"{file}:")
    with pytest.raises(UsageError, match="is given twice"):
        read_inversions([GivenInversion(file), GivenInversion(file, "y")], PARTS)
    other = tmp_path / "y.safetensors"
    save_file({"x_1": vectors(8)}, other)
    with pytest.raises(UsageError, match="two textual inversions have the token 'x_1'"):
        read_inversions([GivenInversion(file), GivenInversion(other)], PARTS)
    with pytest.raises(SourceError, match="the pipeline has none"):
        read_inversions([GivenInversion(file)], ("unet",))
    with pytest.raises(UsageError, match=r"the token of .* has 1001 characters, and 1000 at most are taken"):
        read_inversions([GivenInversion(file, "n" * 1001)], PARTS)
    pickle = tmp_path / "old.pt"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SourceError, match=r"old\.pt is a pickle, which can run code"):
        read_inversions([GivenInversion(pickle)], PARTS)
    (one,) = read_inversions([GivenInversion(file)], PARTS)
    with pytest.raises(UsageError, match="is for text_encoder, and none of that is compiled"):
        check_used([one], ["unet"])


def test_the_table_grows(tmp_path: Path) -> None:
    """The graph holds together, and every run of the table's elements is that of all rows."""
    weights = stored(tmp_path)
    cat = given(tmp_path / "cat.safetensors", {"emb_params": vectors(3, 32)})
    dog = given(tmp_path / "dog.safetensors", {"dog": vectors(32)})
    rows = grow([cat, dog], "text_encoder", "CLIPTextModel", weights)
    assert grow([cat], "text_encoder_2", "CLIPTextModel", weights) == {}
    assert rows_of(rows) == {TABLE: list(rows[TABLE])}
    data = lzma.decompress((CORPUS / "clip_text-float16.mindir.xz").read_bytes())
    assert grown_graph(data, "x", {}) == data
    source = codec.parse(data, "x")
    lay_out(source, "v/data_0")
    model = codec.parse(grown_graph(codec.serialise(source), "x", rows), "x")
    places = sorted((one.external_data.offset, one.external_data.length) for one in model.graph.parameter)
    assert all(at + length <= after for (at, length), (after, _) in pairwise(places))
    assert check.check_graph(Model(model)) == check.check_graph(Model(codec.parse(data, "x")))
    assert (68 * 32 * 2) in [length for _, length in places]
    (table,) = (one for one in model.graph.parameter if one.name.endswith(TABLE))
    assert list(table.dims) == [68, 32]
    whole = np.concatenate([vectors(64, 32).astype(np.float16), vectors(3, 32), vectors(1, 32) * 0 + vectors(32)])
    for dtype in (FLOAT16, FLOAT32):
        declared = ModelProto()
        declared.graph.parameter.add(name=f"g:{TABLE}", data_type=dtype.wire).dims.extend((68, 32))
        lay_out(declared, "v/data_0")
        read = StoredWeights(declared, {}, weights, rows)
        for first, last in ((0, None), (0, 68 * 32), (5, 9), (64 * 32 - 3, 64 * 32 + 40), (66 * 32, 67 * 32 + 1)):
            chunks = read.read(TABLE, [], first, last)
            assert chunks is not None
            found = np.frombuffer(b"".join(chunks), dtype.numpy)
            np.testing.assert_array_equal(found, whole.astype(dtype.numpy).reshape(-1)[first:last])


def test_those_of_another_model(tmp_path: Path) -> None:
    wide = given(tmp_path / "wide.safetensors", {"emb_params": vectors(1, 40)})
    with pytest.raises(SourceError, match=r"vectors of 40 numbers, and text_encoder \(CLIPTextModel\) those of 32"):
        grow([wide], "text_encoder", "CLIPTextModel", stored(tmp_path))
    with pytest.raises(SourceError, match="is for a text encoder of CLIP's, and text_encoder is T5EncoderModel"):
        grow([wide], "text_encoder", "T5EncoderModel", {})


def test_what_documents_tell(tmp_path: Path) -> None:
    one = given(tmp_path / "cat.safetensors", {"emb_params": vectors(3, 32)})
    entry = told([one], "text_encoder")
    assert entry is not None
    assert entry.value == [{"file": "cat.safetensors", "sha256": one.sha256, "token": "cat", "vectors": 3}]
    assert told([one], "unet") is None
    assert baked_in([entry]) == put_in([one], "text_encoder") == {(one.sha256, "cat")}
    assert put_in([one], "unet") == set()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder)
    return folder


def files(demo: Path) -> dict[str, bytes]:
    found = {f"tokenizer/{path.name}": path.read_bytes() for path in (demo / "tokenizer").iterdir()}
    return {**found, "tokenizer/tokenizer.json": make_tokenizer(demo / "tokenizer", "CLIPTokenizer")}


def test_the_tokenizer_knows_the_tokens(demo: Path, tmp_path: Path) -> None:
    cat = given(tmp_path / "a.safetensors", {"emb_params": vectors(3, 64)}, "<Cat>")
    dog = given(tmp_path / "b.safetensors", {"<dog>": vectors(64)})
    made = with_tokens(files(demo), [cat, dog], demo)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    assert json.loads(made["tokenizer/added_tokens.json"]) == {
        "<Cat>": 514,
        "<Cat>_1": 515,
        "<Cat>_2": 516,
        "<dog>": 517,
    }
    tokens = Tokenizer.from_folder(folder)
    plain = Tokenizer.from_folder(demo / "tokenizer")
    (row,) = tokens(["a <Cat> and <dog>!"]).ids
    (words,) = plain(["a and !"]).ids
    assert [n for n in row if n < 514][: len(words) - 6] == list(words)[: len(words) - 6]
    at = list(row).index(514)
    assert list(row[at : at + 3]) == [514, 515, 516]
    assert list(row).count(517) == 1
    # A token of its own stays one, and weights follow the place in the text.
    assert list(tokens(["<Cat>_2"]).ids[0][1:3]) == [516, row[-1]]
    weights = np.array([1, 1, *[2] * 5, 1], np.float32)
    found = tokens(["a <Cat>b"], weights=[weights])
    assert list(found.weights[0][: 1 + 1 + 3 + 1]) == [1, 1, 2, 2, 2, 1]


def test_tokens_that_are_there(demo: Path, tmp_path: Path) -> None:
    there = given(tmp_path / "a.safetensors", {"emb_params": vectors(1, 64)}, "a</w>")
    with pytest.raises(SourceError, match="has the token 'a</w>' already; give it another name: FILE:TOKEN"):
        with_tokens(files(demo), [there], demo)
    with pytest.raises(SourceError, match="has no tokenizer for text_encoder"):
        with_tokens({}, [there], demo)
    short = json.loads(files(demo)["tokenizer/tokenizer.json"])
    short["model"]["vocab"].pop("a</w>")
    short["model"]["vocab"]["b</w>"] = 600
    with pytest.raises(SourceError, match="has 601 tokens, and text_encoder 514 rows for them"):
        with_tokens({"tokenizer/tokenizer.json": json.dumps(short).encode()}, [there], demo)
