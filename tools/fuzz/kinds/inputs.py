"""What `--inputs` names: calls of components, as TOML files, read alone and for a pipeline that has them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from attnfuse.report.parts import parts_document
from attnfuse.sources import survey_source
from attnfuse.tracing.contract import ShapeOptions
from attnfuse.tracing.inputs import read_inputs
from tests.support.checkpoints import SMALL_VAE
from tools.fuzz.cases import Kind, Seed
from tools.fuzz.documents import edit_toml
from tools.fuzz.kinds.pipeline import configs_of

FILE = "spec.toml"
PIPELINE = "pipe"
_SPECS = {
    "decoder": b"""[my_decoder]
part = "vae"
method = "decode"
outputs = ["image"]

[my_decoder.inputs.latents]
shape = [1, 4, 64, 64]
dtype = "float"
to = "z"

[my_decoder.fixed]
return_dict = false
img_shapes = [[[1, 16, 16]]]
""",
    "tuples": b"""[vae]
outputs = {low = "0.1", high = "1"}
tuples = ["pair"]
patches = []
inputs = {first = {shape = [2, 3], to = "pair.0"}, second = {shape = [4], dtype = "int64", to = "pair.1"}}

[other]
part = "vae"
inputs = {sample = {shape = [1, 4, 8, 8], to = "kwargs.all.0"}}
fixed = {kwargs = {scale = 1.0}}
""",
}


@cache
def _seeds() -> tuple[Seed, ...]:
    beside = configs_of(PIPELINE, "StableDiffusionPipeline", {"vae": SMALL_VAE}, "DDIMScheduler", {})
    return tuple(Seed(name, {FILE: text, **beside}) for name, text in _SPECS.items())


def _read(folder: Path) -> None:
    read_inputs(folder / FILE)


def _survey(folder: Path) -> None:
    given = read_inputs(folder / FILE)
    parts_document(survey_source(str(folder / PIPELINE), None, ShapeOptions(), given))


KIND = Kind(
    "inputs",
    _seeds,
    {edit_toml: 80},
    {"read": _read, "survey": _survey},
    ("attnfuse.tracing.inputs", "attnfuse.documents"),
)
