"""For the tests of passes, a plugin's as well as ours: graphs before and after in text, and the checks of them.

    # fixtures/scale.txt
    pass: fuse
    given: q, k, v: float16[2, 8, 64, 48]

    title: the scale on query
    status: fused
    s = MatMulExt(Muls(q, 0.125), Transpose(k, (0, 1, 3, 2))); MatMulExt(Softmax(s, (-1,)), v)
    => PromptFlashAttention(q, k, v, num_heads=8, scale_value=0.125, next_tokens=2147483647, input_layout=1,
                            num_key_value_heads=8, inner_precise=0)

    # test_scale.py
    @pytest.mark.parametrize("fixture", read_fixtures(Path(__file__).parent / "fixtures"), ids=str)
    def test_fixture(fixture: Fixture) -> None:
        check_fixture(fixture)
        check_laws(fixture)

Blocks stand apart by an empty line. A block begins with lines `key: value`; those of the first, which has no graph,
hold for all that do not say otherwise. `#` starts a comment. The graphs are written in the short form that
`attnfuse.ir.text.program` describes; an operator's arguments may be given by the names of the operator table, and those
left out take MindSpore's defaults. Behind `=>`, which begins a line, stands the graph that the pass leaves; without it
the pass must change nothing.

    title     what the block shows; a name no other of the file has
    pass      the id of the pass that runs
    option    options of that pass, with `;` between them, such as largest_constant = 16
    runtime   lite (default), mindspore
    soc       ascend910b (default) or another of `attnfuse.targets`
    policy    settings of a policy's defaults in TOML, with `;` between them, such as flash = false
    given     inputs and weights, declared where the graph does not: those it names. A block's come to the first one's
    status    of each site in order, with `,` between them;  code  likewise
    reason    a part of why each operator stays that the target does not take, in order, with ` | ` between them.
              Without it there must be none
    exact     how far an output may move in float64, as a part of its largest magnitude: 1e-5 (default) is what a
              constant in float32 may lose, such as a fused scale
    native    the same in the graph's own types, 0 for bit by bit; without it that is not looked at

Numbers need the verify extra; pytest is not needed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnfuse import pass_manager, plugins
from attnfuse.errors import UsageError
from attnfuse.ir.graph import Model, Node, attribute
from attnfuse.ir.operators.arguments import TypeMismatch
from attnfuse.ir.operators.row import Operator
from attnfuse.ir.operators.table import operator
from attnfuse.ir.text import TextError, infer, parse_program, program_text, signature
from attnfuse.ir.types import UNKNOWN_DIM, Array, TensorType, declared_type, describe
from attnfuse.ir.values import Values
from attnfuse.ir.verifier import Verifier
from attnfuse.mindir import codec, dtypes
from attnfuse.mindir.schema import ModelProto
from attnfuse.pass_manager import Context, Pass
from attnfuse.pass_options import configured
from attnfuse.policy import Policy, command_line_options, policy_of
from attnfuse.targets import Target
from attnfuse.verify.graph.structure import check_interface, new_findings

__all__ = ["Fixture", "check_fixture", "check_laws", "check_operator", "node_of", "numbers_of", "read_fixtures"]

_KEYS = ("title", "pass", "option", "runtime", "soc", "policy", "given", "status", "code", "reason", "exact", "native")
_KEY = re.compile(rf"({'|'.join(_KEYS)}): *(.*?) *")
_BLOCK = re.compile(r"\n(?:[ \t]*\n)+")
_ARROW = re.compile(r"^[ \t]*=>", re.MULTILINE)
_COMPONENT = "component"
_EXACT = 1e-5
_REFUSED = "refused: "
_LARGEST_WHOLE = 3
"""Of the whole numbers that are drawn, so that they may be places on a short axis."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """One block of a file: `keys` are its keys, `before` and `after` its graphs as text.

    `line` is where `before` begins, from 1, and `after_line` where `after` does, which is None where nothing may
    change.
    """

    file: Path
    line: int
    before: str
    after: str | None
    after_line: int
    keys: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file.stem}: {self.keys['title']}"

    def model(self) -> Model:
        """The graph before, made again. Raises TextError, with the place in the file, for text that is no graph."""
        with _Place(self.file, self.line):
            return Model(parse_program(self.before, infer=infer, signature=signature, like=self._given()))

    def expected(self, before: Model) -> str:
        """The graph after, as `program_text` prints it, of the graph before. Raises TextError as `model` does."""
        if self.after is None:
            return program_text(before)
        with _Place(self.file, self.after_line):
            return program_text(Model(parse_program(self.after, signature=signature, like=before.proto)))

    def context(self) -> Context:
        """What the pass is given beside the graph. Raises PolicyError or UsageError for a policy or target that is
        none.
        """
        policy = Policy()
        if "policy" in self.keys:
            policy = policy_of({"defaults": tomllib.loads(self.keys["policy"].replace(";", "\n"))}, str(self))
        target = Target(self.keys.get("runtime", "lite"), self.keys.get("soc", "ascend910b"))
        return Context(_COMPONENT, _COMPONENT, policy, target)

    def _given(self) -> ModelProto | None:
        """The declarations that the graph names and does not make itself, as a program of their own."""
        declared: dict[str, str] = {}
        for part in filter(str.strip, self.keys.get("given", "").split(";")):
            names, _, kind = part.partition(":")
            declared |= {name.strip(): kind.strip() for name in names.split(",")}
        named = set(re.findall(r"\w+", self.before)) - set(re.findall(r"(\w+):", self.before))
        lines = [f"{name}: {kind}" for name, kind in declared.items() if name in named]
        return parse_program("\n".join(lines)) if lines else None


class _Place:
    """Errors of a text, told at their place in the file that the text is a part of."""

    def __init__(self, file: Path, line: int) -> None:
        self.file = file
        self.line = line

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, TextError):
            line = self.line + error.line - 1
            raise TextError(line, error.column, f"{error.sentence} ({self.file.name})") from error


def read_fixtures(path: Path) -> list[Fixture]:
    """The fixtures of a file in order; of a folder, those of every `.txt` file in it and below it.

    Raises TextError for a block without a title or a pass, or with a title that the file has twice.
    """
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    return [fixture for file in files for fixture in _of_file(file)]


def _of_file(file: Path) -> Iterator[Fixture]:
    common: dict[str, str] = {}
    titles: set[str] = set()
    text = file.read_text(encoding="utf-8")
    start = 0
    while start < len(text):
        gap = _BLOCK.search(text, start)
        block = text[start : gap.start() if gap else len(text)]
        keys, offset = _keys(block)
        line = text.count("\n", 0, start) + block.count("\n", 0, offset) + 1
        start = gap.end() if gap else len(text)
        if "given" in common and "given" in keys:
            keys["given"] = f"{common['given']}; {keys['given']}"
        graph = block[offset:]
        if not re.sub(r"^\s*#.*$", "", graph, flags=re.MULTILINE).strip():
            common |= keys
            continue
        keys = common | keys
        with _Place(file, line):
            for key in ("title", "pass"):
                if key not in keys:
                    raise TextError(1, 1, f"this block has no line `{key}: …`.")
            if keys["title"] in titles:
                raise TextError(1, 1, f"a block before this one is called {keys['title']!r}; take another title.")
        titles.add(keys["title"])
        arrow = _ARROW.search(graph)
        before, after = (graph, None) if arrow is None else (graph[: arrow.start()], graph[arrow.end() :])
        yield Fixture(file, line, before, after, line + before.count("\n"), keys)


def _keys(block: str) -> tuple[dict[str, str], int]:
    """The lines `key: value` that the block begins with, comments between them, and where the graph begins."""
    keys: dict[str, str] = {}
    offset = 0
    for line in block.splitlines(keepends=True):
        match = _KEY.fullmatch(line.rstrip("\n"))
        if match is None and not line.lstrip().startswith("#"):
            break
        if match is not None:
            keys[match[1]] = match[2]
        offset += len(line)
    return keys, offset


# --- checks


def check_fixture(fixture: Fixture, passes: Sequence[Pass] | None = None) -> None:
    """Run the fixture's pass over its graph: what it leaves, and what it told of it, must be what the fixture says.

    As in a compile, the graph before must not contradict itself, and the pass must leave every node of the type that
    its operator infers, in order, with all effects and the graph's inputs, outputs and weights; and it must tell
    truly whether it changed anything. `passes` are those to take the pass from, by its id; None are the installed.
    Raises AssertionError that says what is not so, with the difference between the two graphs; TextError for text that
    is no graph; UsageError where no pass is called so; PluginError where a plugin's pass fails.
    """
    before, context = fixture.model(), fixture.context()
    after = _copy(before)
    verifier = Verifier(before)
    _hold(fixture, "the graph before contradicts itself", list(verifier.source_faults()))
    changed = _run(fixture, after, context, passes)
    _hold(
        fixture, "the graph after is not the one expected", _difference(fixture.expected(before), program_text(after))
    )
    fault = verifier.fault(after, context.unneeded)
    faults = [] if fault is None else [fault.sentence]
    faults += new_findings(before, after)[0] + check_interface(before, after)
    _hold(fixture, "the pass leaves a wrong graph", faults)
    if changed != (codec.serialise(after.proto) != codec.serialise(before.proto)):
        raise AssertionError(f"{fixture}: the pass says {changed} to whether it changed anything")
    _check_outcome(fixture, context)


def check_laws(fixture: Fixture, passes: Sequence[Pass] | None = None) -> None:
    """What must hold of any pass, whatever it is for.

    It gives the same bytes again from the same graph; run once more over what it left, it changes nothing; and the
    graph after computes what the graph before did, as near as the fixture says. That is shown on drawn inputs and
    weights, where every size is known. Boolean inputs then have a row without and one with every key, unless the
    policy gives its word that there are no such rows.
    Raises AssertionError that says which of these is not so; VerificationError for an operator that has no lowering to
    onnxruntime.
    """
    before = fixture.model()
    once, again = _copy(before), _copy(before)
    _run(fixture, once, fixture.context(), passes)
    _run(fixture, again, fixture.context(), passes)
    written = codec.serialise(once.proto)
    if codec.serialise(again.proto) != written:
        raise AssertionError(f"{fixture}: the pass gives other bytes for the same graph")
    _run(fixture, again, fixture.context(), passes)
    if codec.serialise(again.proto) != written:
        difference = "\n".join(_difference(program_text(once), program_text(again)))
        raise AssertionError(f"{fixture}: the pass changes again what it left:\n{difference}")
    if fixture.after is not None and _is_static(once):
        _check_numbers(fixture, before, once)


def _copy(model: Model) -> Model:
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    return Model(proto)


def check_operator(name: str) -> None:
    """The examples of a row of the operator table: what they say is inferred, or is refused.

    Raises AssertionError that says which example is not so, and for a row that has none; UsageError where there is no
    row of that name; TextError for an example that is no text of a node.
    """
    plugins.load()
    row = operator(name)
    if row.is_opaque:
        raise UsageError(f"the operator table has no row {name!r}; install the plugin that brings it.")
    if all(example.startswith(_REFUSED) for example in row.examples):
        raise AssertionError(f"{row.name}: no example says what is inferred")
    for example in row.examples:
        _check_example(row, example)


def _check_example(row: Operator, example: str) -> None:
    is_refused = example.startswith(_REFUSED)
    text = f"{example.removeprefix(_REFUSED)} -> unknown" if is_refused else example
    model = Model(parse_program(text, signature=signature))
    node = next((node for node in reversed(model.nodes) if node.op == row.name), None)
    if node is None:
        raise AssertionError(f"{row.name}: {example!r} is of another operator")
    try:
        inferred = Values(model).infer(node)
    except TypeMismatch as mismatch:
        if not is_refused:
            raise AssertionError(f"{row.name}: {example!r} is refused: it {mismatch}") from None
        return
    if is_refused or inferred != declared_type(attribute(node.proto, "shape")):
        raise AssertionError(f"{row.name}: {example!r} gives {describe(inferred)}")


def node_of(text: str) -> tuple[Model, Node]:
    """A graph of the text, such as `Neg(x: float32[2, 3])`, and the node that gives its output. Raises TextError."""
    model = Model(parse_program(text, infer=infer, signature=signature))
    node = model.producer(model.proto.graph.output[0].name)
    assert node is not None, f"{text!r} has no node"
    return model, node


def numbers_of(model: Model, values: Sequence[str]) -> list[npt.NDArray[Any]]:
    """What values of a graph are in float64, on inputs drawn as `check_laws` draws them; the graph's own outputs aside.

    Raises VerificationError for an operator that has no lowering to onnxruntime. Needs the verify extra.
    """
    given = _given(model, has_masked_rows=True)
    made = [value for value in values if value not in given]
    shown = _copy(model)
    del shown.proto.graph.output[:]
    for value in made:
        tensor_type = model.type_of(value)
        assert tensor_type is not None, f"{value} is no tensor of a known type"
        shown.proto.graph.output.add(name=value).tensor.add(data_type=tensor_type.dtype.wire).dims.extend(
            tensor_type.dims
        )
    found = dict(zip(made, _outputs(Model(shown.proto), given, "exact", model) if made else (), strict=True))
    found |= {name: array if array.dtype.kind in "biu" else array.astype(np.float64) for name, array in given.items()}
    return [found[value] for value in values]


def _run(fixture: Fixture, model: Model, context: Context, passes: Sequence[Pass] | None) -> bool:
    wanted = fixture.keys["pass"]
    known = {step.id: step for step in (_installed() if passes is None else passes)}
    if wanted not in known:
        raise UsageError(f"{fixture}: there is no pass {wanted!r}; there are {', '.join(known)}.")
    given = fixture.keys.get("option", "").split(";")
    options = command_line_options([f"{wanted}.{option.strip()}" for option in given if option.strip()])
    step = next(step for step in configured(known, options) if step.id == wanted)
    return pass_manager.run(model, context, [step])


@cache
def _installed() -> tuple[Pass, ...]:
    return pass_manager.discover()


def _hold(fixture: Fixture, what: str, lines: Sequence[str]) -> None:
    if lines:
        raise AssertionError("\n".join([f"{fixture}: {what}:", *lines]))


def _difference(expected: str, got: str) -> list[str]:
    """Lines of a unified difference, whole graphs; none where they are equal."""
    one, other = expected.splitlines(), got.splitlines()
    return list(difflib.unified_diff(one, other, "expected", "got", lineterm="", n=len(one) + len(other)))


def _check_outcome(fixture: Fixture, context: Context) -> None:
    for key, found in (("status", [s.status for s in context.sites]), ("code", [s.code for s in context.sites])):
        if key in fixture.keys and [one.strip() for one in fixture.keys[key].split(",")] != found:
            raise AssertionError(f"{fixture}: {key} is {', '.join(found) or 'that of no site'}: {_why(context)}")
    reasons = list(context.unsupported.values())
    wanted = fixture.keys["reason"].split(" | ") if "reason" in fixture.keys else []
    if len(wanted) != len(reasons) or not all(part in reason for part, reason in zip(wanted, reasons, strict=True)):
        message = " | ".join(reasons) or "none"
        raise AssertionError(f"{fixture}: reasons why the pass leaves what the target does not take: {message}")


def _why(context: Context) -> str:
    return "; ".join(site.reason for site in context.sites) or "the pass found none"


# --- numbers


def _is_static(model: Model) -> bool:
    kinds = (model.type_of(value.name) for value in model.proto.graph.input)
    return all(tensor_type is not None and UNKNOWN_DIM not in tensor_type.dims for tensor_type in kinds)


def _check_numbers(fixture: Fixture, before: Model, after: Model) -> None:
    has_masked_rows = "assume_no_fully_masked_rows" not in fixture.keys.get("policy", "")
    given = _given(before, has_masked_rows)
    bounds = {"exact": float(fixture.keys.get("exact", _EXACT))}
    if "native" in fixture.keys:
        bounds["native"] = float(fixture.keys["native"])
    for arithmetic, bound in bounds.items():
        pairs = zip(
            _outputs(before, given, arithmetic, before), _outputs(after, given, arithmetic, before), strict=True
        )
        for index, (expected, got) in enumerate(pairs):
            what = f"{fixture}: output {index} is not the same, {arithmetic}"
            _hold_near(expected, got, bound, what)


def _given(model: Model, has_masked_rows: bool) -> dict[str, Array]:
    """Drawn values for the graph's inputs."""
    given = {}
    for value in model.proto.graph.input:
        tensor_type = model.type_of(value.name)
        assert tensor_type is not None
        given[value.name] = _drawn(value.name.removeprefix(f"{model.proto.graph.name}:"), tensor_type, has_masked_rows)
    return given


