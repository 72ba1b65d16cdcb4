"""What is in a LoRA file, in every naming, and what is said of files that are something else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from attnfuse.errors import SourceError, UsageError
from attnfuse.lora.given import GivenLora, parse_lora, read_loras
from attnfuse.lora.layers import Layer, lora_file, read_layers
from attnfuse.mindir.tensorfile import TensorFile
from tests.support.lora_files import kohya, peft, write

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
FLUX = ("transformer", "vae", "text_encoder", "text_encoder_2")
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
SHAPE = (6, 5)


def layers(folder: Path, tensors: dict[str, Any], parts: tuple[str, ...] = PARTS, **metadata: str) -> tuple[Layer, ...]:
    return read_layers(TensorFile(write(folder / "l.safetensors", tensors, metadata=metadata)), parts)


def pair(base: str, up: str = "lora_B.weight", down: str = "lora_A.weight", rank: int = 2) -> dict[str, Any]:
    return {f"{base}.{up}": np.ones((6, rank), np.float32), f"{base}.{down}": np.ones((rank, 5), np.float32)}


def test_kohya(tmp_path: Path) -> None:
    tensors = kohya({"lora_unet": [(ATTENTION, SHAPE)], "lora_te2": [("text_projection", SHAPE)]}, 6.0)
    first, second = layers(tmp_path, tensors)
    assert (first.part, first.separator, first.scale) == ("text_encoder_2", "_", 2.0)
    assert (second.part, second.module) == ("unet", ATTENTION.replace(".", "_"))
    assert second.up == f"lora_unet_{second.module}.lora_up.weight"
    (flux,) = layers(tmp_path, kohya({"lora_unet": [("single_blocks.0.linear1", SHAPE)]}), FLUX)
    assert flux.part == "transformer"
    (t5,) = layers(tmp_path, kohya({"lora_te3": [("encoder.block.0", SHAPE)]}), FLUX)
    assert t5.part == "text_encoder_2"


@pytest.mark.parametrize(
    ("base", "up", "down", "part", "module"),
    [
        (f"unet.{ATTENTION}", "lora_B.weight", "lora_A.weight", "unet", ATTENTION),
        (f"unet.{ATTENTION}", "lora_B.default.weight", "lora_A.default.weight", "unet", ATTENTION),
        (f"unet.{ATTENTION}", "lora.up.weight", "lora.down.weight", "unet", ATTENTION),
        ("unet.a.attn1.processor", "to_q_lora.up.weight", "to_q_lora.down.weight", "unet", "a.attn1.to_q"),
        ("unet.a.attn1.processor", "to_out_lora.up.weight", "to_out_lora.down.weight", "unet", "a.attn1.to_out.0"),
        ("a.attn1.processor", "to_k_lora.up.weight", "to_k_lora.down.weight", "unet", "a.attn1.to_k"),
        (
            "text_encoder.a.self_attn",
            "to_out_lora.up.weight",
            "to_out_lora.down.weight",
            "text_encoder",
            "a.self_attn.out_proj",
        ),
        ("text_encoder_2.a.mlp.fc1", "lora_linear_layer.up.weight", "lora_linear_layer.down.weight", None, "a.mlp.fc1"),
        ("diffusion_model.input_blocks.1.1.proj_in", "lora_up.weight", "lora_down.weight", "unet", None),
    ],
)
def test_dotted_namings(tmp_path: Path, base: str, up: str, down: str, part: str | None, module: str | None) -> None:
    (found,) = layers(tmp_path, pair(base, up, down))
    assert found.part == (part or "text_encoder_2")
    assert found.module == (module or "input_blocks.1.1.proj_in")
    assert (found.separator, found.scale) == (".", 1.0)


def test_scales(tmp_path: Path) -> None:
    three = [(name, SHAPE) for name in ("a", "b", "c")]  # of ranks 3, 4, 7
    assert [layer.scale for layer in layers(tmp_path, peft({"unet": three}, {"unet": 6.0}))] == [2.0, 1.5, 6 / 7]
    # Without alphas it is the first rank's for all, as diffusers has it.
    assert [layer.scale for layer in layers(tmp_path, peft({"unet": three}))] == [1.0, 3 / 4, 3 / 7]
    settings = {"unet.lora_alpha": 12, "unet.r": 3, "unet.alpha_pattern": {"b": 8}, "text_encoder.lora_alpha": 1}
    text = json.dumps(settings)
    found = layers(tmp_path, peft({"unet": three}), lora_adapter_metadata=text)
    assert [layer.scale for layer in found] == [4.0, 2.0, 12 / 7]
    text = json.dumps({**settings, "unet.use_rslora": True})
    found = layers(tmp_path, peft({"unet": three}), lora_adapter_metadata=text)
    assert found[1].scale == 4.0
    encoder = [(f"text_model.encoder.layers.0.self_attn.{name}", SHAPE) for name in ("q_proj", "k_proj")]
    # Of a text encoder the first is the model's first, its keys.
    assert [layer.scale for layer in layers(tmp_path, peft({"text_encoder": encoder}))] == [1.0, 4 / 3]


def test_a_pattern_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnfuse.lora.layers._SECONDS", 0.05)
    text = json.dumps({"unet.lora_alpha": 7, "unet.alpha_pattern": {"(?R)": 8}})
    with pytest.raises(SourceError, match=r"'\(\?R\)' in alpha_pattern, which takes longer .* the layer 'a'; "):
        layers(tmp_path, peft({"unet": [("a", SHAPE)]}), lora_adapter_metadata=text)


def test_patterns_of_layers(tmp_path: Path) -> None:
    """PEFT's: of the whole name or of its last parts; counts, and names in place of patterns."""
    three = [(name, SHAPE) for name in ("a.0.to_q", "a.12.to_q", "b.to_q")]
    for pattern, scales in (
        (r"a\.\d{1,2}\.to_q", [8 / 3, 2.0, 1.0]),
        (r"^\w\.12\.(to_q|to_k)$", [7 / 3, 2.0, 1.0]),
        ("to_q", [8 / 3, 2.0, 8 / 7]),
        ("o_q", [7 / 3, 7 / 4, 1.0]),
    ):
        text = json.dumps({"unet.lora_alpha": 7, "unet.alpha_pattern": {pattern: 8}})
        found = layers(tmp_path, peft({"unet": three}), lora_adapter_metadata=text)
        assert [layer.scale for layer in found] == scales, pattern


