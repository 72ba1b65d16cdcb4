"""All of the engine that a pass may import, and nothing more."""

from attnfuse.ir.builder import Builder, NotWritableError, broadcast_dims, sites_built, unused
from attnfuse.ir.edit import Edit
from attnfuse.ir.graph import CALL, CONSTANT, Model, Node, NotALiteralError, Use, attribute, live_values, short_name
from attnfuse.ir.text import region_lines
from attnfuse.ir.types import UNKNOWN_DIM, TensorType
from attnfuse.match import AttentionKind, Miss, Obligation, Peel, SiteFacts, SiteRecord, Stage
from attnfuse.mindir import dtypes
from attnfuse.mindir.dtypes import DType
from attnfuse.mindir.schema import AttributeProto, GraphProto, NodeProto, PrimitiveProto, TensorProto
from attnfuse.modules import Modules
from attnfuse.pipeline import Context, Legalised, Pass, Property, WeightReader, no_weights
from attnfuse.policy import BUILT_IN, Decision, SiteQuery
from attnfuse.targets import FusedRequest, NodeKind, Refusal, Target, accepts, head_padding, refusals
from attnfuse.targets.objections import objection

__all__ = [
    "BUILT_IN",
    "CALL",
    "CONSTANT",
    "UNKNOWN_DIM",
    "AttentionKind",
    "AttributeProto",
    "Builder",
    "Context",
    "DType",
    "Decision",
    "Edit",
    "FusedRequest",
    "GraphProto",
    "Legalised",
    "Miss",
    "Model",
    "Modules",
    "Node",
    "NodeKind",
    "NodeProto",
    "NotALiteralError",
    "NotWritableError",
    "Obligation",
    "Pass",
    "Peel",
    "PrimitiveProto",
    "Property",
    "Refusal",
    "SiteFacts",
    "SiteQuery",
    "SiteRecord",
    "Stage",
    "Target",
    "TensorProto",
    "TensorType",
    "Use",
    "WeightReader",
    "accepts",
    "attribute",
    "broadcast_dims",
    "dtypes",
    "head_padding",
    "live_values",
    "no_weights",
    "objection",
    "refusals",
    "region_lines",
    "short_name",
    "sites_built",
    "unused",
]
