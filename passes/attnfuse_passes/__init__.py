"""The built-in passes. They import `attnfuse.api` and nothing else of the engine.

`fuse.py` finds attention and rewrites it, `cleanup.py` tidies what that leaves; `attention/` holds the mathematics of
matching, `emit/` the encodings of what is written. See README.md beside this file.
"""
