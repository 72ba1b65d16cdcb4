"""Every code a site or a node can carry, with its meaning, in one place; the documentation is made from it."""

from __future__ import annotations

from dataclasses import dataclass

from attnfuse.decisions import DecisionStage


@dataclass(frozen=True, slots=True)
class Code:
    """A stable code. `hint` says what would make such a site match; empty where nothing should."""

    code: str
    stage: DecisionStage | None
    meaning: str
    hint: str = ""


_CODES = (
    Code("fused", None, "The site is one fused node in the output."),
    Code("fused.carried_over", None, "The source already has the fused node, and the target takes it as it is."),
    Code("fused.converted", None, "The source has the other runtime's fused node; it was rewritten to the target's."),
    Code(
        "fused.laid_out",
        None,
        "The source already has the fused node; it was written again in a layout that needs fewer transposes.",
    ),
    Code("fused.recast", None, "The source already has the fused node; its casts are now those of the policy."),
    Code(
        "fused.rewritten",
        None,
        "The source already has the fused node, in a way that the target does not launch; it was written again.",
    ),
    # anchor: a softmax of another kind
    Code("anchor.no_product", DecisionStage.ANCHOR, "The softmax's result enters no matrix product: not attention."),
    Code("anchor.key_is_weight", DecisionStage.ANCHOR, "The key is a weight: this is a linear layer, not attention."),
    # structure
    Code(
        "structure.scores",
        DecisionStage.STRUCTURE,
        "No matrix product was found behind the softmax through known identities.",
        "add an identity for the operator named after `found`: docs/adding-an-identity.md says how",
    ),
    Code(
        "structure.softmax",
        DecisionStage.STRUCTURE,
        "Exponentials are divided by something else than their own sum: an epsilon that counts, a sum over another "
        "axis, of other numbers, or of more.",
        "write the softmax as one operator, or as exp(x − max) / sum",
    ),
    Code(
        "structure.soft_cap",
        DecisionStage.STRUCTURE,
        "The scores are bounded by a tanh before the mask (Gemma 2): no fused node can do that.",
    ),
    Code(
        "structure.softmax_axis",
        DecisionStage.STRUCTURE,
        "The softmax does not run over the key sequence: not attention.",
    ),
    Code(
        "structure.weights_changed",
        DecisionStage.STRUCTURE,
        "Between the softmax and the product with value something changes the weights.",
        "drop the operator named after `found` before export (dropout at inference, a head mask)",
    ),
    Code("structure.rank", DecisionStage.STRUCTURE, "An operand of the product is a vector."),
    Code("structure.contraction", DecisionStage.STRUCTURE, "The contracted axes of query and key do not correspond."),
    Code("structure.batch", DecisionStage.STRUCTURE, "Batch axes of the two operands do not correspond."),
    Code("structure.mask", DecisionStage.STRUCTURE, "A mask's axes do not correspond to those of the scores."),
    Code("structure.scores_layout", DecisionStage.STRUCTURE, "A layout change mixes axes of the scores."),
    Code("structure.weights_layout", DecisionStage.STRUCTURE, "A layout change mixes axes of the attention weights."),
    Code("structure.value_axis", DecisionStage.STRUCTURE, "The second product does not contract the key sequence."),
    Code("structure.value_length", DecisionStage.STRUCTURE, "Value is not as long as key."),
    Code(
        "structure.value_batch",
        DecisionStage.STRUCTURE,
        "Value, or the attention weights repeated for it, have batch axes that query and key lack.",
        "repeat query and key before their product; then each has the weights' batch",
    ),
    Code("structure.outputs", DecisionStage.STRUCTURE, "Outputs of a fused node other than the attention are read."),
    Code(
        "structure.fused_arguments",
        DecisionStage.STRUCTURE,
        "A fused node of the source uses an argument that the target's node cannot express.",
    ),
    # facts
    Code("facts.type", DecisionStage.FACTS, "The type of a value is not known."),
    Code("facts.softmax_axis", DecisionStage.FACTS, "The softmax's axis is not one literal number."),
    Code(
        "facts.scale",
        DecisionStage.FACTS,
        "The scale is 0, or no number that float32, the type of the argument, holds to full precision; or a factor "
        "known at run time only stands behind a mask, or varies within a head.",
        "a scale in front of masks and biases, the same for all queries and keys of a head",
    ),
    Code("facts.condition", DecisionStage.FACTS, "What selects masked scores is no boolean."),
    Code(
        "facts.fill",
        DecisionStage.FACTS,
        "Masked scores get a number that a real score could reach: one nearer to 0 than −1000.",
        "fill with −inf, −1e4 or less",
    ),
    Code(
        "facts.bias_too_large",
        DecisionStage.FACTS,
        "A bias is so large that its type loses the scores of the keys that it draws attention to.",
    ),
    Code("facts.bias_not_finite", DecisionStage.FACTS, "A constant bias holds NaN or +inf."),
    Code(
        "facts.fully_masked_rows",
        DecisionStage.FACTS,
        "A row may be fully masked, and several masks together decide what it would mean.",
        "assume_no_fully_masked_rows = true in the policy, if every row of your inputs attends to a key",
    ),
    Code(
        "facts.dynamic_batch",
        DecisionStage.FACTS,
        "Batch sizes are unknown and the product may broadcast.",
        "export with fixed shapes",
    ),
    Code(
        "facts.dynamic_mask",
        DecisionStage.FACTS,
        "A mask has sizes, other than the number of keys, that are unknown before run time.",
        "export with fixed shapes",
    ),
    Code(
        "facts.dynamic_head_dim",
        DecisionStage.FACTS,
        "Sizes are unknown before run time, and the head size would have to be padded.",
        "export with fixed shapes",
    ),
    Code(
        "facts.dynamic_layout",
        DecisionStage.FACTS,
        "A layout needs more than one unknown size.",
        "export with fixed shapes",
    ),
    # safety
    Code("safety.weights_escape", DecisionStage.SAFETY, "The attention weights are read elsewhere, or are an output."),
    Code("safety.scores_escape", DecisionStage.SAFETY, "A value inside the region is read outside it."),
    Code(
        "safety.mutated",
        DecisionStage.SAFETY,
        "A value of the region is changed in place.",
    ),
    Code(
        "safety.shared_product",
        DecisionStage.SAFETY,
        "The product with value is already part of another fused site.",
    ),
    Code("safety.two_graphs", DecisionStage.SAFETY, "The region spans two functions."),
    # policy
    Code(
        "policy.flash_off",
        DecisionStage.POLICY,
        "A rule turns flash attention off for the site.",
        "flash = true in a later rule, or without the one that `attnfuse policy show` names",
    ),
    Code(
        "policy.no_cast",
        DecisionStage.POLICY,
        "The inputs are of another type than float16 and bfloat16, and force_cast_dtype is none.",
        'force_cast_dtype = "float16" or "bfloat16" in a rule',
    ),
    # target
    Code(
        "target.no_operator",
        DecisionStage.TARGET,
        "The SoC has no such fused operator.",
        "another --soc, if that is your device: docs/which-soc.md says which have one",
    ),
    Code(
        "target.version",
        DecisionStage.TARGET,
        "The MindSpore that wrote the graph has no such operator, or none that mindone's run-time dispatch would use.",
        "export with MindSpore 2.3.0 or later",
    ),
    Code("target.dtype", DecisionStage.TARGET, "The operator does not take the compute type on this SoC."),
    Code("target.head_dim", DecisionStage.TARGET, "The head size is beyond the operator's."),
    Code("target.batch", DecisionStage.TARGET, "The batch is beyond the operator's."),
    Code("target.heads", DecisionStage.TARGET, "There are more heads than the operator takes."),
    Code("target.sequence", DecisionStage.TARGET, "A sequence is longer than the operator takes, or empty."),
    Code(
        "target.grouped_heads",
        DecisionStage.TARGET,
        "More query heads share a key head than the operator takes, or they do not share them equally.",
    ),
    Code("target.inner_precise", DecisionStage.TARGET, "The operator does not compute in that precision on this SoC."),
    Code("target.bias", DecisionStage.TARGET, "The operator takes no additive bias on this SoC."),
    Code(
        "target.bias_rounded",
        DecisionStage.TARGET,
        "The bias of a fused node of the source would be rounded again: the target's node takes it in another type, or "
        "adds it behind the scale.",
    ),
    Code("target.mask_per_head", DecisionStage.TARGET, "The operator takes one mask for all heads only."),
    Code("target.bias_dtype", DecisionStage.TARGET, "The operator takes a bias in the query's type only."),
    Code("target.bias_shape", DecisionStage.TARGET, "The operator takes no bias of that shape."),
    Code("target.mask_dtype", DecisionStage.TARGET, "The operator takes no mask of that type on this SoC."),
    Code("target.mask_shape", DecisionStage.TARGET, "The operator takes no mask of these lengths on this SoC."),
)

