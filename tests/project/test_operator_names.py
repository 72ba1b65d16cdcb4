"""Names of operators stand in the operator table and, beyond it, only where code is about that very operator."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import attnfuse
import attnfuse_passes
from attnfuse.ir.graph import CALL, CONSTANT
from attnfuse.ir.operators.table import OPERATORS

_FOLDERS = {"attnfuse": Path(attnfuse.__file__).parent, "passes": Path(attnfuse_passes.__file__).parent}
_TABLE = "attnfuse/ir/operators/"
_NAME = re.compile(r"[A-Z]\w*[a-z]\w*|[a-z]+_[a-z]+")
_REGISTER = {"peeler", "legalises", "lowers"}
_OTHER_WORDS = {
    "attnfuse/verify/memory/liveness.py": "ONNX's operators",
    "attnfuse/tracing/": "classes of the model's code",
}
"""Where a word that is also an operator's name is something else."""

_ABOUT = {
    # Passes: an identity, a rule or a lowering is about the operators it is registered for, and those it writes.
    "passes/attention/identities/casts.py": "identities of casts and copies, registered by name",
    "passes/attention/identities/kv_repeat.py": "identities of repeated heads",
    "passes/attention/identities/layout.py": "identities of layouts",
    "passes/attention/identities/mask.py": "identities of masks and biases",
    "passes/attention/identities/scale.py": "identities of factors",
    "passes/attention/identities/product.py": "how each matrix product is written",
    "passes/attention/mask_values.py": "how each operator of mask arithmetic is computed",
    "passes/attention/uniform.py": "how a tensor of one number is made and computed with",
    "passes/attention/formula.py": "Baddbmm, whose bias is scaled by a factor of its own",
    "passes/attention/chain.py": "Tanh, which caps scores, and TopK, which ends a router",
    "passes/attention/masks.py": "which of the two fused operators is written, and the sum of biases",
    "passes/convert.py": "which of the two fused operators is read and written",
    "passes/fuse.py": "which fused operator is written, and the masks beside it",
    "passes/attention/fused_node.py": "how each of the two fused operators is read",
    "passes/attention/lower/formula.py": "the formula that is written",
    "passes/attention/producers.py": "how a mask comes to be boolean, negated, and repeated along one axis",
    "passes/emit/": "what is written",
    "passes/legalise/": "rules, each registered for an operator, and what they write",
    # Targets: what each operator's adapter takes.
    "attnfuse/targets/limits.py": "the two fused operators, one a runtime",
    "attnfuse/targets/operators.py": "one line an operator, read in the target's sources",
    # Verification reads meaning by itself, so that a slip in the table is seen.
    "attnfuse/verify/lowering/": "lowerings, registered by name; ONNX's operators",
    "attnfuse/verify/graph/fused_nodes.py": "its own reader of the fused operators",
    "attnfuse/verify/numbers/site_numbers.py": "operators of scale",
    "attnfuse/verify/graph/readers.py": "which inputs each operator asks for",
    "attnfuse/verify/numbers/inputs.py": "Mul and Muls, which scale a time",
    "attnfuse/verify/inference/binding.py": "what is computed from shapes, and how",
    "attnfuse/verify/graph/assigned.py": "what each operator writes to a parameter, and Load, which reads it",
    # The graph's own language, and what follows a batch.
    "attnfuse/ir/builder.py": "what its helpers write",
    "attnfuse/ir/text/program.py": "what the text form writes out and takes in",
    "attnfuse/dynamic/generalise.py": "how the shape of Reshape and the end of StridedSlice follow the batch",
    "attnfuse/dynamic/rows.py": "how a repeated or filled row follows the batch, and what is written for it",
}
"""Where names of operators may stand, by file or folder, and what they are about there."""


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for name, folder in _FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            place = f"{name}/{path.relative_to(folder).as_posix()}"
            if not place.startswith((_TABLE, *_OTHER_WORDS)):
                yield place, ast.parse(path.read_text(encoding="utf-8"))


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _names(tree: ast.Module) -> set[str]:
    """Every string that is the name of a row."""
    texts = {_text(node) for node in ast.walk(tree)}
    return {text for text in texts if text is not None and text in OPERATORS}


def _used_as_names(tree: ast.Module) -> set[str]:
    """Strings used as names of operators: compared with a node's, registered for, or listed beside one."""
    found: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "op":
            found |= {_text(part) for other in node.comparators for part in ast.walk(other)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _REGISTER:
            named = [keyword.value for keyword in node.keywords if keyword.arg == "ops"]
            found |= {_text(part) for other in (named or node.args) for part in ast.walk(other)}
        elif isinstance(node, ast.Tuple | ast.Set | ast.List | ast.Dict):
            texts: set[str | None] = {_text(part) for part in (node.keys if isinstance(node, ast.Dict) else node.elts)}
            found |= texts if len(OPERATORS.keys() & texts) > 1 else set()
    return {text for text in found if text is not None and _NAME.fullmatch(text)}


def test_names_stand_only_where_code_is_about_the_operator() -> None:
    places = {place for place, tree in _sources() if _names(tree)}
    assert [place for place in sorted(places) if not place.startswith(tuple(_ABOUT))] == []
    assert [about for about in _ABOUT if not any(place.startswith(about) for place in places)] == []


def test_every_name_is_one_of_the_table() -> None:
    unknown = {place: _used_as_names(tree) - OPERATORS.keys() - {CALL, CONSTANT} for place, tree in _sources()}
    assert {place: names for place, names in unknown.items() if names} == {}


def test_a_name_is_found_however_it_is_used() -> None:
    tree = ast.parse(
        """
        if node.op == "One" or other.op in ("Two", "Three"): pass
        @legalises("Four")
        def rule(): pass
        @peeler("bias.add", ops=("Five",), identity="x")
        def other(): pass
        LIST = {"Add": 1, "Mul": 2, "Six": 3}
        WORDS = {"Seven", "Add"}
        """.replace("\n        ", "\n")
    )
    assert _used_as_names(tree) == {"One", "Two", "Three", "Four", "Five", "Add", "Mul", "Six"}
