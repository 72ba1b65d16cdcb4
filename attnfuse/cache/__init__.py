"""The place of `--cache-dir`: what an earlier compile learned, kept so that the next one need not learn it again.

    digests     what files hold, by their place and time on the disk
    traces      graphs, by all that a trace depends on

How entries are kept is told by `attnfuse.store`, what was made of a graph by `attnfuse.incremental`.
"""
