"""The order passes run in, what is checked after each, and who is told to have broken a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np
import pytest

from attnfuse import pass_manager
from attnfuse.component import Component
from attnfuse.errors import InternalError, PluginError, UsageError
from attnfuse.ir.builder import Builder
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import Model
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import BOOL, FLOAT16
from attnfuse.mindir.schema import AttributeProto, ModelProto, NodeProto
from attnfuse.pass_manager import Context, Property
from attnfuse.policy import Policy
from attnfuse.rewriting import rewrite
from attnfuse.targets import Target
from tests.support.graphs import PRIMITIVE, GraphBuilder, transformer
from tests.support.installed import Install, plugin

__all__ = ["plugin"]

LITE = Target("lite", "ascend910b")


Change: TypeAlias = Callable[[Model, Context], object]


class Step:
    """A pass that does what `change` does."""

    id: ClassVar[str]
    order: ClassVar[int]
    summary: ClassVar[str] = "a step"

    def __init__(
        self,
        id: str,  # noqa: A002  # as the passes name it
        order: int = 0,
        requires: frozenset[Property] = frozenset(),
        ensures: frozenset[Property] = frozenset(),
        change: Change = lambda model, context: None,
    ) -> None:
        vars(self).update(id=id, order=order, requires=requires, ensures=ensures)
        self._change = change

    def run(self, model: Model, context: Context) -> bool:
        self._change(model, context)
        return True


DECIDED, INLINED = frozenset({Property.DECIDED}), frozenset({Property.INLINED})


def test_what_is_required_runs_before_whatever_the_order_says() -> None:
    steps = [Step("a", 1, requires=DECIDED), Step("b", 5, ensures=DECIDED), Step("c", 2), Step("d", 2)]
    assert [step.id for step in pass_manager.in_order(steps)] == ["c", "d", "b", "a"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Step("a", requires=INLINED)], "'a' requires that .*, and no installed one ensures it"),
        (
            [Step("a", requires=INLINED, ensures=DECIDED), Step("b", requires=DECIDED, ensures=INLINED)],
            "the passes a and b each require what another ensures",
        ),
        ([Step("a"), Step("a", 2)], "two installed passes are called 'a'"),
    ],
)
def test_passes_that_cannot_be_ordered_are_refused(steps: list[Step], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pass_manager.in_order(steps)


def test_the_installed_passes_are_ordered_by_what_they_promise() -> None:
    found = pass_manager.discover()
    order = ["fuse", "composites", "legalise", "simplify", "deduplicate_constants"]
    assert [step.id for step in found] == order
    assert [step.id for step in pass_manager.in_order(found[::-1])] == order
    assert [pass_manager.plugin_of(step) for step in found] == [None] * len(order)


def source() -> Component:
    data = codec.serialise(transformer(weights=False).build())
    return Component(name="unet", owner="unet", where="unet.mindir", data=data, graph_name="unet.mindir")


def run(*steps: pass_manager.Pass, component: Component | None = None) -> bytes:
    return rewrite(component or source(), Policy(), LITE, steps)[1]


def twice(model: Model, context: Context) -> None:
    """The first node stands behind the second, which reads it."""
    nodes = model.proto.graph.node
    first = next(i for i, node in enumerate(nodes) if i and nodes[i - 1].output[0] in node.input)
    moved = NodeProto()
    moved.CopyFrom(nodes[first - 1])
    nodes[first - 1].CopyFrom(nodes[first])
    nodes[first].CopyFrom(moved)


def crash(model: Model, context: Context) -> None:
    raise ZeroDivisionError("a bug")


def no_such_size(model: Model, context: Context) -> None:
    node = next(node for node in model.nodes if node.op == "Add")
    next(a for a in node.proto.attribute if a.name == "shape").tensors[0].dims[0] = -7


def shape_of_sum(model: Model) -> AttributeProto:
    node = next(node for node in model.nodes if node.op == "Add")
    return next(a for a in node.proto.attribute if a.name == "shape")


def ill_typed(model: Model, context: Context) -> None:
    shape_of_sum(model).tensors[0].dims[0] += 1


def of_another_element_type(model: Model, context: Context) -> None:
    shape_of_sum(model).tensors[0].data_type = BOOL.wire


def untyped(model: Model, context: Context) -> None:
    shape_of_sum(model).name = "form"


def one_argument_less(model: Model, context: Context) -> None:
    next(node for node in model.nodes if node.op == "Add").proto.input.pop()


def built_ill_typed(model: Model, context: Context) -> None:
    node = next(node for node in model.nodes if node.op == "Add")
    b = Builder(Edit(model), node, "wrong")
    b.finish(b.op("Add", node.inputs[0], b.tensor(np.zeros(5), FLOAT16)))


def renamed_input(model: Model, context: Context) -> None:
    first = model.proto.graph.input[0]
    old, first.name = first.name, first.name + "_2"
    for node in model.proto.graph.node:
        node.input[:] = [first.name if name == old else name for name in node.input]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (twice, "which nothing before it defines"),
        (crash, "ZeroDivisionError: a bug"),
        (no_such_size, "Add CNode_.* is declared a tensor of a dimension of -7"),
        (ill_typed, r"Add CNode_.* is declared float16\[3, 24, 64\] and gives float16\[2, 24, 64\]"),
        (of_another_element_type, r"Add CNode_.* is declared bool\[2, 24, 64\] and gives float16\[2, 24, 64\]"),
        (untyped, "Add CNode_.* has no type"),
        (one_argument_less, "Add CNode_.* lacks its argument "),
        (built_ill_typed, r"NotWritableError: Add\(.*, float16\[5\]\) has operands of .* do not broadcast"),
    ],
)
def test_a_plugin_that_breaks_the_graph_is_named(change: Change, message: str) -> None:
    ours = pass_manager.discover()
    with pytest.raises(PluginError, match=rf"pass 'bad' of the plugin 'tests' left component unet broken: .*{message}"):
        run(*ours, Step("bad", change=change))


def through_an_edit(change: Change) -> Change:
    """The same on copies of what there is, as passes of our own change a graph."""

    def changed(model: Model, context: Context) -> None:
        proto = ModelProto()
        proto.CopyFrom(model.proto)
        other = Model(proto)
        change(other, context)
        edit = Edit(model)
        edit.replace = {node.name: node.proto for node in other.nodes}
        edit.apply()

    return changed


def test_a_pass_of_ours_that_breaks_the_graph_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_manager, "plugin_of", lambda step: None)
    with pytest.raises(InternalError, match="pass bad left component unet broken: Add"):
        run(*pass_manager.discover(), Step("bad", change=through_an_edit(no_such_size)))


def negative_scale(model: Model, context: Context) -> None:
    fused = next(node for node in model.nodes if node.op == "PromptFlashAttention")
    edit = Edit(model)
    constant = NodeProto(name="nought", op_type="Constant", output=["nought"])
    constant.attribute.add(name="value", type=1, f=0.0)
    edit.before[fused.name] = [constant]
    edit.rename[fused.inputs[13]] = "nought"
    edit.apply()


@pytest.mark.parametrize(
    ("change", "message"), [(negative_scale, r"has scale 0\.0"), (renamed_input, "input sample is now called sample_2")]
)
def test_what_a_plugin_spoils_with_ours_is_the_plugins(change: Change, message: str) -> None:
    """What is only looked at when all passes are through: a fused node's own rules, the graph's interface."""
    with pytest.raises(
        PluginError, match=rf"with the plugin 'tests', component unet: the rewritten graph .* {message}"
    ):
        run(*pass_manager.discover(), Step("bad", 400, change=change))


def test_a_promise_that_is_not_kept_is_told() -> None:
    g = GraphBuilder("calls")
    x = g.input("x", (2, 3))
    call = g.graph.node.add(name="call", op_type="REF::inner", output=["call"], input=[x])
    call.attribute.add(name="shape", type=19).tensors.add(data_type=1).dims.extend((2, 3))
    g.graph.output.add(name="call").tensor.add(data_type=1).dims.extend((2, 3))
    inner = g.proto.functions.add(name="inner")
    inner.input.add(name="inner:x").tensor.add(data_type=1).dims.extend((2, 3))
    inner.output.add(name="inner:x")
    component = Component(
        name="unet", owner="unet", where="m.mindir", data=codec.serialise(g.proto), graph_name="m.mindir"
    )
    with pytest.raises(PluginError, match=r"it ensures that no function is called by name .*, but call calls inner"):
        run(Step("idle", ensures=INLINED), component=component)


def counting(weight: str = "count") -> GraphBuilder:
    """out = x + count, after count ← x, which the result is tied to."""
    g = GraphBuilder("counting")
    x = g.input("x", (2,))
    g.parameter(weight, np.zeros(2, np.float32))
    leaf = f"{g.prefix}:{weight}"
    assigned = g.node("Assign", [leaf, x, g.monad()], g.type_of(x), primitive=PRIMITIVE, name="Assign")
    state = g.node("UpdateState", [g.monad(), assigned], None, primitive=PRIMITIVE, name="State")
    read = g.node("Load", [leaf, state], g.type_of(x), primitive=PRIMITIVE, name="Late")
    g.output(g.node("Depend", [g.add(x, read), state], g.type_of(x), primitive=PRIMITIVE, name="Tied"))
    return g


def effects_component() -> Component:
    data = codec.serialise(counting().build())
    return Component(name="unet", owner="unet", where="c.mindir", data=data, graph_name="c.mindir")


def test_a_pass_that_drops_an_effect_is_named() -> None:
    def drop(model: Model, context: Context) -> None:
        edit = Edit(model)
        tied, late = (next(n for n in model.nodes if name in n.name) for name in (":Tied:", ":Late:"))
        state = next(n for n in model.nodes if n.name == late.inputs[1])
        edit.rename[state.name] = state.inputs[0]
        edit.remove |= {state.name, state.inputs[1]}
        assert tied.inputs[1] == state.name
        edit.apply()

    with pytest.raises(PluginError, match=r"Assign Assign:.* is no longer carried out"):
        run(Step("bad", change=drop), component=effects_component())


def test_a_pass_that_reads_before_the_change_is_named() -> None:
    def early(model: Model, context: Context) -> None:
        late = next(n for n in model.nodes if ":Late:" in n.name)
        state = next(n for n in model.nodes if n.name == late.inputs[1])
        late.proto.input[1] = state.inputs[0]

    with pytest.raises(PluginError, match=r"Late:.* no longer comes after Assign Assign:"):
        run(Step("bad", change=early), component=effects_component())


def test_an_effect_of_which_a_pass_says_why_it_is_not_needed_may_go() -> None:
    def drop(model: Model, context: Context) -> None:
        edit = Edit(model)
        state = next(n for n in model.nodes if ":State:" in n.name)
        context.unneeded[state.inputs[1]] = "nobody counts"
        edit.rename[state.name] = state.inputs[0]
        edit.remove |= {state.name, state.inputs[1]}
        edit.apply()

    assert run(Step("good", change=drop), component=effects_component())


def test_an_untouched_effect_is_no_fault() -> None:
    component = effects_component()
    assert run(*pass_manager.discover(), component=component) == component.data


RULE = """
from attnfuse_passes.api import Identity, Scale

