"""What installed distributions bring, and how one that is wrong is refused by its name."""

from __future__ import annotations

import pytest

from attnfuse import pass_manager, plugins
from attnfuse.errors import PluginError, UsageError
from attnfuse.ir.operators.arguments import Arguments
from attnfuse.ir.operators.columns import Effect
from attnfuse.ir.operators.table import operator
from attnfuse.processes import Terminated
from tests.support.installed import Install, plugin

__all__ = ["plugin"]

PASS = """
class Own:
    id, order, summary = "own", 150, "does nothing"
    def run(self, model, context):
        return False
"""
ROW = """
from attnfuse.api import columns, inference, row
EXAMPLE = "ExampleWrite(x: float32[2], u: monad) -> float32[2]"
ARGS = "x: tensor, state: monad"
WRITES = columns.writes("x")
ROW = row("ExampleWrite", ARGS, inference.same_as("x"), memory=WRITES, examples=(EXAMPLE,), source="ours")
"""
REPORTER = """
class Lines:
    name, file, summary = "lines", "lines.txt", "one line a component"
    def render(self, report):
        return "".join(c["name"] + "\\n" for c in report["components"]).encode()
"""


def test_without_plugins_there_is_what_attnfuse_brings() -> None:
    assert {(e.group, e.name, e.plugin) for e in plugins.load().all} == {
        (plugins.PASSES, name, None) for name in ("fuse", "composites", "legalise", "simplify", "deduplicate_constants")
    }


def test_a_pass_runs_among_the_others_and_bears_its_distribution(plugin: Install) -> None:
    plugin("attnfuse-own", PASS, {"attnfuse.passes:own": "Own"}, "2.1")
    found = pass_manager.discover()
    assert [step.id for step in found] == ["fuse", "composites", "own", "legalise", "simplify", "deduplicate_constants"]
    assert [pass_manager.plugin_of(step) for step in found] == [None, None, "attnfuse-own", None, None, None]
    assert plugins.load().plugins == (plugins.Plugin("attnfuse-own", "2.1"),)


def test_an_operator_is_known_while_its_plugin_is_installed(plugin: Install) -> None:
    assert operator("ExampleWrite").is_opaque
    plugin("attnfuse-own", ROW, {"attnfuse.operators:ExampleWrite": "ROW"})
    plugins.load()
    assert operator("ExampleWrite").memory.effect is Effect.WRITES
    assert operator("ExampleWrite").source == "ours"
    assert operator("Mul").source != "ours"


def test_a_reporter_renders_a_report_that_it_cannot_change(plugin: Install) -> None:
    plugin("attnfuse-own", REPORTER, {"attnfuse.reporters:lines": "Lines"})
    (document,) = plugins.documents(["lines", "lines"])
    assert document.content({"components": [{"name": "unet"}]}) == b"unet\n"
    assert not plugins.load().plugins  # which have a say in graphs


