"""All of the engine that a pass may import, and nothing more."""

from attnfuse.decisions import AttentionKind, MatchFailure, Miss, Obligation, Peel, SiteFacts, SiteRecord, Stage
from attnfuse.ir.builder import Builder, NotWritableError, broadcast_dims, sites_built, unused
from attnfuse.ir.dead_code import eliminate_dead_code
from attnfuse.ir.edit import Edit
from attnfuse.ir.effects import Effects, effective_uses, may_change, only_orders
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, Use, attribute, live_values, short_name
from attnfuse.ir.operators import columns, inference
from attnfuse.ir.operators.arguments import Arguments, NotKnown, TypeMismatch
from attnfuse.ir.operators.columns import Effect, Hands, Kernel, Role
from attnfuse.ir.operators.row import Operator, row
from attnfuse.ir.questions import (
    COPIES,
    ELEMENTS,
    LAYOUTS,
    SEQUENCES,
    aliased,
    argument_name,
    behind,
    changed,
    factors,
    hands,
    keeps_order,
    kernel,
    makes_tuple,
    orders_effects,
    reads_memory,
    role,
    source,
    takes_element,
    writes_conditionally,
)
from attnfuse.ir.text import region_lines
from attnfuse.ir.types import UNKNOWN_DIM, TensorType
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, GraphProto, NodeProto, PrimitiveProto, TensorProto
from attnfuse.modules import Modules
from attnfuse.pass_manager import Context, Legalised, Pass, Property, WeightReader, no_weights
from attnfuse.plugins import IDENTITIES, REWRITES, Extension, Reporter, TakeExtensions
from attnfuse.policy import BUILT_IN, Decision, SiteQuery
from attnfuse.targets import FusedRequest, NodeKind, Refusal, Target, accepts, head_padding, refusals
from attnfuse.targets.objections import objection

__all__ = [
    "BUILT_IN",
    "CALL",
    "CONSTANT",
    "COPIES",
    "ELEMENTS",
    "IDENTITIES",
    "LAYOUTS",
    "REWRITES",
    "SEQUENCES",
    "UNKNOWN_DIM",
    "Arguments",
    "AttentionKind",
    "AttributeProto",
    "Builder",
    "Context",
    "DType",
    "Decision",
    "Edit",
    "Effect",
    "Effects",
    "Extension",
    "FusedRequest",
    "GraphProto",
    "Hands",
    "Kernel",
    "Legalised",
    "MatchFailure",
    "Miss",
    "Model",
    "Modules",
    "Node",
    "NodeKind",
    "NodeProto",
    "NotALiteralError",
    "NotKnown",
    "NotWritableError",
    "Obligation",
    "Operator",
    "Pass",
    "Peel",
    "PrimitiveProto",
    "Property",
    "Refusal",
    "Reporter",
    "Role",
    "SiteFacts",
    "SiteQuery",
    "SiteRecord",
    "Stage",
    "TakeExtensions",
    "Target",
    "TensorProto",
    "TensorType",
    "TypeMismatch",
    "Use",
    "WeightReader",
    "accepts",
    "aliased",
    "argument_name",
    "attribute",
    "behind",
    "broadcast_dims",
    "changed",
    "columns",
    "dtypes",
    "effective_uses",
    "eliminate_dead_code",
    "factors",
    "hands",
    "head_padding",
    "inference",
    "keeps_order",
    "kernel",
    "live_values",
    "makes_tuple",
    "may_change",
    "no_weights",
    "objection",
    "only_orders",
    "orders_effects",
    "reads_memory",
    "refusals",
    "region_lines",
    "role",
    "row",
    "short_name",
    "sites_built",
    "source",
    "takes_element",
    "unused",
    "writes_conditionally",
]