def test_pefts_own_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"written by PEFT, and \S+adapter_config\.json is missing"):
        layers(tmp_path, pair("base_model.model.a.to_q"))
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 2}')
    (found,) = layers(tmp_path, pair("base_model.model.a.to_q"))
    assert (found.part, found.module, found.scale) == ("unet", "a.to_q", 4.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('{"lora_alpha": NaN}', r"adapter_config\.json has an alpha for 'base_model.model.a' that is no finite number"),
        ('{"lora_alpha": 1e999}', "no finite number"),
        (f'{{"lora_alpha": 1{"0" * 400}}}', "no finite number"),
        ('{"lora_alpha": "8"}', "no finite number"),
        ('{"lora_alpha": 8, "alpha_pattern": {"a": -Infinity}}', "no finite number"),
        ('{"lora_alpha": 8, "alpha_pattern": {"(": 4}}', r"has '\(' in alpha_pattern, which is no pattern"),
        (f'{{"lora_alpha": 8, "alpha_pattern": {{"{"(" * 900}": 4}}}}', r"in alpha_pattern, which is no pattern"),
        (f'{{"lora_alpha": 8, "alpha_pattern": {{"{"a" * 1_001}": 4}}}}', r"alpha_pattern, which is longer than 1000"),
        (
            '{"lora_alpha": 8, "alpha_pattern": {"((a{99}){99}){99}": 4}}',
            r"or counts what is counted; write the layers",
        ),
        ('{"lora_alpha": 8, "alpha_pattern": {"a{999999}": 4}}', r"or counts what is counted; write"),
        (
            '{"lora_alpha": 8, "alpha_pattern": {"(?R)": 4}}',
            r"which takes longer than a second to hold to the layer 'b",
        ),
        ('{"lora_alpha": 8, "init_lora_weights": "pissa_niter_4"}', "says init_lora_weights 'pissa_niter_4': the LoRA"),
        ("[8]", r"adapter_config\.json is no JSON object"),
        ("[" * 100_000, r"adapter_config\.json cannot be read: \S.*nested too deeply"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, settings: str, told: str) -> None:
    """Python's JSON has numbers that are none; a scale of these would be in every weight."""
    (tmp_path / "adapter_config.json").write_text(settings)
    with pytest.raises(SourceError, match=told):
        layers(tmp_path, pair("base_model.model.a"))


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"unet.a.dora_scale": 1}, "holds a DoRA, which scales the rows"),
        ({"unet.a.lora_magnitude_vector": 1}, "holds a DoRA"),
        ({"lora_unet_a.hada_w1_a": 1}, r"holds a LoHa \(tensor 'lora_unet_a.hada_w1_a'\)"),
        ({"lora_unet_a.lokr_w2": 1}, "holds a LoKr"),
        ({"lora_unet_a.lora_mid.weight": 1}, "Tucker's form"),
        ({"lora_unet_a.diff_b": 1}, "differences of whole weights"),
        ({"unet.a.lora_B.bias": 1}, "holds biases"),
        ({"unet.b.lora_A.weight": 1}, "has tensor 'unet.b.lora_A.weight' and not the other factor"),
        ({"unet.strange": 1, "unet.odd.alpha": 1}, "has tensors 'unet.odd.alpha', 'unet.strange', which belong to no"),
        (pair("prior.a"), "for a part unet or transformer|no such|prior"),
        (pair("lora_te3_a"), "for a part text_encoder_3 that the pipeline does not have|text_encoder_2"),
    ],
)
def test_what_is_not_merged_is_named(tmp_path: Path, extra: dict[str, Any], told: str) -> None:
    tensors = pair("unet.a") | {
        key: np.ones((2, 5), np.float32) if isinstance(value, int) else value for key, value in extra.items()
    }
    parts = ("unet", "text_encoder")
    if "prior.a.lora_A.weight" in extra:  # a part that is not there is taken for a module's name
        assert {layer.module for layer in layers(tmp_path, tensors, parts)} == {"a", "prior.a"}
        return
    with pytest.raises(SourceError, match=told):
        layers(tmp_path, tensors, parts)


