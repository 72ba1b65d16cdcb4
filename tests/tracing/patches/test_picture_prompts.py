"""A UNet with an IP-Adapter is mindone's own, with its scale as an input, and its weights are those of the file."""

from __future__ import annotations

import json

import pytest

from tests.support import forks

pytestmark = pytest.mark.mindspore


def test_a_unet_is_given_what_mindone_gives_it() -> None:
    done = forks.script("-m", "tests.tracing.patches.picture_prompts_script")
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told) == ["plain", "plus", "full"]
    for found in told.values():
        assert found["parameters"] > 10
        assert found["differing"] == []
        # Outputs of mindone's own processors, and of those that are traced, at two scales and without the picture.
        assert found["apart"] <= 1e-5
        assert found["effect"] > 1e-3
        assert found["live"] == ["image_embeds" if found is told["plain"] else "hidden_states", 0.5]
    assert "has no tensor 'ip_adapter.7.to_k_ip.weight', and the UNet has an attention for it" in told["plain"]["short"]
    assert "has tensors 'ip_adapter.9.to_k_ip.weight', " in told["plain"]["long"]
    assert "tensor 'ip_adapter.1.to_k_ip.weight' of " in told["plain"]["shape"]
    assert "other.safetensors gives shape [65, 64], and parameter down_blocks.0." in told["plain"]["shape"]