def rule(model, node):
    return {found}

OWN = Identity("own.neg", ("Neg",), "-x = (-1)x", ("Neg(x: float32[2, 3])",), ("Neg(x: int32[2])",), rule)
"""


def negated() -> Component:
    """Attention of a query and a key behind nodes that attnfuse does not read through; no scale of −1 is fused."""
    g = GraphBuilder("negated", weights=False)
    q, k, v = (g.input(name, (1, 2, 8, 16), FLOAT16) for name in "qkv")
    scores = g.matmul_ext(g.op("Neg", q), g.transpose(g.op("Neg", k), (0, 1, 3, 2)))
    out = g.matmul_ext(g.softmax(scores), v)
    g.output(g.add(out, out))
    data = codec.serialise(g.build())
    return Component(name="unet", owner="unet", where="unet.mindir", data=data, graph_name="unet.mindir")


@pytest.mark.parametrize(("found", "query"), [(None, "Neg"), ("node.inputs[0], Scale(-1.0)", "q")])
def test_an_identity_of_a_plugin_is_read_by(plugin: Install, found: str | None, query: str) -> None:
    if found is not None:
        plugin("attnfuse-own", RULE.format(found=found), {"attnfuse.identities:own.neg": "OWN"})
    data = run(*pass_manager.discover(), component=negated())
    model = Model(codec.parse(data, "unet.mindir"))
    (fused,) = (node for node in model.nodes if node.op == "PromptFlashAttention")
    producer = model.producer(fused.inputs[0])
    assert (fused.inputs[0].partition(":")[2] if producer is None else producer.op) == query


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("1 / 0", r"pass 'fuse', with the plugin 'attnfuse-own' left component unet broken: ZeroDivisionError"),
        (
            "next(n.name for n in model.nodes if n.op == 'Add'), Scale(1.0)",
            r"with the plugin 'attnfuse-own', pass fuse left component unet broken: .* which nothing before it defines",
        ),
    ],
)
def test_what_an_identity_breaks_is_its_plugins(plugin: Install, found: str, message: str) -> None:
    plugin("attnfuse-innocent", RULE.replace("own", "good").format(found=None), {"attnfuse.identities:good.neg": "OWN"})
    plugin("attnfuse-own", RULE.format(found=found), {"attnfuse.identities:own.neg": "OWN"})
    with pytest.raises(PluginError, match=message):
        run(*pass_manager.discover(), component=negated())


@pytest.mark.parametrize(
    ("module", "entry", "message"),
    [
        ("OWN = len", "own.neg", "is no Identity of attnfuse_passes.api"),
        (RULE, "other.neg", "calls itself 'own.neg'"),
        (RULE.replace("own.neg", "scale.multiply"), "scale.multiply", "has the name of one that attnfuse has itself"),
    ],
)
def test_an_identity_that_is_none_is_refused(plugin: Install, module: str, entry: str, message: str) -> None:
    plugin("attnfuse-own", module.format(found=None), {f"attnfuse.identities:{entry}": "OWN"})
    with pytest.raises(PluginError, match=f"the identity '{entry}' of the plugin 'attnfuse-own' {message}"):
        pass_manager.discover()


REWRITE = """
from attnfuse.api import OperatorRewrite

