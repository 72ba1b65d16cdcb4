"""Where entries are kept by kind and key: a folder, or a place that fsspec knows, such as an object store.

    entries     what an entry is made of, so that a bad one shows
    kinds       which entries there are
    places      what is asked of a place, and how it is named
    folder      a folder of this machine, or of a mounted share
    remote      everything else, through fsspec
    store       what the others use: entries of one place, whole or absent

What is kept, and by what keys, is for `attnfuse.cache`, `attnfuse.incremental` and `attnfuse.tracing.blocks` to say.
"""
