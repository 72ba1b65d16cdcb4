"""IP-Adapters: which files are some, what their UNet and image encoder are planned with, and what is refused."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attnfuse.errors import SourceError, TraceError, UsageError
from attnfuse.tracing.contract import ShapeOptions, TensorSpec
from attnfuse.tracing.demo import write_json
from attnfuse.tracing.folder import IpAdapter
from attnfuse.tracing.ip_adapter import GivenIpAdapter, check_fits, parse_ip_adapter, read_ip_adapter
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import ADAPTED, NOT_ADAPTED, Planned, plan_all
from tests.support.checkpoints import SD21_UNET, SMALL_VAE, XL_UNET
from tests.support.ip_adapters import WIDTH, write_image_encoder, write_ip_adapter
from tests.support.small_models.encoders import CLIP_VISION

_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder of a repository that has adapters, and an image encoder beside them."""
    write_image_encoder(tmp_path / "models" / "image_encoder")
    return tmp_path / "models"


def pipeline(folder: Path, class_name: str = "StableDiffusionPipeline", **models: dict[str, Any]) -> Path:
    index: dict[str, Any] = {"_class_name": class_name, "image_encoder": [None, None]}
    for name, config in (models or {"unet": SD21_UNET}).items():
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "config.json", config)
        of_diffusers = "_class_name" in config
        index[name] = (
            ["diffusers", config["_class_name"]] if of_diffusers else ["transformers", *config["architectures"]]
        )
    write_json(folder / "model_index.json", index)
    return folder


def planned(folder: Path, adapter: IpAdapter | None) -> Planned:
    return plan_all(folder, "float16", ShapeOptions(), terms=Terms(with_weights=False, ip_adapter=adapter))


@pytest.mark.parametrize(
    ("kind", "takes", "shape"),
    [
        ("plain", "image_embeds", (2, 1, 16)),
        ("plus", "hidden_states", (2, 1, 17, 24)),
        ("full", "hidden_states", (2, 1, 17, 24)),
    ],
)
def test_the_kinds(models: Path, tmp_path: Path, kind: str, takes: str, shape: tuple[int, ...]) -> None:
    file = write_ip_adapter(models / "one.safetensors", SD21_UNET, kind)
    adapter = read_ip_adapter(f"{file}@0.25")
    assert adapter == IpAdapter(
        "image_embeds" if kind == "plain" else "hidden_states",
        WIDTH[kind],
        SD21_UNET["cross_attention_dim"],
        0.25,
        file=file,
        encoder=models / "image_encoder",
    )
    plans = {plan.name: plan for plan in planned(pipeline(tmp_path / "in"), adapter).plans}
    assert list(plans) == ["unet", "image_encoder"]
    unet, encoder = plans.values()
    assert unet.inputs[-2:] == (
        TensorSpec("image_embeds", shape, "float16"),
        TensorSpec("ip_adapter_scale", (1,), "float16"),
    )
    assert unet.call is not None
    assert dict(unet.call.arguments)["added_cond_kwargs"] == (
        '{"ip_adapter_scale": ip_adapter_scale, "image_embeds": [image_embeds]}'
    )
    assert (unet.ip_adapter, unet.patches) == (file, ("picture_prompt",))
    told = {one.name: one.value for one in unet.fixed}
    assert told["ip_adapter"] == [{"file": "one.safetensors", "sha256": "", "scale": 0.25}]
    assert "ip_adapter_scale" not in told
    assert encoder.call is not None
    assert (encoder.folder, [name for name, _ in encoder.call.outputs]) == (models / "image_encoder", [takes])
    assert encoder.inputs == (TensorSpec("pixel_values", (1, 3, 20, 20), "float16"),)
    # Without an image encoder what it gives is given: of published ones, 257 states.
    alone = {plan.name: plan for plan in planned(tmp_path / "in", replace(adapter, encoder=None)).plans}
    assert list(alone) == ["unet"]
    assert alone["unet"].inputs[-2].shape == (shape if kind == "plain" else (2, 1, 257, 24))
    # And without an adapter there is nothing of it.
    (plain,) = planned(tmp_path / "in", None).plans
    assert (plain.ip_adapter, plain.patches, plain.inputs[-1].name) == (None, (), "encoder_hidden_states")
    assert {one.name: one.value for one in plain.fixed}["ip_adapter_scale"] is None


