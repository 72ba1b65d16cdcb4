"""A test is found where what it tests is: tests/ mirrors attnfuse/, tests/passes/ and tests/runtime/ the others."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

_SUBJECTS = {
    "browser": "the HTML report as a person sees it",
    "cli": "the commands as a user has them, each through all of attnfuse",
    "lite": "MindSpore Lite 2.0.0, which reads what attnfuse writes",
    "numeric": "numbers of rewritten graphs, whatever wrote them",
    "parity": "attnfuse beside mindone on Ascend",
    "project": "the repository itself: imports, documents, tools, what is installed",
    "property": "laws over drawn graphs",
}
"""Folders of tests that are about a subject, not about a module."""

_ACROSS = {
    # Every graph there is.
    "test_bytes": "the bytes of all corpus graphs",
    "test_corpus": "the census of all corpus graphs",
    "test_corpus_traces": "the corpus held to what is traced today",
    "ir/operators/test_definitions": "every row, held to MindSpore's classes",
    "ir/operators/test_examples": "the examples of every row",
    "ir/operators/test_prototypes": "rows held to CANN's prototypes",
    "ir/test_edited_weights": "weights that a pass asks for edited: edit, builder, interface and values",
    "ir/test_shadow": "the inference of every row, over the corpus",
    "ir/text/test_round_trip": "the text form and MindIR, over the corpus",
    "passes/legalise/test_corpus": "all rules, over the corpus",
    # One question to several modules.
    "dynamic/test_compile": "compile() of components for any batch",
    "dynamic/test_inference": "MindSpore's inference over what `dynamic` makes",
    "dynamic/test_plan": "what plan, output and report say of any batch",
    "dynamic/test_rewriting": "passes and verification of a component for any batch",
    "tracing/test_hub": "what is fetched of a hub, from one that the test serves",
    "farm/test_memory": "the limit of memory of a worker of this machine, and of a cluster",
    "lora/test_fused": "merged weights, held to mindone's own fuse_lora",
    "live/test_demo": "mindone's guide on the demo pipeline",
    "live/test_live": "a user's session, from outside",
    "passes/attention/lower/test_open_sizes": "all forms of attention, of sizes unknown before run time",
    "passes/attention/test_control_flow": "attention in functions that are handed about: census, names and fusing",
    "passes/attention/test_absorbed_rows": "rows that a mask leaves no key: what is told, assumed and written",
    "passes/attention/test_softmax_by_hand": "softmaxes written with exponentials: identities, census and numbers",
    "passes/attention/test_weights": "what leaves attention weights as they are, and what does not",
    "verify/test_interrupted": "what a verification leaves that is asked to stop, at any moment",
    "verify/numbers/test_fully_masked_rows": "rows without a key that are no number: draws, comparison and mutants",
    "verify/numbers/test_assumptions": "what verification asks of a rewrite's assumptions",
    "verify/numbers/test_gaps": "numbers around an operator without a rule: graph/gaps.py and full.py",
    "verify/test_not_verified": "what verification lists as not verified, from the rules to the exit code",
    "verify/test_policy_of_output": "the policy of an output that one of its graphs is verified by",
    "reduction/test_demo": "faults planted in the demo's UNet, reduced",
    "tuning/test_models": "models of several kinds, tuned",
    "tuning/test_recorded": "from a picture's recording to a policy, and a picture by it",
    "verify/numbers/test_few_elements": "sites of few elements, judged over several draws",
    "passes/attention/test_interactions": "terms, shifts, casts and factors that meet in one site",
    "passes/attention/test_products": "products that attention is written with: identities and what is written",
    "passes/test_ascend_to_lite": "all passes over graphs traced as on Ascend",
    "passes/test_codes": "every code a site can end with",
    "passes/test_fills": "fills of masked scores: identities, masks and what is written",
    "passes/test_fixtures": "passes by example",
    "passes/test_known_masks": "masks kept as weights: numbers, policy and what is written",
    "passes/test_not_attention": "graphs that no pass may take for attention",
    "runtime/families/test_plans": "the loops, over the interfaces that compiles plan",
    "runtime/schedulers/test_against_mindone": "every scheduler, held to mindone's own",
    "targets/test_soc_limits": "every limit of every SoC",
    "runtime/test_wheel": "the runtime's wheel, built and installed by itself",
    "tracing/test_clip_skip": "the state of an earlier layer of CLIP, from the option to the graph",
    "tracing/test_recorded_calls": "what pipelines hand to their models, beside the plans",
    "tracing/test_pipelines": "every pipeline family through a compile",
    "tracing/test_tokens": "lengths of texts: specs, plan and tokenizers",
    "tracing/test_trace": "real traces: runner, worker and build",
    "plugin/tests/test_example": "the example plugin, whose own tests these are",
    "verify/lowering/test_gates": "the meaning of gates and rotations, in the file of composites",
    "verify/numbers/test_calls": "originals that call their blocks, with mistakes planted in them",
    "verify/test_composites": "composites with mistakes planted in them",
    "verify/test_gates": "gates and rotations with mistakes planted in them",
    "test_forks": "how these tests start processes with MindSpore in them",
    "verify/test_mutants": "all checks, over planted mistakes",
    "verify/test_repeated_blocks": "mistakes in one of several equal blocks, and at borders of steps",
    "verify/test_transposed": "products that transpose, with mistakes planted in them",
    "verify/test_wrong_biases": "all checks, over biases narrowed wrongly",
}
"""Tests beside no module, and what they are about."""


def _modules() -> set[str]:
    """`verify/numbers/data`, `passes/attention`: modules and packages, as paths below tests/."""
    folders = {
        ROOT / "attnfuse": Path(),
        ROOT / "passes/attnfuse_passes": Path("passes"),
        ROOT / "runtime/attnfuse_runtime": Path("runtime"),
    }
    return {
        (below / path.relative_to(folder)).with_suffix("").as_posix().removesuffix("/__init__")
        for folder, below in folders.items()
        for path in folder.rglob("*.py")
    }


def _tested(test: str) -> str:
    """`verify/numbers/data` of `verify/numbers/test_data`."""
    folder, _, name = test.rpartition("/")
    return f"{folder}/{name.removeprefix('test_')}".removeprefix("/")


def _tests() -> list[str]:
    paths = (path.relative_to(TESTS).with_suffix("").as_posix() for path in TESTS.rglob("test_*.py"))
    return sorted(path for path in paths if path.partition("/")[0] not in _SUBJECTS)


def test_each_test_is_called_after_what_it_tests() -> None:
    modules = _modules()
    nameless = [test for test in _tests() if _tested(test) not in modules and test not in _ACROSS]
    assert not nameless, "name it after a module of the mirrored folder, or say in _ACROSS what it is about"


def test_nothing_is_excused_that_needs_no_excuse() -> None:
    modules, tests = _modules(), set(_tests())
    assert [test for test in _ACROSS if test not in tests or _tested(test) in modules] == []
    assert [folder for folder in _SUBJECTS if not any((TESTS / folder).glob("test_*.py"))] == []
