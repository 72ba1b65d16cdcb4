"""What a graph costs on a device, as an estimate: bytes moved, kernels, peak memory, and a lower bound of the time.

The rules are those of CANN's graph engine, as far as its sources and published profiles tell (docs/cost.md); source and
result of a compilation go through the same ones: `compare`. Nothing here runs or changes a graph. May import
`attnfuse.ir` and `attnfuse.targets`. `records` is imported by its own name where protobuf cannot be.
"""