def test_what_is_named(models: Path, tmp_path: Path) -> None:
    file = write_ip_adapter(models / "one.safetensors", SD21_UNET)
    assert parse_ip_adapter(f"{file}@-1e-1") == GivenIpAdapter(str(file), -0.1)
    odd = write_ip_adapter(tmp_path / "b@3.safetensors", SD21_UNET)
    assert parse_ip_adapter(str(odd)) == GivenIpAdapter(str(odd))
    assert read_ip_adapter(str(tmp_path / "models")).file == file
    for text in (f"{file}@", f"{file}@nan", f"{file}@x", "@1"):
        with pytest.raises(UsageError, match="behind the @ stands a scale"):
            parse_ip_adapter(text)
    with pytest.raises(
        SourceError, match=r"one\.safetensors:0\.5 does not exist, or is no file \(a scale stands behin"
    ):
        read_ip_adapter(f"{file}:0.5")
    write_ip_adapter(models / "two.safetensors", SD21_UNET)
    with pytest.raises(SourceError, match=r"it has one\.safetensors, two\.safetensors: name one of them"):
        read_ip_adapter(str(models))
    with pytest.raises(SourceError, match="it has no safetensors file"):
        read_ip_adapter(str(models / "image_encoder"))


def test_the_encoder_that_gives_what_is_taken(models: Path, tmp_path: Path) -> None:
    """h94/IP-Adapter has two, and files for XL that take the smaller, which lies beside those of others."""
    larger = {**CLIP_VISION, "projection_dim": 40}
    write_image_encoder(tmp_path / "sdxl_models" / "image_encoder", config=larger)
    file = write_ip_adapter(tmp_path / "sdxl_models" / "vit-h.safetensors", XL_UNET)
    assert read_ip_adapter(str(file)).encoder == models / "image_encoder"
    own = {"unet": XL_UNET, "image_encoder": larger}
    refused = "vit-h.safetensors takes image_embeds of width 16, and image_encoder has 40"
    with pytest.raises(SourceError, match=refused):
        planned(pipeline(tmp_path / "in", "StableDiffusionXLPipeline", **own), read_ip_adapter(str(file)))
    write_json(models / "image_encoder" / "config.json", {**CLIP_VISION, "projection_dim": 24})
    with pytest.raises(SourceError, match=r"takes image_embeds of width 16, and .* gives such of width 40"):
        read_ip_adapter(str(file))


def test_what_is_no_adapter(models: Path, tmp_path: Path) -> None:
    def refused(message: str, file: Path) -> None:
        with pytest.raises(SourceError, match=message):
            read_ip_adapter(str(file))

    tensors = load_file(write_ip_adapter(models / "one.safetensors", SD21_UNET))
    file = tmp_path / "odd.safetensors"
    for more in ("ip_adapter.1.to_k_lora.down.weight", "image_proj.perceiver_resampler.proj_in.weight"):
        save_file({**tensors, more: np.zeros((2, 2), np.float16)}, file)
        refused("is a FaceID adapter", file)
    face = {key.replace("proj.proj", "proj.proj.0"): value for key, value in tensors.items()}
    save_file(face, file)
    refused("is a FaceID adapter", file)
    save_file({**tensors, "x.weight": np.zeros(2, np.float16)}, file)
    refused(r"is no IP-Adapter of a UNet: it has tensor 'x\.weight'", file)
    save_file({key: value for key, value in tensors.items() if "_ip." in key}, file)
    refused("is no IP-Adapter of a UNet", file)
    save_file({**tensors, "ip_adapter.1.to_k_ip.weight": np.zeros((4, 8), np.float16)}, file)
    refused("has keys and values of several widths", file)
    (tmp_path / "ip-adapter_sd15.bin").write_bytes(b"\x80\x02}q\x00.")
    refused(r"ip-adapter_sd15\.bin is a pickle, which can run code", tmp_path / "ip-adapter_sd15.bin")


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("plain", "ip_adapter.1.to_k_ip.weight", (65, 64), r"has shape \[65, 64\], and what fits has \[32, 64\]"),
        ("plain", "image_proj.norm.weight", (0,), r"has shape \[0\], and what fits has \[64\]"),
        ("plain", "image_proj.proj.weight", (32, 16), r"has shape \[32, 16\], and what fits has \[256, 16\]"),
        ("plain", "image_proj.proj.bias", None, "which one for this UNet has"),
        ("plus", "image_proj.proj_out.weight", (64, 31), r"has shape \[64, 31\], and what fits has \[64, 32\]"),
        ("full", "image_proj.proj.2.weight", (60, 24), r"has shape \[60, 24\], and what fits has \[64, 24\]"),
        ("full", "ip_adapter.7.to_v_ip.weight", None, "which one for this UNet has"),
        ("full", "ip_adapter.7.to_v_ip.weight", "int32", "is int32, and no float"),
    ],
)
def test_what_does_not_fit_is_told_before_the_trace(
    models: Path, tmp_path: Path, kind: str, key: str, value: tuple[int, ...] | str | None, message: str
) -> None:
    file = write_ip_adapter(models / "one.safetensors", SD21_UNET, kind)
    tensors = load_file(file)
    was = tensors.pop(key)
    if isinstance(value, str):
        tensors[key] = was.astype(value)
    elif value is not None:
        tensors[key] = np.zeros(value, np.float16)
    save_file(tensors, file)
    folder = pipeline(tmp_path / "in")
    with pytest.raises(SourceError, match=message) as caught:
        planned(folder, read_ip_adapter(str(file)))
    assert repr(key) in str(caught.value)
    assert str(file) in str(caught.value)
    # Where attention is not known, or nothing takes a text of that width, others tell.
    check_fits(read_ip_adapter(str(file)), {**SD21_UNET, "cross_attention_dim": [64, 64]})
    if key.startswith("ip_adapter."):
        check_fits(read_ip_adapter(str(file)), {**SD21_UNET, "mid_block_type": "UNetMidBlock2DSimpleCrossAttn"})


