"""Builds a model without its weights and traces one of its methods to a MindIR model message.

Worker side: imports mindspore and mindone; of this package `contract` and `patches`, and `attnfuse.errors`.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore
import numpy as np
from mindspore import nn
from mindspore.common.api import _cell_graph_executor
from mindspore.nn.utils import no_init_parameters
from mindspore.train import mind_ir_pb2

from attnfuse.errors import TraceError
from attnfuse.tracing.contract import Call, ComponentPlan, Processor, TensorKind, TensorSpec
from attnfuse.tracing.patches import cpu_patches, tracing_patches


def build_skeleton(plan: ComponentPlan) -> Any:
    """Build the plan's model as `from_pretrained(mindspore_dtype=...)` leaves it, but with no values.

    The steps, and the types parameters end in, are those of mindone's two loaders (`ModelMixin.from_pretrained`
    of its diffusers, `PreTrainedModel.from_pretrained` of its transformers).
    """
    model_class = _find_class(plan)
    dtype = getattr(mindspore, plan.dtype)
    with no_init_parameters(), cpu_patches():
        if plan.library == "diffusers":
            model = model_class.from_config(model_class.load_config(str(plan.folder)))
            model = model.to(dtype)
        else:
            config = model_class.config_class.from_pretrained(str(plan.folder))
            config.dtype = plan.dtype
            model = model_class(config)
            model.tie_weights()
            hold_in(model, dtype)
            _keep_in_float32(model, plan.dtype)
    for processor in plan.processors:
        _give(model, processor, plan.name)
    model.set_train(False)
    return model


def _give(model: Any, processor: Processor, component: str) -> None:
    """Give the processor to the attention it is for. Raises TraceError where a pattern finds none.

    Which that is, mindone's own `PAGMixin` says: the pipelines' method, that takes the pipeline's attributes.
    """
    module, _, name = processor.name.rpartition(":")
    found = getattr(import_module(f"mindone.diffusers.{module or 'models.attention_processor'}"), name)
    made = found(**processor.arguments)
    if not processor.layers:
        model.set_attn_processor(made)
        return
    from mindone.diffusers.pipelines.pag.pag_utils import PAGMixin

    try:
        asking = SimpleNamespace(unet=model, _pag_attn_processors=(made, made))
        PAGMixin._set_pag_attn_processor(asking, processor.layers, True)
    except ValueError as error:
        raise TraceError(f"component {component} cannot be traced: {error}.") from None


def hold_in(model: Any, dtype: Any) -> None:
    """Do what `model.to(dtype)` does of mindone's transformers, to parameters without values.

    That is mindone's own method, which changes all types, up to the MindSpore whose Cell has a `to` (2.10). Cell's
    comes first then, leaves whole numbers, and reads values: without any, it crashes the process.
    """
    for parameter in model.get_parameters():
        if parameter.is_floating_point() or not hasattr(nn.Cell, "to"):
            parameter.set_dtype(dtype)


def _keep_in_float32(model: Any, dtype: str) -> None:
    """Leave in float32 what mindone's transformers does: T5's last projections overflow float16."""
    kept: list[str] = []
    if dtype == "float16":
        kept += model._keep_in_fp32_modules or []
    if dtype in ("float16", "bfloat16"):
        kept += model._keep_in_fp32_modules_strict or []
    for name, parameter in model.parameters_and_names():
        if not set(kept).isdisjoint(name.split(".")):
            parameter.set_dtype(mindspore.float32)


_BESIDE_A_PIPELINE = {
    "CLIPImageProjection": "stable_diffusion",
    "ChatGLMModel": "kolors",
    "LTXLatentUpsamplerModel": "ltx.modeling_latent_upsampler",
    "MultilingualCLIP": "kandinsky",
    "PaellaVQModel": "wuerstchen",
    "PaintByExampleImageEncoder": "paint_by_example",
    "ReduxImageEncoder": "flux.modeling_flux",
    "UnCLIPTextProjModel": "unclip.text_proj",
    "WuerstchenDiffNeXt": "wuerstchen",
    "WuerstchenPrior": "wuerstchen",
}
"""Models that lie with the one kind of pipeline they serve, and are built and loaded as those of their library are."""


def _find_class(plan: ComponentPlan) -> Any:
    if plan.class_name in _BESIDE_A_PIPELINE:
        library = f"diffusers.pipelines.{_BESIDE_A_PIPELINE[plan.class_name]}"
    else:
        library = plan.package or plan.library
    found = getattr(import_module(f"mindone.{library}"), plan.class_name, None)
    if found is None:
        raise TraceError(f"component {plan.name} cannot be traced: mindone.{library} has no class {plan.class_name}.")
    return found


class Entry(nn.Cell):  # type: ignore[misc]
    """A cell around a model whose `construct` is what the graph computes.

    The attribute has the pipeline's name for the model, which the graph's scopes then begin with;
    `auto_prefix=False` leaves it out of the parameters' names, which stay the model's own. MindSpore parses the
    source of `construct`: it must call its first parameter `self`, and stay this plain.
    """

    def __init__(self, attribute: str, model: Any) -> None:
        super().__init__(auto_prefix=False)
        setattr(self, attribute, model)
        self.set_train(False)

    def init_parameters_data(self, auto_parallel_mode: bool = False) -> dict[Any, Any]:
        """Called by the compiler to give parameters their initial values; a skeleton has none."""
        return {}


class _Call(Entry):
    """Any cell with the inputs it is called with."""

    def construct(self, *inputs):  # type: ignore[no-untyped-def]
        return self.model(*inputs)


def _source(plan: ComponentPlan, call: Call) -> str:
    """Write the cell that makes the plan's call: MindSpore wants the source of what it traces."""
    method = f".{call.method}" if call.method else ""
    arguments = ", ".join(f"{keyword}={expression}" for keyword, expression in call.arguments)
    outputs = ", ".join(expression for _, expression in call.outputs)
    return (
        "class Entry(Base):\n"
        f"    def construct(self, {', '.join(spec.name for spec in plan.inputs)}):\n"
        f"        result = self.{plan.model}{method}({arguments})\n"
        f"        return {outputs}\n"
    )


