"""What is fetched of a hub, from one on the loop-back interface: variant, revision, subfolder, offline, token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnfuse.errors import SourceError, UsageError
from attnfuse.tracing.contract import Fetch
from attnfuse.tracing.source import resolve
from tests.support.checkpoints import SD21_UNET
from tests.support.hub import COMMIT, serving
from tests.support.ip_adapters import write_ip_adapter
from tests.support.small_models.encoders import CLIP_VISION

TOKEN = "hf_that_nobody_may_read"
FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": b"plain",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": b"plain",
    "text_encoder/model.safetensors.index.fp16.json": b"{}",
    "text_encoder/model.fp16-00001-of-00002.safetensors": b"half",
    "text_encoder/model.fp16-00002-of-00002.safetensors": b"half",
    "text_encoder/model-00001-of-00001.safetensors": b"plain",
    "unet/diffusion_pytorch_model.bin": b"x",
    "v1-5-pruned.safetensors": b"x",
}
HALF = {name for name in FILES if ".fp16" in name} | {"vae/diffusion_pytorch_model.safetensors"}
JSON = {name for name in FILES if name.endswith(".json")}

_SCRIPT = """
import json, sys
from pathlib import Path
from attnfuse.errors import AttnfuseError
from attnfuse.tracing.contract import Fetch
from attnfuse.tracing.ip_adapter import read_ip_adapter
from attnfuse.tracing.source import origin, resolve, resolve_vae
for fetch in json.loads(sys.argv[1]):
    try:
        unread = fetch.pop("unread", ())
        if "ip_adapter" in fetch:
            adapter = read_ip_adapter(fetch["ip_adapter"], weights=fetch["weights"])
            print(json.dumps([str(adapter.file), str(adapter.encoder), adapter.scale]))
            continue
        found = resolve_vae("org/name") if "vae" in fetch else resolve("org/name", fetch=Fetch(**fetch), unread=unread)
        files = [p.relative_to(found).as_posix() for p in sorted(found.rglob("*")) if p.is_file()]
        print(json.dumps([str(found), files, *origin(found)]))
    except AttnfuseError as error:
        print(json.dumps(str(error)))
"""


def resolved(home: Path, address: str, *fetches: dict[str, Any], **variables: str) -> list[Any]:
    """What each of them gives, in one process of a hub at that address."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": address, "HF_TOKEN": TOKEN, **variables}
    environment.pop("HF_HUB_OFFLINE", None)
    environment |= {name: value for name, value in variables.items() if value}
    command = [sys.executable, "-c", _SCRIPT, json.dumps(fetches)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_vae_and_what_a_single_file_has(tmp_path: Path) -> None:
    """Of a pipeline's repository the VAE alone; of the parts whose weights are elsewhere, configurations."""
    weights = "vae/diffusion_pytorch_model.safetensors"
    with serving(FILES, TOKEN) as (address, _):
        unread = ["unet", "transformer", "text_encoder"]
        vae, rest = resolved(tmp_path, address, {"vae": True}, {"unread": unread})
    assert vae[1:] == [["config.json", "diffusion_pytorch_model.safetensors"], "org/name", COMMIT]
    assert set(rest[1]) == {*JSON, weights}


def test_an_ip_adapter_and_its_image_encoder(tmp_path: Path) -> None:
    """Of a repository of many, one file, and of the encoder that it takes no weights that are pickles."""
    local = tmp_path / "local"
    files = {
        "models/ip.safetensors": write_ip_adapter(local / "ip.safetensors", SD21_UNET).read_bytes(),
        "models/other.safetensors": b"x",
        "models/image_encoder/config.json": json.dumps(CLIP_VISION).encode(),
        "models/image_encoder/model.safetensors": b"x",
        "models/image_encoder/pytorch_model.bin": b"x",
    }
    given = {"ip_adapter": "org/name/models/ip.safetensors@0.5"}
    with serving(files, TOKEN) as (address, _):
        bare, whole = resolved(tmp_path / "hub", address, *({**given, "weights": weights} for weights in (False, True)))
    root = Path(whole[0]).parents[1]
    assert bare == whole == [str(root / "models/ip.safetensors"), str(root / "models/image_encoder"), 0.5]
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {*files} - {"models/other.safetensors", "models/image_encoder/pytorch_model.bin"}


def test_a_hub(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(FILES, TOKEN) as (address, asked):
        offline, half, inner, old = resolved(
            home, address, {"offline": True}, {"variant": "fp16"}, {"subfolder": "vae"}, {"revision": "old"}
        )
        assert "could not be fetched from the hub" in offline
        assert not asked or asked[0][0] == "GET"
        assert isinstance(half, list), half
        folder, files, name, commit = half
        assert set(files) == HALF | JSON
        assert (name, commit) == ("org/name", COMMIT)
        assert Path(folder).is_relative_to(home)
        # The cache has the other parts of before: `vae` is a folder within the snapshot.
        assert inner[0] == f"{folder}/vae"
        assert set(old[1]) == {name for name in FILES if not name.endswith(".bin") and "pruned" not in name}
        assert any("/revision/old" in path for _, path in asked)
        refused, cached = resolved(home, address, {"revision": "none"}, {"offline": True}, HF_TOKEN="")
        asked.clear()
        (again,) = resolved(home, address, {}, HF_HUB_OFFLINE="1")
        assert asked == []
    assert "could not be fetched from the hub" in refused
    assert cached[0] == again[0] == folder
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written


def test_only_the_part_that_is_named_is_fetched(tmp_path: Path) -> None:
    with serving(FILES, TOKEN) as (address, asked):
        ((folder, files, *_),) = resolved(tmp_path, address, {"subfolder": "unet", "variant": "fp16"})
    assert Path(folder).name == "unet"
    assert files == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
    assert not any("/vae/" in path for _, path in asked)


def test_within_a_local_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "unet").mkdir(parents=True)
    assert resolve(str(tmp_path / "a"), fetch=Fetch(subfolder="unet")) == tmp_path / "a" / "unet"
    with pytest.raises(SourceError, match=r"a has no folder 'vae'\.$"):
        resolve(str(tmp_path / "a"), fetch=Fetch(subfolder="vae"))
    for outside in ("../a", "/tmp"):
        with pytest.raises(SourceError, match=rf"the folder '{outside}' would lie outside of"):
            resolve(str(tmp_path / "a"), fetch=Fetch(subfolder=outside))
    with pytest.raises(UsageError, match=r"is a local folder, which has no revisions; drop --revision"):
        resolve(str(tmp_path), fetch=Fetch(revision="main"))
