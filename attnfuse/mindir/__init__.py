"""The MindIR file format: schema, reading and writing, element types, weights kept beside the graph or to be streamed.

Knows nothing of attention.
"""
