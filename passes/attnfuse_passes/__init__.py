"""The built-in passes. They import `attnfuse.api` and nothing else of the engine.

`fuse.py` finds attention and rewrites it, `composites/` writes what CANN has one operator for, `legalise/` replaces
operators that MindSpore Lite does not take, `simplify/` takes away what changes nothing, `deduplicate_constants.py`
keeps equal constants once; `rewrite.py` drives what the first three list. See passes/README.md.
"""