def test_attention_of_several_layers_is_counted(models: Path) -> None:
    for unet in (XL_UNET, {**XL_UNET, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}):
        file = write_ip_adapter(models / "xl.safetensors", unet, "plus")
        check_fits(read_ip_adapter(str(file)), unet)


def test_a_pipeline_that_has_none(models: Path, tmp_path: Path) -> None:
    adapter = read_ip_adapter(str(write_ip_adapter(models / "one.safetensors", SD21_UNET)))
    for class_name in ("StableDiffusionDiffEditPipeline", "StableDiffusionInstructPix2PixPipeline", "NoOne"):
        with pytest.raises(UsageError, match=f"and .* is of {class_name}; drop it"):
            planned(pipeline(tmp_path / class_name, class_name), adapter)
    with pytest.raises(UsageError, match="is of AutoencoderKL; drop it"):
        planned(pipeline(tmp_path / "alone", vae=SMALL_VAE) / "vae", adapter)
    wide = {**SD21_UNET, "cross_attention_dim": 32}
    with pytest.raises(
        SourceError, match=r"one\.safetensors is for texts of width 64, and unet's cross_attention_dim 32"
    ):
        planned(pipeline(tmp_path / "wide", unet=wide), adapter)
    saved = {**SD21_UNET, "encoder_hid_dim_type": "ip_image_proj"}
    for given in (adapter, None):
        with pytest.raises(TraceError, match="the UNet was saved with an IP-Adapter in it"):
            planned(pipeline(tmp_path / f"saved{given is None}", unet=saved), given and replace(given, encoder=None))


def test_one_that_a_live_unet_holds(tmp_path: Path) -> None:
    held = {**SD21_UNET, "encoder_hid_dim_type": "ip_image_proj"}
    folder = pipeline(tmp_path / "in", unet=held, image_encoder=CLIP_VISION)
    adapter = IpAdapter("image_embeds", 16, 64, 0.5)
    unet, encoder = planned(folder, adapter).plans
    assert ([one.name for one in unet.inputs][-2:], encoder.name) == (
        ["image_embeds", "ip_adapter_scale"],
        "image_encoder",
    )
    assert {one.name: one.value for one in unet.fixed}["ip_adapter"] == [{"scale": 0.5}]
    unet, _ = planned(folder, replace(adapter, fixed_scales=(0.0, 1.0))).plans
    assert unet.inputs[-1].name == "image_embeds"
    assert {one.name: one.value for one in unet.fixed}["ip_adapter"] == [{"scale": [0.0, 1.0]}]


def test_which_pipelines_mindone_gives_one() -> None:
    spec = importlib.util.find_spec("mindone")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (root,) = spec.submodule_search_locations
    texts = (file.read_text(encoding="utf-8") for file in Path(root).glob("diffusers/pipelines/*/pipeline_*.py"))
    mixed = {found[1] for text in texts for found in _CLASS.finditer(text) if "IPAdapterMixin" in found[2]}
    for family in ADAPTED:
        assert [name for name in family.pipelines if name not in mixed] == [
            name for name in family.pipelines if name in NOT_ADAPTED
        ]
