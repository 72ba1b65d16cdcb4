"""A pass that follows the policy and fuses nothing: what surrounds the passes is tested with it.

Each Softmax becomes a site named by its scope; where the policy wants it fused, the node is marked (so the bytes
change) and the site called fused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from attnfuse.decisions import SiteRecord
from attnfuse.ir.graph import Model
from attnfuse.pass_manager import Context
from attnfuse.policy import SiteQuery

MARK = "fused by the toy pass"


def module_of(scope: str) -> str:
    """`blocks.0.attn1` of `Default/blocks-CellList/0-Block/attn1-Attention/Softmax-op0`."""
    return ".".join(re.findall(r"(\w+)-(?!op\d)", scope))


@dataclass(frozen=True)
class ToyPass:
    """See the module. `forget` leaves that many sites out of the census."""

    id: ClassVar[str] = "toy"
    order: ClassVar[int] = 10
    summary: ClassVar[str] = "marks softmax nodes"

    forget: int = 0

    def run(self, model: Model, context: Context) -> bool:
        changed = False
        sites = [node for node in model.nodes if node.op == "Softmax"]
        for node in sites[self.forget :]:
            module = module_of(node.scope)
            decision = context.policy.decide(SiteQuery(context.component, context.owner, module))
            fused = decision.flash and decision.force_cast_dtype is not None
            if fused:
                node.proto.doc_string = MARK
                changed = True
            context.sites.append(
                SiteRecord(
                    module=module,
                    graph=node.graph.name,
                    anchor=node.name,
                    form="formula",
                    status="fused" if fused else "kept",
                    code="toy.fused" if fused else "policy.off",
                    reason="the toy pass marked it" if fused else "the policy keeps the formula",
                    rule=decision.force_cast_dtype_rule if decision.force_cast_dtype is None else decision.flash_rule,
                    scale=0.25,
                )
            )
        return changed
