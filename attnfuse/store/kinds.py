"""The kinds of entries that a cache has: every one that is kept is listed here, and the tests damage each."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an entry is; the value is the folder, or the part of an object's name, that those of a kind lie under."""

    BLOCKS = "blocks"
    """Graphs of blocks, by the cell and what it is called with."""
    CONTENTS = "contents"
    """What units of work name by its digest; removed where the command ends that put it there."""
    DIGESTS = "digests"
    """Digests of files, by device and inode."""
    GRAPHS = "graphs"
    """Files that a trace wrote, by their digest: its graph, and the weights that lie nowhere else."""
    KNOWN_GRAPH = "KnownGraph"
    """What became of a component's graph, by all that it was made of."""
    KNOWN_WEIGHTS = "KnownWeights"
    """What became of a component's weights."""
    MEASURED_ERROR = "MeasuredError"
    """How far a rewritten graph is from float64, which `tune` measured."""
    MEASURED_ESTIMATE = "MeasuredEstimate"
    """The digest, and the estimated time, of the graph that an assignment of `tune` gives."""
    MEASURED_EXACT = "MeasuredExact"
    """The values of an unfused graph in float64."""
    TRACES = "traces"
    """Of a trace all but its files."""
    TREES = "trees"
    """Digests of folders of sources."""
