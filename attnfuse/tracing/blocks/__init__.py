"""Traces a model block by block: each distinct block once, and what is around the blocks, put together to one graph.

A transformer of seventy equal blocks is one block, seventy times, with other weights. MindSpore compiles it as one flat
graph; here every cell that occurs more than once is replaced, while what is around it is traced, by an operator of
which only the type is known, and is traced by itself once for each type of arguments it is called with. The messages
are put together afterwards, weights renamed for each occurrence. Whatever this cannot be sure of is traced whole, and
the report says why.

`fingerprints` tells which cells compute the same, `abstracts` what a block takes and gives, `guesses` what it may give,
`stand_ins` puts operators in the place of cells, `tracer` traces the pieces; those run in the worker and import
MindSpore. `pieces` is what they leave behind, `drafts`, `stitching` and `writing` put it together and import neither
MindSpore nor protobuf.
"""
