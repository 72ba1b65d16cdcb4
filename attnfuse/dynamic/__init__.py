"""Graphs for any batch: a component is compiled at several batch sizes, and what comes out is proved to be one graph.

MindSpore can trace with an unknown batch, but what it writes then (a Switch, computed shapes, every body twice) can be
neither matched nor given to MindSpore Lite. So everything is traced, proved and rewritten at known sizes
(`attnfuse.tracing.contract.DYNAMIC_BATCHES`), and here the results are compared with each other, field by field:

    lines        a number that follows the batch lies on one straight line through all the sizes
    family       several graphs that differ in nothing but such numbers (and in constants of equal or counted rows)
    generalise   the same graph with -1 in their places, where an operator has a way to say so; else a refusal
    rows         values of equal or counted rows, made as long as the batch
    records      what is reported of the sites, likewise
"""

from attnfuse.dynamic.family import BatchFamily, family_of
from attnfuse.dynamic.generalise import Dynamic, generalise
from attnfuse.dynamic.records import merge_records

__all__ = ["BatchFamily", "Dynamic", "family_of", "generalise", "merge_records"]