def test_what_is_no_lora(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"l\.safetensors is no LoRA: it holds tensors of no LoRA, such as 'conv"):
        layers(tmp_path, {"conv_in.weight": np.ones(3)})
    save_file({}, tmp_path / "l.safetensors")
    with pytest.raises(SourceError, match=r"l\.safetensors is no LoRA: it holds no tensors\.$"):
        read_layers(TensorFile(tmp_path / "l.safetensors"), PARTS)
    with pytest.raises(SourceError, match="for a part unet or transformer that the pipeline does not have; it has vae"):
        layers(tmp_path, pair("a.to_q"), ("vae",))
    with pytest.raises(SourceError, match=r"tensor 'unet\.a\.alpha' of \S+ is not one number"):
        layers(tmp_path, pair("unet.a") | {"unet.a.alpha": np.ones(2, np.float32)})


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"without pytorch_lora_weights\.safetensors or adapter_model"):
        lora_file(tmp_path)
    write(tmp_path / "mine.safetensors", pair("unet.a"))
    with pytest.raises(SourceError, match=r"it has mine\.safetensors: name the file"):
        lora_file(tmp_path)
    path = write(tmp_path / "pytorch_lora_weights.safetensors", pair("unet.a"))
    assert lora_file(tmp_path) == path
    os.mkfifo(tmp_path / "pipe")
    for given, told in ((Path("a" * 5000), "does not exist"), (tmp_path / "pipe", "is no regular file")):
        with pytest.raises(SourceError, match=told):
            read_loras([parse_lora(f"{given}:0.5")], ("unet",))


@pytest.mark.parametrize(
    ("text", "name", "scale"),
    [("a.safetensors", "a.safetensors", 1.0), ("a:0.5", "a", 0.5), ("a:-2", "a", -2.0), ("c:/a", "c:/a", 1.0)],
)
def test_what_the_option_names(text: str, name: str, scale: float) -> None:
    assert parse_lora(text) == GivenLora(Path(name), scale)


def test_what_the_option_refuses(tmp_path: Path) -> None:
    for text in ("a:inf", "a:nan"):
        with pytest.raises(UsageError, match="not a finite number"):
            parse_lora(text)
    with pytest.raises(UsageError, match="empty"):
        parse_lora("")
    first = write(tmp_path / "a.safetensors", pair("unet.a"))
    (tmp_path / "b.safetensors").write_bytes(first.read_bytes())
    given = [GivenLora(first), GivenLora(tmp_path / "b.safetensors", 0.5)]
    with pytest.raises(UsageError, match=r"b\.safetensors is given twice \(as \S+a\.safetensors too\)"):
        read_loras(given, PARTS)
    (lora,) = read_loras(given[1:], PARTS)
    assert lora.scale == 0.5
    with pytest.raises(SourceError, match=r"the LoRA absent does not exist"):
        read_loras([GivenLora(Path("absent"))], PARTS)
