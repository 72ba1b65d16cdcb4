"""Running the fusing pass alone over a model, as a compile would."""

from __future__ import annotations

from attnfuse.decisions import Precision, SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.mindir.values import WeightValues
from attnfuse.pass_manager import Context
from attnfuse.policy import CastName, Policy, Rule
from attnfuse.targets import Target
from attnfuse_passes.fuse import Fuse


def fuse(
    model: Model,
    runtime: str = "mindspore",
    soc: str = "ascend910b",
    *,
    flash: bool = True,
    cast: CastName = "float16",
    no_fully_masked_rows: bool = False,
    precision: Precision | None = None,
) -> list[SiteRecord]:
    """Fuse in place; the records of the sites. The model is indexed again, so an inconsistent graph raises."""
    rule = Rule(
        "*",
        "test",
        flash=flash,
        force_cast_dtype=cast,
        assume_no_fully_masked_rows=no_fully_masked_rows,
        precision=precision,
    )
    context = Context("unet", "unet", Policy((rule,)), Target(runtime, soc), weights=WeightValues(model.proto))
    before = model.proto.SerializeToString(deterministic=True)
    changed = Fuse().run(model, context)
    assert changed == (model.proto.SerializeToString(deterministic=True) != before)
    Model(model.proto)
    return context.sites