def _check_method(plan: ComponentPlan, method: str, model: Any) -> None:
    """Tell of a method that is not there before MindSpore does, which tells it by printing the whole model."""
    called = model
    for name in filter(None, method.split(".")):
        owner, called = called, getattr(called, name, None)
        if called is None:
            kind = type(owner).__name__
            raise TraceError(f"component {plan.name} cannot be traced: {kind} has no method {name!r}.")


@contextmanager
def entered(plan: ComponentPlan, model: Any) -> Iterator[Any]:
    """The cell that makes the plan's call of `model`, which can be traced as long as this lasts.

    Raises TraceError where the model has no such method.
    """
    assert plan.call is not None
    _check_method(plan, plan.call.method, model)
    with tracing_patches(plan.patches), _made(_source(plan, plan.call), plan.model, model) as cell:
        yield cell


@contextmanager
def _made(source: str, name: str, model: Any) -> Iterator[Any]:
    """The cell that the source makes around a model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "entry.py"  # read by MindSpore, through `inspect`
        file.write_text(source, encoding="utf-8")
        # In this module's namespace, which MindSpore imports by name to look up what the source mentions.
        names: dict[str, Any] = {"__name__": __name__, "Base": Entry}
        exec(compile(source, str(file), "exec"), names)
        yield names["Entry"](name, model)


def output_names(plan: ComponentPlan) -> tuple[str, ...]:
    """What the plan calls the outputs of the graph."""
    assert plan.call is not None
    return tuple(name for name, _ in plan.call.outputs)


def trace(plan: ComponentPlan, model: Any) -> tuple[Any, tuple[str, ...]]:
    """Trace the plan's call of `model`; return the MindIR ModelProto, without values, and the outputs' names.

    Raises TraceError where the model has no such method.
    """
    with entered(plan, model) as cell:
        return compile_cell(cell, plan.inputs), output_names(plan)


def trace_call(model: Any, specs: Sequence[TensorSpec]) -> Any:
    """Trace a call of any cell with tensors of these types; return the MindIR ModelProto, without values.

    `input_1_0` is the first element of a tuple, the second argument. MindSpore makes constants of tuples that a graph
    is given: so each tensor is an input, and the tuple is made in the graph.
    """
    call = positional(specs)
    if call == ", ".join(spec.name for spec in specs):
        return compile_cell(_Call("model", model), specs)
    names = ", ".join(spec.name for spec in specs)
    source = f"class Entry(Base):\n    def construct(self, {names}):\n        return self.model({call})\n"
    with _made(source, "model", model) as cell:
        return compile_cell(cell, specs)


def positional(specs: Sequence[TensorSpec]) -> str:
    """The arguments of a call as Python: `input_0, (input_1_0, input_1_1,)`."""
    tree: dict[str, Any] = {}
    for spec in specs:
        *path, last = spec.name.split("_")[1:]
        at = tree
        for number in path:
            at = at.setdefault(number, {})
        at[last] = spec.name
    return ", ".join(map(_expression, tree.values()))


def _expression(part: Any) -> str:
    return part if isinstance(part, str) else f"({''.join(f'{_expression(element)}, ' for element in part.values())})"


def compile_cell(cell: Any, specs: Sequence[TensorKind]) -> Any:
    """Compile a cell called with tensors of these shapes and dtypes; return the MindIR ModelProto, without values."""
    inputs = [mindspore.Tensor(np.zeros(spec.shape, np.float32), dtype=_element_type(spec.dtype)) for spec in specs]
    # What mindspore.export does, up to the point where it would want values for the parameters.
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    with _sources_read_once():
        graph_id, _ = _cell_graph_executor.compile(cell, *inputs, phase="export.mindir", do_convert=False)
    data = _cell_graph_executor._get_func_graph_proto(cell, graph_id, "mind_ir")
    proto = mind_ir_pb2.ModelProto()
    proto.ParseFromString(data)
    return proto


@contextmanager
def _sources_read_once() -> Iterator[None]:
    """Keep what `inspect` finds: MindSpore asks for each cell's source, which is the class's."""
    read, found = inspect.getsourcelines, {}

    def kept(asked: Any) -> tuple[list[str], int]:
        key = getattr(asked, "__func__", asked)
        if key not in found:
            found[key] = read(asked)
        lines, first = found[key]
        return [*lines], first

    inspect.getsourcelines = kept  # type: ignore[assignment]  # its parameter has another name
    try:
        yield
    finally:
        inspect.getsourcelines = read


def compile_again(cell: Any, specs: Sequence[TensorKind]) -> Any:
    """The same for a cell that may have been compiled before: else MindSpore hands out what it compiled then."""
    if cell.compile_cache:
        _cell_graph_executor.del_net_res(cell, set(cell.compile_cache))
        cell.compile_cache.clear()
    return compile_cell(cell, specs)


def _element_type(name: str) -> Any:
    return getattr(mindspore, "bool_" if name == "bool" else name)
