"""The MindIR file format: schema, reading and writing, element types, weights kept beside the graph or to be streamed.

May import `attnfuse.errors`, protobuf, numpy, ml_dtypes and safetensors; knows nothing of attention.
"""