CODES: dict[str, Code] = {code.code: code for code in _CODES}
"""Of sites."""

_NODE_CODES = (
    # What becomes of a node on its way through MindSpore Lite's converter into CANN's graph.
    Code("converter.adapter", None, "The operator has no adapter: the converter stops, or goes on without the node."),
    Code("converter.limit", None, "The operator is taken, but not in this form: see its limits in docs/targets.md."),
    Code("converter.input", None, "Nothing reaches an input that CANN's operator requires, or a Custom's are others."),
    Code(
        "converter.attribute",
        None,
        "An attribute does not arrive, so that CANN's default stands where it is required or is another.",
    ),
    Code(
        "converter.attribute_type",
        None,
        "An attribute is stored in a type that ends in an exception, or takes the others of a Custom with it.",
    ),
    Code("converter.dtype", None, "Neither the operator's declaration nor a kernel on the SoC lists the element type."),
    Code(
        "converter.tuple",
        None,
        "The node has another number of results than the operator, or several are read without TupleGetItem.",
    ),
    Code("converter.bias", None, "The bias of a product is lost: of more than two axes it becomes a BatchMatMul."),
    # What a device does not launch, beside what codes of sites say of fused attention.
    Code("composite.shape", None, "CANN's tiling or kernel does not take the shapes."),
    Code("composite.dtype", None, "The kernel does not take these element types together."),
    Code("composite.attribute", None, "An attribute has a value that the tiling or the kernel does not take."),
    Code("target.head_multiple", None, "In this precision the head size is a multiple of 16."),
    Code("target.layout", None, "The layout does not go with the tensors' ranks, or with what else the node has."),
    Code("target.operands", None, "Query, key and value do not go together."),
    Code("target.sparse_mode", None, "The sparse mode is none that the operator takes, or wants a mask."),
    # Without an AI Core kernel: told as `without_kernel`; the graph is deployable all the same.
    Code("kernel.cast", None, "No AI Core kernel takes these element types together: the engine casts."),
    Code("kernel.ai_cpu", None, "No AI Core kernel takes an element type: AI CPU, or a build error."),
    Code("kernel.none", None, "The SoC has no AI Core kernel of the operator: AI CPU, or a build error."),
    Code("kernel.unknown", None, "No list of the SoC's kernels was read: a composite is not written for it."),
)

NODE_CODES: dict[str, Code] = {code.code: code for code in _NODE_CODES}
"""Of nodes of a result for MindSpore Lite, which may carry those of sites that begin with `target.` too."""
