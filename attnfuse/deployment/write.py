"""Hands what a device's host has of an output to the sink of a compile, beside graphs and weights."""

from __future__ import annotations

from attnfuse.deployment.gears import gears_of
from attnfuse.deployment.lite import configuration, convert_script
from attnfuse.deployment.readme import readme
from attnfuse.output import CONVERT, README, OutputPlace, Sink
from attnfuse.records import ComponentResult, with_output
from attnfuse.report.model import Manifest, Report
from attnfuse.targets import Target


def write_config(result: ComponentResult, target: Target, place: OutputPlace, sink: Sink) -> str:
    """Write the component's configuration for MindSpore Lite; its name."""
    component = result.component
    gears = gears_of(result.rewritten.inputs, component.batches, component.where)
    name = place.config(result.name)
    sink.write(name, [configuration(result.graph, target.soc, gears).encode()])
    return name


def hand_over(manifest: Manifest, report: Report, sink: Sink) -> Manifest:
    """Write README.md and, for MindSpore Lite, convert.sh of an output folder; the manifest that lists them."""
    documents = {README: readme(manifest, report)}
    if manifest.runtime == "lite":
        documents[CONVERT] = convert_script(manifest)
    for name, text in documents.items():
        manifest = with_output(manifest, name, sink.write(name, [text.encode()]))
    return manifest
