"""A UNet with an IP-Adapter is mindone's own, with its scale as an input, and its weights are those of the file."""

from __future__ import annotations

import json

import pytest

from tests.support import forks

pytestmark = pytest.mark.mindspore


@pytest.mark.parametrize(
    "kind",
    ["plain", pytest.param("plus", marks=pytest.mark.slow), pytest.param("full", marks=pytest.mark.slow)],
)
def test_a_unet_is_given_what_mindone_gives_it(kind: str) -> None:
    done = forks.script("-m", "tests.tracing.patches.picture_prompts_script", kind)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = json.loads(done.stdout.splitlines()[-1]).values()
    assert found["parameters"] > 10
    assert found["differing"] == []
    # Outputs of mindone's own processors, and of those that are traced, at two scales and without the picture.
    assert found["apart"] <= 1e-5
    assert found["effect"] > 1e-3
    assert found["live"] == ["image_embeds" if kind == "plain" else "hidden_states", 0.5]
    if kind == "plain":
        assert "has no tensor 'ip_adapter.7.to_k_ip.weight', and the UNet has an attention for it" in found["short"]
        assert "has tensors 'ip_adapter.9.to_k_ip.weight', " in found["long"]
        assert "tensor 'ip_adapter.1.to_k_ip.weight' of " in found["shape"]
        assert "other.safetensors gives shape [65, 64], and parameter down_blocks.0." in found["shape"]
