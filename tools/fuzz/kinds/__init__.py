"""The kinds of input that are no graphs, by name; each is a module of its own."""

from __future__ import annotations

from collections.abc import Mapping

from tools.fuzz.cases import Kind
from tools.fuzz.kinds import cache, certificate, data, inputs, live, lora, output, pipeline, policy, weights

KINDS: Mapping[str, Kind] = {
    module.KIND.name: module.KIND
    for module in (policy, inputs, data, pipeline, weights, lora, cache, certificate, output, live)
}
