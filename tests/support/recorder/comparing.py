"""What a pipeline handed to its models, held to attnfuse's plans of them: names, nesting, shapes, types, values."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Final

import mindspore
import numpy as np

from attnfuse.tracing.contract import ComponentPlan, TensorSpec
from tests.support.recorder.stubs import PROCESSORS, Recorded

_FORM: Final = frozenset({"return_dict", "output_hidden_states", "use_cache", "generator"})
"""Arguments that say in which form the result comes, and one that decoders take and do not use."""


def differences(
    plans: Sequence[ComponentPlan], calls: Sequence[Recorded], not_planned: Container[str] = ()
) -> Iterator[str]:
    """What of the calls is in no plan, and which plan no call agrees with; each kind of difference is told once.

    Of the parts that are `not_planned` the user is told so.
    """
    told: dict[str, None] = {}
    agreed = set()
    for call in calls:
        if call.part in not_planned:
            continue
        if call.method == PROCESSORS:
            for each in _processor_differences(plans, call):
                told.setdefault(each)
            continue
        fitting = [plan for plan in plans if plan.model == call.part and _method(plan) == call.method]
        if not fitting:
            told.setdefault(f"{call.part}.{call.method or 'construct'} is called, and has no plan")
        found = {plan.name: list(_call_differences(plan, call)) for plan in fitting}
        equal = [name for name, differing in found.items() if not differing]
        for name in equal or found:
            agreed.add(name)
            for each in found[name]:
                told.setdefault(f"{name}: {each}")
    yield from told
    for plan in plans:
        if plan.name not in agreed and not plan.name.startswith("vae_") and not plan.name.startswith("movq_"):
            yield f"{plan.name} is planned, and is not called"


def _processor_differences(plans: Sequence[ComponentPlan], call: Recorded) -> Iterator[str]:
    """Processors that a model is given, and is not planned with."""
    for plan in plans:
        if plan.model == call.part:
            planned = [(one.name.rpartition(":")[2], one.layers, dict(one.arguments)) for one in plan.processors]
            if planned != [call.given["found"]]:
                yield f"{plan.name}: is given {call.given['found']}, planned {planned}"


def _empty(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_empty, value.values()))


def _method(plan: ComponentPlan) -> str:
    assert plan.call is not None
    return plan.call.method


def _call_differences(plan: ComponentPlan, call: Recorded) -> Iterator[str]:
    assert plan.call is not None
    specs = {spec.name: spec for spec in plan.inputs}
    planned = {keyword: eval(expression, {}, dict(specs)) for keyword, expression in plan.call.arguments}
    for name, value in call.given.items():
        if name in _FORM or name in planned:
            continue
        if value is not None and not _empty(value) and not _same(value, call.defaults.get(name)):
            yield f"{name} = {_said(value)} is given, and not planned"
    for name, wanted in planned.items():
        if name not in _FORM:
            yield from _argument(name, wanted, call.given.get(name, call.defaults.get(name)))


def _argument(name: str, wanted: Any, found: Any) -> Iterator[str]:
    if isinstance(wanted, TensorSpec):
        kind = _as_real(_kind(found))
        if kind != (wanted.shape, wanted.dtype) and not _scalar(kind, wanted) and not _factor(found, wanted):
            yield f"{name} is {_said(found)}, planned {list(wanted.shape)} {wanted.dtype}"
    elif isinstance(wanted, Mapping):
        for key in dict.fromkeys((*wanted, *(found or {}))):
            yield from _argument(f"{name}.{key}", wanted.get(key), (found or {}).get(key))
    elif _holds_tensors(wanted):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            yield f"{name} is {_said(found)}, planned {len(wanted)} tensors"
            return
        for i, (each, one) in enumerate(zip(wanted, found, strict=True)):
            yield from _argument(f"{name}.{i}", each, one)
    elif not _same(wanted, found):
        yield f"{name} is {_said(found)}, planned {wanted!r}"


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(v, TensorSpec) or _holds_tensors(v) for v in value)


def _scalar(kind: Any, wanted: TensorSpec) -> bool:
    """Whether a scalar is meant, to which the plan gives the axis that the model would."""
    return kind == ((), wanted.dtype) and wanted.shape == (1,)


def _factor(found: Any, wanted: TensorSpec) -> bool:
    """Whether it is a number of Python's, which has the type of what it is multiplied with."""
    return isinstance(found, float) and wanted.shape == (1,) and "float" in wanted.dtype


def _as_real(kind: Any) -> Any:
    """Complex numbers as pairs, which is how a graph takes them: see the patch `real_rotary`."""
    return ((*kind[0], 2), "float32") if kind is not None and kind[1] == "complex64" else kind


def _kind(value: Any) -> Any:
    if isinstance(value, mindspore.Tensor):
        return tuple(value.shape), str(value.dtype).lower().replace("bool_", "bool")
    if isinstance(value, np.ndarray | np.generic):
        return value.shape, str(value.dtype)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return (), "int64"
    return ((), "float32") if isinstance(value, float) else None


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, mindspore.Tensor) or isinstance(right, mindspore.Tensor):
        values = [each.asnumpy() if isinstance(each, mindspore.Tensor) else each for each in (left, right)]
        return all(each is not None for each in values) and bool(np.array_equal(*values))
    return bool(left == right)


def _said(value: Any) -> str:
    kind = _kind(value)
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float | list | tuple):
        return f"[{', '.join(_said(each) for each in value)}]"
    if kind is None or (not kind[0] and not hasattr(value, "shape")):
        return repr(value)
    return f"{list(kind[0])} {kind[1]}"
