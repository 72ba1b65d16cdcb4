"""Which weight each layer of a LoRA belongs to, in the model's names and in those it was first published under."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnfuse.errors import SourceError
from attnfuse.lora.fitting import baked_in, fit, put_in, told
from attnfuse.lora.given import GivenLora, Lora, read_loras
from attnfuse.tracing.contract import StoredWeight
from tests.support.checkpoints import SD21_UNET
from tests.support.lora_files import Shape, kohya, peft, write

UNET = "UNet2DConditionModel"


def weights(*modules: str, shape: Shape = (6, 5)) -> dict[str, StoredWeight]:
    return {
        f"{name}.weight": StoredWeight(f"{name}.weight", Path("m"), f"{name}.weight", "float16", shape)
        for name in modules
    }


def given(folder: Path, tensors: dict[str, object], part: str = "unet", scale: float = 0.5) -> tuple[Lora, ...]:
    return read_loras([GivenLora(write(folder / "l.safetensors", tensors), scale)], (part, "text_encoder"))


def test_original_names_of_a_unet(tmp_path: Path) -> None:
    places = {
        "input_blocks.1.1.transformer_blocks.0.ff.net.2": "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2",
        "input_blocks.2.0.op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks.3.0.in_layers.2": "down_blocks.1.resnets.0.conv1",
        "middle_block.1.proj_in": "mid_block.attentions.0.proj_in",
        "middle_block.2.out_layers.3": "mid_block.resnets.1.conv2",
        "output_blocks.1.1.conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks.3.1.proj_out": "up_blocks.1.attentions.1.proj_out",
        "output_blocks.3.0.skip_connection": "up_blocks.1.resnets.1.conv_shortcut",
        "output_blocks.0.0.emb_layers.1": "up_blocks.0.resnets.0.time_emb_proj",
        "time_embed.0": "time_embedding.linear_1",
    }
    stored = weights(*places.values())
    lora = given(tmp_path, kohya({"lora_unet": [(name, (6, 5)) for name in places]}))
    added = fit(lora, "unet", UNET, SD21_UNET, stored)
    assert added.keys() == {f"{name}.weight" for name in places.values()}
    for original, name in places.items():
        (one,) = added[f"{name}.weight"]
        assert one.down == f"lora_unet_{original.replace('.', '_')}.lora_down.weight"
    # In dots too, as ComfyUI's tools write them.
    dotted = {
        key.replace("unet.", "diffusion_model."): value for key, value in peft({"unet": [("out.2", (6, 5))]}).items()
    }
    assert fit(given(tmp_path, dotted), "unet", UNET, SD21_UNET, weights("conv_out")).keys() == {"conv_out.weight"}


def test_original_names_of_flux(tmp_path: Path) -> None:
    names = [f"single_transformer_blocks.3.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    names += [f"transformer_blocks.1.attn.add_{name}_proj" for name in "qkv"] + ["norm_out.linear"]
    lora = given(
        tmp_path,
        kohya(
            {
                "lora_unet": [
                    ("single_blocks.3.linear1", (42, 5)),
                    ("double_blocks.1.txt_attn.qkv", (18, 5)),
                    ("final_layer.adaLN_modulation.1", (12, 5)),
                ]
            }
        ),
        "transformer",
    )
    added = fit(lora, "transformer", "FluxTransformer2DModel", {}, weights(*names))
    rows = {name.removesuffix(".weight"): (ones[0].rows, ones[0].of) for name, ones in added.items()}
    assert rows == {
        names[0]: (((0, 1),), 7),
        names[1]: (((1, 2),), 7),
        names[2]: (((2, 3),), 7),
        names[3]: (((3, 7),), 7),
        names[4]: (((0, 1),), 3),
        names[5]: (((1, 2),), 3),
        names[6]: (((2, 3),), 3),
        names[7]: (((1, 2), (0, 1)), 2),
    }


def test_what_fits_nothing_is_named(tmp_path: Path) -> None:
    lora = given(tmp_path, peft({"unet": [(f"x.{i}", (6, 5)) for i in range(5)] + [("a", (6, 5))]}))
    with pytest.raises(
        SourceError, match=r"tensors 'unet\.x\.0\.lora_A\.weight', .* and 2 more, and unet \(UNet2D"
    ) as caught:
        fit(lora, "unet", UNET, {}, weights("a"))
    assert "no such layers; it was made for another model." in str(caught.value)
    # A layer that joins several is merged into all of them or none.
    lora = given(tmp_path, kohya({"lora_unet": [("double_blocks.0.img_attn.qkv", (18, 5))]}), "transformer")
    with pytest.raises(SourceError, match="no such layer;"):
        fit(lora, "transformer", "FluxTransformer2DModel", {}, weights("transformer_blocks.0.attn.to_q"))


def test_one_layer_under_two_names(tmp_path: Path) -> None:
    """It would be added twice."""
    tensors = kohya({"lora_unet": [("a.b", (6, 5))]}) | peft({"unet": [("a.b", (6, 5))]})
    with pytest.raises(
        SourceError, match=r"tensors 'unet\.a\.b\S+', 'lora_unet_a_b\S+', two layers for the same weight"
    ):
        fit(given(tmp_path, tensors), "unet", UNET, {}, weights("a.b"))


def test_two_of_them_and_what_is_told(tmp_path: Path) -> None:
    one = write(tmp_path / "one.safetensors", peft({"unet": [("a", (6, 5))]}))
    two = write(
        tmp_path / "two.safetensors", peft({"unet": [("a", (6, 5)), ("b", (6, 5))], "text_encoder": [("c", (6, 5))]})
    )
    loras = read_loras([GivenLora(one, 0.5), GivenLora(two, 2.0)], ("unet", "text_encoder"))
    added = fit(loras, "unet", UNET, {}, weights("a", "b"))
    assert [(low.file.name, low.scale) for low in added["a.weight"]] == [
        ("one.safetensors", 0.5),
        ("two.safetensors", 2.0),
    ]
    entry = told(loras, "unet", added)
    assert entry is not None
    assert [(e["file"], e["scale"], e["weights"]) for e in entry.value] == [
        ("one.safetensors", 0.5, 1),
        ("two.safetensors", 2.0, 2),
    ]
    assert baked_in([entry]) == put_in(loras, "unet") == {(lora.sha256, lora.scale) for lora in loras}
    assert told(loras, "vae", {}) is None
    assert put_in(loras, "text_encoder") == {(loras[1].sha256, 2.0)}
