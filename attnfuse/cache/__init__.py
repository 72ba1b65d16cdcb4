"""The folder of `--cache-dir`: what an earlier compile learned, kept so that the next one need not learn it again.

    store       entries of the folder: written whole, read whole or not at all
    digests     what files hold, by their place and time on the disk
    traces      graphs, by all that a trace depends on

What was made of a graph is told by `attnfuse.incremental`.
"""