@pytest.mark.parametrize(
    ("module", "entry", "message"),
    [
        ("import no_such_module", "attnfuse.passes:own", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "attnfuse.reporters:own", "SystemExit: 3"),
        ("", "attnfuse.identities:own", "has no attribute 'Own'"),
        ("class Own: pass", "attnfuse.passes:own", "has no id, order, summary or run"),
        ("class Own:\n    def __init__(self): 1 / 0", "attnfuse.passes:own", r"cannot be made \(ZeroDivisionError"),
        (PASS, "attnfuse.passes:other", "calls itself 'own'"),
        (PASS.replace("150", "'first'"), "attnfuse.passes:own", "has 'first' as its order, which is a int"),
        (
            PASS.replace("    def", "    requires = {'all'}\n    def"),
            "attnfuse.passes:own",
            "requires 'all', which is no Property",
        ),
        (PASS, "attnfuse.operators:own", "is no row of the operator table"),
        (ROW.replace("ROW =", "Own ="), "attnfuse.operators:Other", "is a row for 'ExampleWrite'"),
        (
            ROW.replace("ROW =", "Own =").replace("ExampleWrite", "Mul", 2),
            "attnfuse.operators:Mul",
            "has a row in attnf",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_distribution(plugin: Install, module: str, entry: str, message: str) -> None:
    plugin("attnfuse-own", module, {entry: "Own"})
    with pytest.raises(
        PluginError, match=rf"of the plugin 'attnfuse-own' .*{message}.*; update or uninstall the plugin"
    ):
        pass_manager.discover()


def test_sigterm_while_it_is_loaded_is_no_fault_of_its(plugin: Install) -> None:
    module = "from attnfuse.processes import Terminated\nraise Terminated(143)"
    plugin("attnfuse-own", module, {"attnfuse.passes:own": "Own"})
    with pytest.raises(Terminated, match="143"):
        pass_manager.discover()


@pytest.mark.parametrize(
    ("reporter", "message"),
    [
        ("class Lines: pass", "has no name, file, summary or render"),
        (REPORTER.replace('"lines.txt"', '"../lines.txt"'), "would write '../lines.txt', which is no plain name"),
        (REPORTER.replace(".encode()", ""), "gave str and no bytes"),
        (REPORTER.replace('c["name"]', 'c["nam"]'), "failed .KeyError: 'nam'"),
    ],
)
def test_a_reporter_that_is_wrong_is_told(plugin: Install, reporter: str, message: str) -> None:
    plugin("attnfuse-own", reporter, {"attnfuse.reporters:lines": "Lines"})
    with pytest.raises(PluginError, match=rf"the reporter 'lines' of the plugin 'attnfuse-own' {message}"):
        plugins.documents(["lines"])[0].content({"components": [{"name": "unet"}]})


def test_a_reporter_that_is_not_installed_is_told_with_the_nearest(plugin: Install) -> None:
    plugin("attnfuse-own", REPORTER, {"attnfuse.reporters:lines": "Lines"})
    with pytest.raises(UsageError, match=r"there is no reporter 'line'; did you mean 'lines'\? Known: lines\."):
        plugins.documents(["line"])


@pytest.mark.parametrize("name", ["own", "fuse"])
def test_a_name_that_two_give_is_refused_with_both(plugin: Install, name: str) -> None:
    plugin("attnfuse-one", PASS, {f"attnfuse.passes:{name}": "Own"})
    plugin("attnfuse-two", PASS, {"attnfuse.passes:own": "Own"})
    others = {"own": "'attnfuse-one' and 'attnfuse-two'", "fuse": "'attnfuse' and 'attnfuse-one'"}
    with pytest.raises(UsageError, match=f"the pass {name!r} is given twice, by {others[name]}; uninstall one of them"):
        pass_manager.discover()


def test_a_defect_in_a_plugins_code_is_found_below_a_pass_of_ours(plugin: Install) -> None:
    plugin(
        "attnfuse-own",
        ROW.replace('inference.same_as("x")', "lambda a: 1 // 0"),
        {"attnfuse.operators:ExampleWrite": "ROW"},
    )
    row = plugins.load().of(plugins.OPERATORS)[0].value
    with pytest.raises(ZeroDivisionError) as caught:
        row.infer(None)
    assert plugins.load().raiser(caught.value) == plugins.Plugin("attnfuse-own", "1.0")
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    assert plugins.load().raiser(caught.value) is None


def test_an_inference_that_gives_no_type_is_the_plugins(plugin: Install) -> None:
    plugin(
        "attnfuse-own",
        ROW.replace('inference.same_as("x")', "lambda arguments: 5"),
        {"attnfuse.operators:ExampleWrite": "ROW"},
    )
    plugins.load()
    row = operator("ExampleWrite")
    with pytest.raises(
        PluginError, match="the operator 'ExampleWrite' of the plugin 'attnfuse-own' infers 5, which is"
    ):
        row.infer(Arguments(row.signature, (), lambda name: None))
