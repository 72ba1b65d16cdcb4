"""Gives a UNet without values an IP-Adapter, and finds the tensor of its file for each of the new parameters.

mindone's own `load_ip_adapter` does both, as far as it is about the UNet (loaders/unet.py): it is handed a state dict
whose values are records of where each tensor lies. Worker side: imports mindspore, and mindone late; of this package
`checkpoint`, `contract`, `ip_adapter` and `patches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mindspore.nn.utils import no_init_parameters

from attnfuse.errors import TraceError
from attnfuse.mindir.taken import Taken
from attnfuse.names import some
from attnfuse.tracing.checkpoint import StoredTensor, read_tensors
from attnfuse.tracing.contract import ComponentPlan
from attnfuse.tracing.ip_adapter import ATTENTION, PROJECTION
from attnfuse.tracing.patches import cpu_patches


@dataclass(frozen=True, slots=True)
class _Value:
    """Stands for a tensor of the file, or some of its rows: all that mindone asks of one before it is copied."""

    tensor: StoredTensor
    taken: Taken

    @property
    def shape(self) -> tuple[int, ...]:
        return self.taken.shape(self.tensor.shape)

    def chunk(self, count: int, dim: int) -> list[_Value]:
        """Of equal parts of the first axis: `to_kv` is keys, and then values."""
        assert dim == 0
        return [replace(self, taken=replace(self.taken, rows=((i, i + 1),), of=count)) for i in range(count)]

    def record(self, name: str) -> StoredTensor:
        """The record of it under a parameter's name."""
        return replace(self.tensor, key=name, shape=self.shape, taken=self.taken)


def give_ip_adapter(model: Any, plan: ComponentPlan) -> Mapping[str, StoredTensor]:
    """Give `model`, built by `build_skeleton`, the plan's IP-Adapter; return its tensors by parameter.

    Raises TraceError, naming the file and its tensors, where it is of another UNet.
    """
    from mindone.diffusers.loaders import unet as loader

    assert plan.ip_adapter is not None
    state: dict[str, dict[str, _Value]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in read_tensors((plan.ip_adapter,)).items():
        part = PROJECTION if key.startswith(PROJECTION) else ATTENTION
        state[part.rstrip(".")][key.removeprefix(part)] = _Value(tensor, Taken(key))
    given: list[tuple[Any, Mapping[str, _Value]]] = []
    with (
        no_init_parameters(),
        cpu_patches(),
        mock.patch.object(loader, "_load_param_into_net", lambda cell, values: given.append((cell, values))),
        mock.patch.object(loader, "ms", SimpleNamespace(Parameter=lambda value, name: value)),
    ):
        try:
            model._load_ip_adapter_weights([state])
        except KeyError as missing:
            raise TraceError(
                f"component {plan.name}: {plan.ip_adapter} has no tensor {ATTENTION + str(missing.args[0])!r}, and the"
                " UNet has an attention for it; it was made for another model."
            ) from None
    model.set_train(False)
    # What was put into a cell that was there already has the names it had outside of it.
    for path, parameter in model.parameters_and_names():
        parameter.name = path
    places = {id(cell): path for path, cell in model.cells_and_names()}
    found = {
        name: value.record(name)
        for cell, values in given
        for inner, value in values.items()
        for name in [f"{places[id(cell)]}.{inner}"]
    }
    _check_shapes(plan, model, found)
    used = {record.key_in_file for record in found.values()}
    left = [key for key in read_tensors((plan.ip_adapter,)) if key not in used]
    if left:
        raise TraceError(
            f"component {plan.name}: {plan.ip_adapter} has {some(left)}, and the UNet nothing that takes"
            f" {'it' if len(left) == 1 else 'them'}; it was made for another model."
        )
    return found


def _check_shapes(plan: ComponentPlan, model: Any, found: Mapping[str, StoredTensor]) -> None:
    """Raise TraceError where a tensor of the file, or what is taken of it, has not the shape of its parameter."""
    shapes = {name: tuple(parameter.shape) for name, parameter in model.parameters_and_names()}
    for name, record in found.items():
        wanted = shapes.get(name, record.shape)
        if record.shape != wanted:
            raise TraceError(
                f"component {plan.name}: tensor {record.key_in_file!r} of {record.file} gives shape"
                f" {list(record.shape)}, and parameter {name}, which takes it, has shape {list(wanted)}; the IP-Adapter"
                " was made for another model, or is damaged."
            )
