"""Finds, for every parameter of a traced graph, the checkpoint tensor its value is streamed from.

mindone's own loading code does the mapping: it is handed a state dict whose values are not tensors but records of
where each tensor lies, and whatever comes out unchanged under a parameter's name can be streamed. What mindone
computes on the way (a reshaped Conv1d weight, say) is loaded by mindone and spilled to a file of its own.
Worker side: imports mindspore and mindone; of this package `contract`, `checkpoint` and `quantisation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import mindspore
import numpy as np
from safetensors.numpy import save_file

from attnfuse.errors import TraceError
from attnfuse.mindir.key_names import common_prefix, wrapper_of
from attnfuse.names import some
from attnfuse.tracing.checkpoint import FLOAT8_DTYPES, StoredTensor, read_values
from attnfuse.tracing.contract import FLOAT_DTYPES, ComponentPlan, StoredWeight
from attnfuse.tracing.quantisation import REMEDY, unread_factor

SPILL_FILE = "spilled.safetensors"


def find_sources(
    plan: ComponentPlan, model: Any, records: Mapping[str, StoredTensor], work: Path
) -> Mapping[str, StoredWeight]:
    """Return the source of every parameter of `model` (built by `build_skeleton`) that the checkpoint has, by name.

    `records` are the checkpoint's tensors (`read_tensors`). May write `spilled.safetensors` into `work`. Raises
    TraceError for a weight whose shape is not the parameter's, or which is no float where the parameter is one (or the
    other way round): mindone's copy would take codes of a quantised checkpoint for numbers. So it would
    where a float of eight bits has a factor beside it that nothing reads.
    """
    try:
        loaded = _map_names(plan, model, dict(records))
    except Exception:  # mindone computes with some value, which a record cannot answer: hand it the values
        loaded = _map_values(plan, model, records)
    aliases = _aliases(model)
    _check_read(plan, records, loaded, [name for names in aliases.values() for name in names])
    loaded = {**loaded, **_normed(plan, model, loaded)}
    sources: dict[str, StoredWeight] = {}
    spilled: dict[str, np.ndarray[Any, Any]] = {}
    for parameter in model.get_parameters():
        name = parameter.name
        value = next((loaded[alias] for alias in aliases[id(parameter)] if alias in loaded), None)
        if value is None:
            continue
        shape, dtype = tuple(parameter.shape), _dtype_name(parameter.dtype)
        _check_kind(plan, name, dtype, value)
        if tuple(value.shape) != shape:
            raise TraceError(
                f"component {plan.name}: parameter {name} has shape {list(shape)},"
                f" but its weight in {plan.weights_in} has shape {list(value.shape)}."
            )
        if isinstance(value, StoredTensor) and _only_float_conversion(value.dtype, dtype):
            sources[name] = StoredWeight(name, value.file, value.key, dtype, shape, value.taken)
        else:
            spilled[name] = _to_numpy(value, dtype)
            sources[name] = StoredWeight(name, work / SPILL_FILE, name, dtype, shape)
    if len(sources) < len(aliases):
        _check_prefix(plan, records, [name for names in aliases.values() for name in names])
    if spilled:
        save_file(spilled, work / SPILL_FILE)
    return sources


def _check_prefix(plan: ComponentPlan, records: Mapping[str, StoredTensor], names: Sequence[str]) -> None:
    """Raise TraceError where every tensor has a prefix before the name of one of the model's parameters (`names`)."""
    prefix = common_prefix(records, names)
    if prefix:
        raise TraceError(
            f"component {plan.name}: every tensor of its checkpoint begins with {prefix!r}{wrapper_of(prefix)}, and the"
            " model's parameters do not: save it without."
        )


def _map_names(plan: ComponentPlan, model: Any, state: dict[str, Any]) -> Mapping[str, Any]:
    """Give the values of a checkpoint's state dict the names of the model's parameters, as mindone's loader does.

    `state` is used up. A sharded checkpoint of diffusers is mapped like a whole one; mindone skips that, and
    leaves the parameters it would have renamed without their values.
    """
    if plan.library == "diffusers":
        from mindone.diffusers.models import modeling_utils

        model._fix_state_dict_keys_on_load(state)
        return dict(modeling_utils._convert_state_dict(model, state))

    from mindone.transformers import modeling_utils

    mapped: dict[str, Any] = {}

    def keep(_model: Any, converted: Mapping[str, Any], _prefix: str, is_sharded: bool = False) -> list[str]:
        mapped.update(converted)
        return []

    # The renames are spread over the whole of this method; only its last step, the copy, is replaced.
    with mock.patch.object(modeling_utils, "_load_state_dict_into_model", keep):
        type(model)._load_pretrained_model(
            model, state, list(state), None, str(plan.folder), key_mapping=_renames(type(model), modeling_utils.VLMS)
        )
    return mapped


def _renames(model_class: Any, seeing: Sequence[str]) -> Mapping[str, str] | None:
    """What mindone's `from_pretrained` renames, pattern by pattern, in checkpoints of models that see pictures.

    They were published under names that their classes had before; `seeing` are mindone's names of such models.
    """
    kinds = [kind.__name__.lower() for kind in model_class.__mro__[:-1]]
    if any(name in kind for name in seeing for kind in kinds):
        return model_class._checkpoint_conversion_mapping  # type: ignore[no-any-return]
    return None


