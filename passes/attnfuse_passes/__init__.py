"""The built-in passes. They import `attnfuse.api` and nothing else of the engine.

`fuse.py` finds attention and rewrites it, `legalise/` replaces operators that MindSpore Lite does not take, `share.py`
keeps equal constants once; `attention/` holds the mathematics of matching, `emit/` the encodings of what is written.
See README.md beside this file.
"""