def _hold_near(expected: npt.NDArray[Any], got: npt.NDArray[Any], bound: float, what: str) -> None:
    """Numbers to within `bound` of the largest finite one, anything else bit by bit."""
    if (got.dtype, got.shape) != (expected.dtype, expected.shape):
        raise AssertionError(f"{what}: {got.dtype}{list(got.shape)} for {expected.dtype}{list(expected.shape)}")
    largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) if expected.dtype.kind == "f" else 0.0
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * largest, err_msg=what)


def _drawn(name: str, tensor_type: TensorType, has_masked_rows: bool) -> Array:
    """Values that are always the same for the same name: normal, whole from 0 to 3, or truths."""
    random = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    if tensor_type.dtype is dtypes.BOOL:
        mask = np.asarray(random.random(tensor_type.dims) > 1 / 3)
        if has_masked_rows and tensor_type.rank > 1 and tensor_type.dims[-2] > 1:
            mask[..., :2, :] = [[False], [True]]
        return mask
    if not tensor_type.dtype.is_float:
        return np.asarray(random.integers(0, _LARGEST_WHOLE, tensor_type.dims, endpoint=True), tensor_type.dtype.numpy)
    return np.asarray(random.standard_normal(tensor_type.dims), tensor_type.dtype.numpy)


def _outputs(model: Model, given: Mapping[str, Array], arithmetic: str, original: Model) -> list[npt.NDArray[Any]]:
    """What the graph gives; weights that a pass made of others are worked out from the original's.

    What is imported here needs the verify extra, and the rest of this module does not.
    """

    from attnfuse.verify.lowering import Arithmetic, lower
    from attnfuse.verify.numbers.execution import run
    from attnfuse.verify.numbers.weights import both_sides

    here = Path("fixture.mindir")
    (_, weights), _ = both_sides(original.proto, here, model.proto, here, 0)
    return run(lower(model, Arithmetic[arithmetic.upper()]), given, weights)