class Written:
    form = "written"

    def unsupported_reason(self, form, candidate, at):
        return None

    def write(self, build, form, candidate):
        return {written}

class Own(OperatorRewrite):
    roots = frozenset({{"{root}"}})
    lowerings = (Written(),)

    def raise_(self, at):
        return at

    def name(self, form, at):
        return "own"
"""
ABS = "build.op('Abs', form.input(0))"
LATER = "build.op('Abs', next(n.name for n in form.model.nodes if n.op == 'Add'))"
FAILS = "1 / 0"


@pytest.mark.parametrize("runtime", ["lite", "mindspore"])
def test_a_rewrite_of_a_plugin_runs_for_any_runtime(plugin: Install, runtime: str) -> None:
    plugin("attnfuse-own", REWRITE.format(written=ABS, root="Neg"), {"attnfuse.rewrites:own": "Own"})
    component, target = negated(), Target(runtime, "ascend910b")
    rewritten, data = rewrite(component, Policy(), target, pass_manager.discover())
    assert ("Neg", 2, ("Abs",)) in [(entry.op, entry.count, entry.into) for entry in rewritten.legalised]
    assert "Neg" not in {node.op for node in Model(codec.parse(data, "unet.mindir")).nodes}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (FAILS, r"pass 'legalise', with the plugin 'attnfuse-own' left component unet broken: ZeroDivisionError"),
        (
            LATER,
            "with the plugin 'attnfuse-own', pass legalise left component unet broken: .* nothing before it",
        ),
    ],
)
def test_what_a_rewrite_breaks_is_its_plugins(plugin: Install, written: str, message: str) -> None:
    plugin("attnfuse-own", REWRITE.format(written=written, root="Neg"), {"attnfuse.rewrites:own": "Own"})
    with pytest.raises(PluginError, match=message):
        run(*pass_manager.discover(), component=negated())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("class Own: roots = ('Neg',)", "is no Rewrite of attnfuse.api"),
        ("from attnfuse.api import Rewrite as Own", r"cannot be made \(TypeError: Can't instantiate abstract class"),
        (REWRITE.format(written=ABS, root="GeluExt"), "begins at GeluExt, for which attnfuse has a rewrite"),
        (REWRITE.format(written=ABS, root="Neg"), "begins at Neg, for which attnfuse-another has a rewrite"),
    ],
)
def test_a_rewrite_that_is_none_is_refused(plugin: Install, module: str, message: str) -> None:
    neg = REWRITE.format(written=ABS, root="Neg")
    plugin("attnfuse-another", neg, {"attnfuse.rewrites:another": "Own"})
    plugin("attnfuse-own", module, {"attnfuse.rewrites:own": "Own"})
    with pytest.raises(PluginError, match=f"the rewrite 'own' of the plugin 'attnfuse-own' {message}"):
        pass_manager.discover()