def _map_values(plan: ComponentPlan, model: Any, records: Mapping[str, StoredTensor]) -> Mapping[str, Any]:
    """Do as `_map_names`, with the tensors themselves; those that come out untouched become records again."""
    from mindone.diffusers.models.model_loading_utils import load_state_dict

    state: dict[str, Any] = {}
    # mindone's reader knows no floats of eight bits, which in float32 are the same numbers, and no parts of tensors.
    narrow = {record.file for record in records.values() if record.dtype in FLOAT8_DTYPES or record.taken}
    for path in sorted({record.file for record in records.values()} - narrow):
        state.update(load_state_dict(str(path)))
    for key, record in records.items():
        if record.file in narrow:
            state[key] = mindspore.Parameter(mindspore.Tensor(read_values(record)), name=key)
    originals = {id(tensor): (tensor, key) for key, tensor in state.items()}
    mapped = _map_names(plan, model, state)
    return {
        name: records[originals[id(value)][1]] if id(value) in originals else value for name, value in mapped.items()
    }


def _normed(plan: ComponentPlan, model: Any, loaded: Mapping[str, Any]) -> Mapping[str, Any]:
    """What mindone's `WeightNorm` makes of a checkpoint's direction and length: v · g / ‖v‖, of every row by itself.

    It writes that into the weight of the cell it is around each time it is called; the patch "normed_weights" leaves
    out to do so. Computed in float32.
    """
    from mindone.utils import WeightNorm

    weights: dict[str, Any] = {}
    for path, cell in model.cells_and_names():
        if isinstance(cell, WeightNorm) and cell.dim == 0 and f"{path}.weight_v" in loaded:
            names = [f"{path}.{name}" for name in ("weight_v", "weight_g")]
            for name in names:
                _check_kind(plan, name, "float32", loaded[name])
            direction, length = (_to_numpy(loaded[name], "float32") for name in names)
            norms = np.sqrt(np.square(direction).sum(axis=tuple(range(1, direction.ndim)), keepdims=True))
            weights[cell.weight_norm_cell.weight.name] = mindspore.Tensor(direction * (length / norms))
    return weights


def _aliases(model: Any) -> Mapping[int, Sequence[str]]:
    """Every name of each parameter, by the parameter's id: its own first, then those it is tied under.

    A cell that stands in two places, as the embedding of T5 does, gives its parameters the names of both.
    """
    names: dict[int, list[str]] = {id(parameter): [parameter.name] for parameter in model.get_parameters()}
    cells = [("", model)]
    for path, cell in cells:  # which grows; MindSpore's own walk enters a cell once
        for attribute, parameter in cell._params.items():
            names.setdefault(id(parameter), []).append(f"{path}{attribute}")
        cells += [(f"{path}{attribute}.", inner) for attribute, inner in cell._cells.items() if inner is not None]
    return names


def _check_read(
    plan: ComponentPlan, records: Mapping[str, StoredTensor], loaded: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Raise TraceError where a tensor that no parameter (of these `names`) takes may be the factor of one that is.

    Of a single file, where there is any such tensor: its names were translated, and what is left over was not.
    """
    read: set[str] = set()
    traced = True  # back to the tensors of the checkpoint, all of them
    for name in names:
        value = loaded.get(name)
        if isinstance(value, StoredTensor):
            read.add(value.key)
        elif value is not None and name in records:  # computed, as a reshaped weight keeps its name
            read.add(name)
        elif value is not None:
            traced = False
    problem = unread_factor(records, read, sorted(read) if traced else sorted(records))
    if problem:
        raise TraceError(f"component {plan.name}: {problem}.")
    left = [] if plan.checkpoint is None else [tensor.key_in_file for key, tensor in records.items() if key not in read]
    if left and traced:
        raise TraceError(
            f"component {plan.name}: {plan.checkpoint} has {some(list(dict.fromkeys(left)))}, and {plan.class_name} of"
            f" {plan.folder / 'config.json'} nothing that takes them; the two are of different models."
        )


def _check_kind(plan: ComponentPlan, parameter: str, wanted: str, value: Any) -> None:
    """Raise TraceError where a value is of another kind of numbers (float, whole, truth) than its parameter."""
    stored = value.dtype if isinstance(value, StoredTensor) else _dtype_name(value.dtype)
    if _kind(stored) == _kind(wanted):
        return
    tensor = f"tensor {value.key_in_file!r} of {value.file.name}" if isinstance(value, StoredTensor) else "its weight"
    message = f"component {plan.name}: parameter {parameter} is {wanted}, but {tensor} is {stored}"
    if _kind(wanted) == "float":
        raise TraceError(f"{message}: no floats but the codes of a quantised checkpoint; {REMEDY}.")
    raise TraceError(f"{message}: the checkpoint is not of this model.")


def _kind(dtype: str) -> str:
    """ "float", "int" (signed or not) or "bool"; a type of none of them is a kind of its own."""
    found = re.fullmatch(r"b?(float)\d.*|u?(int)\d+|(bool)", dtype)
    return dtype if found is None else next(filter(None, found.groups()))


def _only_float_conversion(stored: str, wanted: str) -> bool:
    return stored == wanted or (stored in (*FLOAT_DTYPES, *FLOAT8_DTYPES) and wanted in FLOAT_DTYPES)


def _to_numpy(value: Any, dtype: str) -> np.ndarray[Any, Any]:
    """Return the value of a record or a MindSpore tensor; floats as float32, which every float type converts to.

    Raises TraceError for a whole number that the type of whole numbers wanted does not hold.
    """
    if isinstance(value, StoredTensor):
        array = read_values(value)
    else:
        array = value.astype(mindspore.float32).asnumpy() if value.is_floating_point() else value.asnumpy()
    converted = np.ascontiguousarray(array, dtype=np.float32 if dtype in FLOAT_DTYPES else np.dtype(dtype))
    if dtype not in FLOAT_DTYPES and not np.array_equal(converted, array):
        raise TraceError(f"a weight of type {array.dtype} holds numbers that are out of the range of {dtype}.")
    return converted


def _dtype_name(dtype: Any) -> str:
    return str(dtype).lower()  # MindSpore says Bool, Int64, Float16, BFloat16
