"""From a Softmax to the normal form: the chain that `chain.py` finds, read axis by axis.

Nothing here knows a spelling. It knows that softmax(scores)·V is attention if the scores come, through identities, from
one matrix product, and the weights go, through identities, into another that contracts exactly the axis the softmax ran
over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from attnfuse.api import (
    AppliedIdentity,
    DType,
    Effects,
    Hands,
    MatchFailure,
    Model,
    Node,
    Obligation,
    SiteFacts,
    TensorType,
    behind,
    dtypes,
    region_lines,
)
from attnfuse_passes.attention.axes import UNKNOWN, Axis, Space, View, keys, product
from attnfuse_passes.attention.census import may_be_input
from attnfuse_passes.attention.chain import Forward, check_private, find_scores, find_weights
from attnfuse_passes.attention.heads import with_heads
from attnfuse_passes.attention.identities.product import MAX_CHAIN, Product
from attnfuse_passes.attention.identities.registry import SitePart, read_back
from attnfuse_passes.attention.identities.steps import (
    AddTerm,
    AtLeast,
    Convert,
    DivideBySum,
    FillWhere,
    Layout,
    NanToZero,
    Scale,
    ScaleBy,
    ShiftRows,
    Step,
    SubtractLogSum,
)
from attnfuse_passes.attention.memory import check_reads, is_cache, is_frozen_input
from attnfuse_passes.attention.normal_form import (
    Attention,
    AttentionAxes,
    Bias,
    Fill,
    Operand,
    Origin,
    ResultView,
    RunTimeFactor,
    flat,
    holds_scale,
)
from attnfuse_passes.attention.open_masks import OpenTerm, check_open, regroup, unfold_heads
from attnfuse_passes.attention.score_facts import (
    are_own_rows,
    clamped_terms,
    dims_of,
    largest_score,
    query_factors,
    scaled_terms,
)
from attnfuse_passes.attention.self_or_cross import self_or_cross
from attnfuse_passes.attention.softmax import SoftmaxRoot, check_divisions, low_rows, score_bytes
from attnfuse_passes.attention.surroundings import read_behind, shared_values
from attnfuse_passes.attention.uniform import own_makers
from attnfuse_passes.naming import SiteNames


@dataclass(slots=True)
class _Operand:
    """An operand while it is read: the names of its views say in the space what its axes are by now.

    `view` is the one that the product uses, after any swap.
    """

    value: str
    dtype: DType
    view: str
    layouts: list[tuple[str, str]]
    path: tuple[str, ...]
    """The nodes it is read back through."""


class Reader:
    """One reading of one site. The steps share the space and what has been proved so far."""

    def __init__(self, model: Model, root: SoftmaxRoot, effects: Effects, which: int) -> None:
        self.model = model
        self.effects = effects
        self.root = root
        self.which = which
        self.values = 1
        """How many values the weights have."""
        self.space = Space()
        self.identities: list[AppliedIdentity] = []
        self.obligations: list[Obligation] = []
        self.interior: list[Node] = [root.node]
        self._shifts: list[tuple[Node, frozenset[int]]] = []
        """What subtracts a number from each row, and the atoms that the rows run along."""
        self._factors: dict[str, list[float]] = {}
        self._open: dict[str, OpenTerm] = {}
        self._terms: dict[str, Bias | Fill] = {}
        """What is done to the scores, in order, by the name of its view."""
        self._query_factors: dict[str, RunTimeFactor] = {}
        self._reach = math.inf
        """No score is larger in magnitude, as far as the scores have been read."""

    def read(self, names: SiteNames) -> Attention:
        """The story of one match, in order; each line either proves something or raises MatchFailure."""
        scores_steps, scores = find_scores(self.model, self.root)
        forward = find_weights(self.model, self.root, self.which)
        self.values += len(forward.others)
        self.interior.extend(forward.beside)
        low, zero_for_infinite = low_rows(self.root, scores_steps)
        left, right = self._multiply(scores)
        factors, heads_in_scores = self._walk_scores(scores, scores_steps)
        softmax_axis = self._softmax_axis()
        self._name_axes(softmax_axis)
        check_open(self.space, self._open, keys(self._axis("key_length")))
        if not are_own_rows(self._shifts, keys(self._axis("key_length")), masked=bool(self._terms)):
            low, zero_for_infinite = "unclear", False
        normalised = check_divisions(self.root, [*forward.steps, *forward.behind], low, zero_for_infinite)
        self.obligations += normalised.obligations
        query, key = (left, right) if softmax_axis == 1 else (right, left)
        sides = {query.view: "query", key.view: "key"}
        self.identities = [replace(p, operand=sides.get(p.operand, p.operand)) for p in self.identities]
        self._check_key_is_computed(query, key, forward)
        nan_guard = self._walk_weights(forward) or normalised.nan_guard
        self.interior.extend(forward.product.inner)
        value = self._value(forward)
        masks = (term.condition if isinstance(term, Fill) else term.value for term in self._terms.values())
        factors_read = (factor.value for factor in self._query_factors.values())
        for read in (query.value, key.value, value.value, *masks, *factors_read):
            check_reads(self.model, read)
        factors = [*self._factors[query.view], *self._factors[key.view], *factors]
        scale = self._check_scale(factors, scores)
        self.obligations.append(check_private(self.model, self.root, forward, self.interior))
        tensor_type = self._type(self.root.scores)
        output = self._type(forward.anchor.name)
        if not (tensor_type.dtype.is_float and output.dtype.is_float):
            raise MatchFailure(
                "facts.type", self.root.node.name, "scores of floating-point numbers", str(tensor_type.dtype)
            )
        self.interior.append(forward.anchor)
        inside = {node.name for node in self.interior}.union(query.path, key.path, value.path)
        operands = [self._final(operand, inside) for operand in (query, key, value)]
        axes = self._axes(operands, heads_in_scores)
        result = ResultView(forward.anchor.name, self.space["output"].axes, (output.dtype,))
        return Attention(
            origin=self._origin(forward.anchor, operands, axes, names),
            query=operands[0],
            key=operands[1],
            value=operands[2],
            axes=axes,
            output=result.axes,
            behind=read_behind(self.model, self.space, result, self.effects.mutated),
            output_dtype=output.dtype,
            scores_dtype=tensor_type.dtype,
            scale=abs(scale),
            factors=tuple(factors),
            negated=scale < 0,
            query_factors=query_factors(self.space, self._query_factors),
            terms=tuple(replace(term, source=self.space[name].source) for name, term in self._terms.items()),
            nan_guard=nan_guard,
            low_rows=low,
            score_bytes=score_bytes(self.model, self.root),
        )

    # --- the result: all axes have been paired, so no atom is split any more

    def _final(self, operand: _Operand, inside: set[str]) -> Operand:
        """The operand; `inside` are the nodes that nothing needs without the site."""
        layouts = tuple((value, self.space[name].axes) for value, name in operand.layouts)
        shared = shared_values(self.model, (value for value, _ in layouts), inside)
        return Operand(operand.value, operand.dtype, self.space[operand.view].source, layouts, shared)

    def _axes(self, operands: list[Operand], heads_in_scores: int | None) -> AttentionAxes:
        axes = AttentionAxes(
            batch=tuple(flat(self.space["batch"].axes)),
            heads=(),
            kv_heads=(),
            query_length=self._axis("query_length"),
            key_length=self._axis("key_length"),
            head_dim=self._axis("head_dim"),
            value_head_dim=self._axis("value_head_dim"),
        )
        return with_heads(axes, operands, heads_in_scores)

    def _axis(self, name: str) -> Axis:
        return self.space[name].axes[0]

    def _origin(self, anchor: Node, operands: list[Operand], axes: AttentionAxes, names: SiteNames) -> Origin:
        values = [operand.value for operand in operands]
        query_length, key_length, head_dim = (
            None if (size := product(axis)) == UNKNOWN else size
            for axis in (axes.query_length, axes.key_length, axes.head_dim)
        )
        attention = self_or_cross(self.model, *values)
        return Origin(
            form="formula",
            module=names.of_values(anchor, *values),
            graph=anchor.graph.name,
            root=self.root.node.name,
            anchor=anchor.name,
            interior=tuple(node.name for node in self.interior),
            region=region_lines(self.model, self.interior),
            facts=SiteFacts(query_length, key_length, head_dim, operands[0].dtype.name, attention),
            identities=tuple(self.identities),
            obligations=tuple(self.obligations),
        )

    # --- operands

    def _type(self, value: str) -> TensorType:
        tensor_type = self.model.type_of(value)
        if tensor_type is None:
            raise MatchFailure("facts.type", value, "a tensor of a known type", "another kind of value")
        return tensor_type

    def _operand(self, name: str, value: str, place: SitePart, *, swap: bool, layout: Layout | None = None) -> _Operand:
        """Read an operand back to where its numbers come from, then describe how its axes came about."""
        steps: list[Step] = []
        at = value
        for _ in range(MAX_CHAIN):
            step = read_back(self.model, at, place)
            if step is None or (isinstance(step.effect, Convert) and not step.effect.wider):
                break
            steps.append(step)
            at = step.input
        return self._describe(name, value, steps, swap=swap, layout=layout)

    def _describe(self, name: str, value: str, steps: list[Step], *, swap: bool, layout: Layout | None) -> _Operand:
        """Replay the steps from the source outward; where a layout cannot be expressed, start after it instead."""
        while True:
            source = steps[-1].input if steps else value
            tensor_type = self._type(source)
            self.space.identity(name, tensor_type.dims)
            layouts = [(source, self._keep(name, 0))]
            pure, failed = True, None
            for position in range(len(steps) - 1, -1, -1):
                step = steps[position]
                if isinstance(step.effect, Layout) and not step.effect.apply(self.space, name):
                    failed = position
                    break
                pure = pure and not isinstance(step.effect, Scale | Convert)
                if pure:
                    made = step.node.name
                    layouts.append((made, self._keep(name, len(layouts))))
            if failed is None:
                break
            steps = steps[:failed]
        for read, _ in layouts:
            if read in self.effects.mutated:
                raise MatchFailure("safety.mutated", read, "a value that nothing changes in place", "one that is")
        self._lay(layout, name, value)
        if swap:
            rank = len(self.space[name].axes)
            self.space.transpose(name, [*range(rank - 2), rank - 1, rank - 2])
        factors = []
        for step in reversed(steps):
            self.identities.append(AppliedIdentity(step.identity, step.node.name, name))
            if isinstance(step.effect, Scale):
                factors.append(step.effect.factor)
        self._factors[name] = factors
        return _Operand(source, tensor_type.dtype, name, layouts, tuple(step.node.name for step in steps))

    def _lay(self, layout: Layout | None, name: str, at: str) -> None:
        """Bring a view to the axes of a matrix product, or back."""
        if layout is not None and not layout.apply(self.space, name):
            raise MatchFailure("structure.contraction", at, "one contracted axis", dims_of(self.space, name))

    def _keep(self, name: str, number: int) -> str:
        """Remember the view as it is now, under a name of its own."""
        kept = f"{name}/{number}"
        self.space.put(kept, self.space[name])
        return kept

    # --- the first product

    def _multiply(self, scores: Product) -> tuple[_Operand, _Operand]:
        """Read both operands, pair their axes, and put the views "scores", "batch" and "product" into the space."""
        left = self._operand("left", scores.left, SitePart.OPERAND, swap=scores.swap_left, layout=scores.left_layout)
        right = self._operand(
            "right", scores.right, SitePart.OPERAND, swap=scores.swap_right, layout=scores.right_layout
        )
        space, at = self.space, scores.node.name
        rank = max(len(space["left"].axes), len(space["right"].axes))
        if min(len(space["left"].axes), len(space["right"].axes)) < 2:
            raise MatchFailure("structure.rank", at, "operands of at least 2 axes", "a vector")
        for name in ("left", "right"):
            while len(space[name].axes) < rank:
                space.expand(name, 0)
        if not space.pair("left", rank - 1, "right", rank - 2, broadcast=False):
            raise MatchFailure(
                "structure.contraction", at, "one contracted axis on both sides", dims_of(space, "left", "right")
            )
        self._pair_batch("left", "right", rank, at, strict=scores.strict)
        a, b = space["left"].axes, space["right"].axes
        batch = tuple(x or y for x, y in zip(a[:-2], b[:-2], strict=True))
        axes = (*batch, a[-2], b[-1])
        space.put("scores", View(tuple(flat(axes)), axes))
        space.put("batch", View(tuple(flat(batch)), batch))
        space.put("product", View((), (a[-2], b[-1], a[-1])))
        self._lay(scores.result_layout, "scores", at)
        self.interior.extend((*scores.inner, scores.node))
        head_dim = space["left"].axes[-1]
        self.obligations.append(
            Obligation("contraction", f"query and key are contracted over one axis of {product(head_dim)} elements")
        )
        return left, right

    def _pair_batch(self, one: str, other: str, rank: int, at: str, *, strict: bool) -> None:
        for axis in range(rank - 2):
            sizes = (product(self.space[one].axes[axis]), product(self.space[other].axes[axis]))
            if not strict and -1 in sizes and keys(self.space[one].axes[axis]) != keys(self.space[other].axes[axis]):
                raise MatchFailure(
                    "facts.dynamic_batch",
                    at,
                    "batch sizes that are known, or a product that does not broadcast",
                    str(sizes),
                )
            if not self.space.pair(one, axis, other, axis, broadcast=not strict):
                raise MatchFailure("structure.batch", at, "batch axes that agree", dims_of(self.space, one, other))

    # --- scores: scale, masks, layout

    def _walk_scores(self, scores: Product, steps: list[Step]) -> tuple[list[float], int | None]:
        """The factors on the scores, and how many batch atoms precede the heads in them, where they show it."""
        factors = [scores.alpha] if scores.alpha != 1.0 else []
        hint = self._heads_in_scores(None)
        self._reach = largest_score(self.model, scores.node)
        if scores.term is not None and scores.beta != 0.0:
            self._bias(scores.node, AddTerm(scores.term, scores.beta))
        for step in reversed(steps):
            self.interior.append(step.node)
            self.identities.append(AppliedIdentity(step.identity, step.node.name, "scores"))
            effect = step.effect
            if isinstance(effect, Scale):
                factors.append(effect.factor)
                self._scale_terms(step.node, effect.factor)
                self._reach *= abs(effect.factor)
            elif isinstance(effect, Convert):
                dtype = self._type(step.node.name).dtype
                self._terms = {name: term.cast_to(dtype) for name, term in self._terms.items()}
            elif isinstance(effect, AtLeast):
                self._terms = clamped_terms(self._terms, step.node, effect.low, shifted=bool(self._shifts))
            elif isinstance(effect, ScaleBy):
                self._scale_by(step.node, effect)
            elif isinstance(effect, Layout):
                if not effect.apply(self.space, "scores"):
                    raise MatchFailure(
                        "structure.scores_layout", step.node.name, "a layout that keeps axes apart", step.node.op
                    )
            elif isinstance(effect, AddTerm):
                self._check_unshifted(step.node, effect.factor)
                self._bias(step.node, effect)
            elif isinstance(effect, FillWhere):
                self._check_unshifted(step.node, effect.fill)
                self._fill(step.node, effect)
                fills = [name for name in step.node.inputs if name not in (step.input, effect.condition)]
                self.interior.extend(own_makers(self.model, step.node, fills))
            elif isinstance(effect, ShiftRows | SubtractLogSum):
                self.interior.extend(effect.makers)
                self._shift(step.node, effect)
            unbound = isinstance(effect, ScaleBy | AddTerm | ShiftRows | SubtractLogSum)
            self._reach = min(math.inf if unbound else self._reach, largest_score(self.model, step.node))
            hint = self._heads_in_scores(hint)
        if self.root.log_base <= 0.0:  # the rows that overflow are others than those of the scores as they are
            raise MatchFailure("facts.scale", self.root.node.name, "a power of a base above 1", "one that is not")
        if self.root.log_base != 1.0:
            factors.append(self.root.log_base)
            self._scale_terms(self.root.node, self.root.log_base)
        return factors, self._heads_in_scores(hint)

    def _scale_terms(self, node: Node, factor: float) -> None:
        shifted = self.root.by_hand and bool(self._shifts)
        self._terms = scaled_terms(self._terms, node, factor, shifted=shifted)

    def _check_unshifted(self, node: Node, number: float) -> None:
        """Behind a shift only −∞ is known to lie below every score: what else does, is said of scores as they were."""
        if self._shifts and number != -math.inf:
            raise MatchFailure("facts.fill", node.name, "masks and biases in front of what is subtracted", node.op)

    def _shift(self, node: Node, effect: ShiftRows | SubtractLogSum) -> None:
        axes = effect.axes if isinstance(effect, ShiftRows) else (effect.axis,)
        along = [atom for axis in axes for atom in self.space["scores"].axes[axis]]
        self._shifts.append((node, frozenset(keys(along))))
        self._terms = {name: term.less() if isinstance(term, Bias) else term for name, term in self._terms.items()}

    def _heads_in_scores(self, known: int | None) -> int | None:
        axes = self.space["scores"].axes
        sides = self.space["product"].axes[:2]
        if known is not None or len(axes) != 4 or axes[2:] not in (sides, sides[::-1]):
            return known
        return len(axes[0]) if keys([*axes[0], *axes[1]]) == keys(flat(self.space["batch"].axes)) else None

    def _term_view(self, name: str, value: str, node: Node) -> _Operand:
        """Read a mask or bias and pair its trailing axes with those of the scores."""
        operand = self._operand(name, value, SitePart.VALUE, swap=False)
        space = self.space
        if UNKNOWN in space[name].dims:
            self._open[name] = OpenTerm(node.name, space[name].dims)
        rank, wanted = len(space[name].axes), len(space["scores"].axes)
        folded = rank == wanted + 1 and node.op == "Baddbmm"
        before = space["scores"].axes
        if folded and not unfold_heads(space, name):
            raise MatchFailure(
                "structure.mask", node.name, "a mask of [batch, heads, query, key]", dims_of(space, name, "scores")
            )
        while len(space[name].axes) < len(space["scores"].axes):
            space.expand(name, 0)
        if len(space[name].axes) != len(space["scores"].axes):
            raise MatchFailure(
                "structure.mask", node.name, "a mask of no more axes than the scores", dims_of(space, name, "scores")
            )
        for axis, group in enumerate(space["scores"].axes):
            if not group and space[name].axes[axis]:
                raise MatchFailure(
                    "structure.mask", node.name, "a mask no larger than the scores", dims_of(space, name, "scores")
                )
            if not space.pair("scores", axis, name, axis, broadcast=True):
                raise MatchFailure(
                    "structure.mask", node.name, "a mask that broadcasts to the scores", dims_of(space, name, "scores")
                )
        if folded:
            regroup(space, "scores", before)
        return operand

    def _bias(self, node: Node, effect: AddTerm) -> None:
        name = f"term{len(self._terms)}"
        operand = self._term_view(name, effect.term, node)
        source, factor = self.space[name].source, effect.factor
        self._terms[name] = Bias(
            operand.value, operand.dtype, factor, source, self._added_in(node), node.name, beside=factor
        )

    def _fill(self, node: Node, effect: FillWhere) -> None:
        name = f"term{len(self._terms)}"
        if self._type(effect.condition).dtype is not dtypes.BOOL:
            raise MatchFailure("facts.condition", node.name, "a boolean mask", str(self._type(effect.condition).dtype))
        operand = self._term_view(name, effect.condition, node)
        source = self.space[name].source
        added_in = self._added_in(node)
        self._terms[name] = Fill(
            operand.value, effect.when, effect.fill, source, added_in, node.name, reach=self._reach
        )

    def _scale_by(self, node: Node, effect: ScaleBy) -> None:
        if self._terms:
            expected, found = "a run-time factor in front of masks and biases", "one behind them"
            raise MatchFailure("facts.scale", node.name, expected, found)
        name = f"factor{len(self._query_factors)}"
        operand = self._term_view(name, effect.value, node)
        self._query_factors[name] = RunTimeFactor(operand.value, effect.divides, self.space[name].source)

    def _added_in(self, node: Node) -> DType:
        """The element type in which a term meets the scores; that of the softmax where the node has none."""
        tensor_type = self.model.type_of(node.name)
        return self._type(self.root.scores).dtype if tensor_type is None else tensor_type.dtype

    # --- the softmax and what follows

    def _softmax_axis(self) -> int:
        """0 or 1: which axis of the product the softmax runs over (1: the columns, as in Q·Kᵀ)."""
        axes = self.root.axes
        rank = len(self.space["scores"].axes)
        if axes is None or len(axes) != 1 or not -rank <= axes[0] < rank:
            raise MatchFailure("facts.softmax_axis", self.root.node.name, "a softmax over one literal axis", str(axes))
        ran = keys(self.space["scores"].axes[axes[0] % rank])
        for side in (1, 0):
            # An axis of one element has no atoms. A softmax over it gives ones, and so does one over a key sequence of
            # one element: they are the same, whichever axis of one element it is.
            if ran == keys(self.space["product"].axes[side]):
                self.obligations.append(
                    Obligation("softmax_axis", f"axis {axes[0]} holds the whole key sequence and nothing else")
                )
                return side
        raise MatchFailure(
            "structure.softmax_axis",
            self.root.node.name,
            "a softmax over the key sequence",
            f"over axis {axes[0]}",
            is_attention=False,
        )

    def _name_axes(self, softmax_axis: int) -> None:
        query_length, key_length, head_dim = self.space["product"].axes
        if softmax_axis == 0:
            query_length, key_length = key_length, query_length
        for name, axis in (("query_length", query_length), ("key_length", key_length), ("head_dim", head_dim)):
            self.space.put(name, View((), (axis,)))

    def _walk_weights(self, forward: Forward) -> bool:
        guard = False
        for step in forward.steps:
            self.interior.append(step.node)
            self.identities.append(AppliedIdentity(step.identity, step.node.name, "weights"))
            if isinstance(step.effect, Layout) and not step.effect.apply(self.space, "scores"):
                raise MatchFailure(
                    "structure.weights_layout", step.node.name, "a layout that keeps axes apart", step.node.op
                )
            guard = guard or isinstance(step.effect, NanToZero)
            if isinstance(step.effect, DivideBySum):
                self.interior.extend(step.effect.makers)
        if forward.behind:
            self.interior.append(forward.product.node)
        for step in forward.behind:
            self.identities.append(AppliedIdentity(step.identity, step.node.name, "result"))
        self.interior.extend(step.node for step in forward.behind[:-1])
        return guard

    def _value(self, forward: Forward) -> _Operand:
        """The second product: weights · value, or valueᵀ · weightsᵀ."""
        space, second = self.space, forward.product
        at = second.node.name
        swap_weights = second.swap_left if forward.weights_left else second.swap_right
        swap_value = second.swap_right if forward.weights_left else second.swap_left
        self._lay(second.left_layout if forward.weights_left else second.right_layout, "scores", at)
        # Read as weights[query, key] · value[key, head size] on either side: on the right both are swapped.
        if swap_weights == forward.weights_left:
            rank = len(space["scores"].axes)
            space.transpose("scores", [*range(rank - 2), rank - 1, rank - 2])
        name = "value"
        operand = self._operand(
            name,
            second.right if forward.weights_left else second.left,
            SitePart.VALUE,
            swap=swap_value if forward.weights_left else not swap_value,
            layout=second.right_layout if forward.weights_left else second.left_layout,
        )
        rank = max(len(space["scores"].axes), len(space[name].axes))
        for view in ("scores", name):
            while len(space[view].axes) < rank:
                space.expand(view, 0)
        weights = space["scores"].axes
        # Rows may have been put in another order since: each is one query's all the same.
        rows = sorted(keys(weights[-2])) == sorted(keys(self._axis("query_length")))
        if keys(weights[-1]) != keys(self._axis("key_length")) or not rows:
            raise MatchFailure(
                "structure.value_axis", at, "a product over the key sequence, with rows of the query", "other axes"
            )
        if not space.pair("scores", rank - 1, name, rank - 2, broadcast=False):
            raise MatchFailure("structure.value_length", at, "a value as long as key", dims_of(space, "scores", name))
        self._pair_batch("scores", name, rank, at, strict=second.strict)
        extra = [a for a, b in zip(space[name].axes[:-2], space["scores"].axes[:-2], strict=True) if a and not b]
        if extra:
            raise MatchFailure(
                "structure.value_batch", at, "a value with no batch axes beyond the weights'", dims_of(space, name)
            )
        own = set(keys(flat(space["batch"].axes)))
        if not own.issuperset(keys(flat(space["scores"].axes[:-2]))):
            raise MatchFailure(
                "structure.value_batch", at, "weights with the batch axes of query and key", "weights that are repeated"
            )
        value_head_dim = space[name].axes[-1]
        axes: list[Axis] = [*space["scores"].axes[:-2], space["scores"].axes[-2], value_head_dim]
        if not forward.weights_left:
            axes[-2:] = [axes[-1], axes[-2]]
        space.put("value_head_dim", View((), (value_head_dim,)))
        space.put("output", View((), tuple(axes)))
        self._lay(second.result_layout, "output", at)
        self.obligations.append(
            Obligation(
                "value_contraction", "the weights' key sequence is contracted with value's, row by row of the query"
            )
        )
        return operand

    # --- obligations

    def _check_scale(self, factors: list[float], scores: Product) -> float:
        total = math.prod(factors, start=1.0)
        if not holds_scale(total):
            raise MatchFailure("facts.scale", scores.node.name, "a finite scale other than 0 in float32", repr(total))
        sign = ", its sign put into query" if total < 0 else ""
        self.obligations.append(
            Obligation("scale", f"{' · '.join(repr(f) for f in factors) or '1'} = {total!r}, all literals{sign}")
        )
        return total

    def _check_key_is_computed(self, query: _Operand, key: _Operand, forward: Forward) -> None:
        """Raise MatchFailure for a key that is a weight, or a constant like one: they make a linear layer."""
        at = behind(self.model, key.value, {Hands.SAME})
        if self.model.is_literal(at):
            value = forward.product.right if forward.weights_left else forward.product.left
            computed = is_frozen_input(self.model, query.value, at, value)
        else:
            computed = not self.model.is_parameter(at) or is_cache(self.model, at)
        if not computed:
            is_attention = at in self.effects.mutated or may_be_input(self.model, at)
            expected, found = "a key computed from an input", "a weight: a linear layer"
            raise MatchFailure("anchor.key_is_weight", at, expected, found, is_attention=is_attention)
