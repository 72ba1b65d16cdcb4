"""The MindIR file format: schema, reading and writing, element types, weights kept beside the graph.

May import `attnfuse.errors`, protobuf, numpy and ml_dtypes; knows nothing of attention.
"""
