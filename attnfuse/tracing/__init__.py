"""Where a pipeline becomes weight-less MindIR graphs and a plan to stream their weights.

Only `worker.py`, `build.py`, `weights.py` and `patches/` import mindspore, mindone or transformers, and they
run in a subprocess started by `runner.py`; everything else here imports without MindSpore installed. From the
rest of the project this package imports nothing but `attnfuse.documents`, `attnfuse.errors`, `attnfuse.names`,
`attnfuse.processes`, `attnfuse.serialisation`, and what of `attnfuse.mindir` is free of protobuf: `dtypes` and
`tensorfile`.
"""
