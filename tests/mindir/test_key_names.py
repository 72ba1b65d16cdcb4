"""What the names of tensors show, and what they do not."""

from __future__ import annotations

import pytest

from attnfuse.mindir.key_names import adapter_of, common_prefix, misfit, wrapper_of


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["lora_unet_a_to_q.lora_down.weight", "lora_unet_a_to_q.lora_up.weight", "lora_unet_a_to_q.alpha"], "a LoRA"),
        (["unet.a.to_q.lora_A.weight", "unet.a.to_q.lora_B.weight"], "a LoRA"),
        (["unet.a.attn1.processor.to_q_lora.down.weight"], "a LoRA"),
        (["text_encoder.a.lora_linear_layer.up.weight"], "a LoRA"),
        (["a.hada_w1_a", "a.hada_w1_b", "a.alpha"], "a LoHa"),
        (["a.lokr_w1", "a.lokr_w2_a"], "a LoKr"),
        (["a.dora_scale", "a.lora_down.weight", "a.lora_up.weight"], "a DoRA"),
        (["ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"], "an IP-Adapter"),
    ],
)
def test_adapters(keys: list[str], kind: str) -> None:
    assert adapter_of(keys).startswith(kind)
    assert f"holds {kind}" in misfit(keys)
    assert adapter_of([*keys, "conv_in.weight"]) == ""


def test_a_model_and_layers_left_in_one() -> None:
    assert misfit(["a.weight", "lora_table.bias", "blocks.0.alpha"]) == ""
    assert "PEFT's layers left in (tensor 'q.base_layer.weight')" in misfit(
        ["q.base_layer.weight", "q.lora_A.default.weight", "v.weight"]
    )
    assert misfit([]) == "holds no tensors"


def test_prefixes() -> None:
    wanted = ["text_model.a.weight", "text_model.b.weight"]
    assert common_prefix([f"module.{key}" for key in wanted], wanted) == "module."
    assert common_prefix([f"base_model.model.{key}" for key in wanted], wanted) == "base_model.model."
    assert common_prefix(wanted, wanted) == ""
    assert common_prefix(["module.text_model.a.weight", "text_model.b.weight"], wanted) == ""
    assert common_prefix([], wanted) == ""
    assert wrapper_of("_orig_mod.") == " (torch.compile puts it there)"
    assert wrapper_of("mine.") == ""
