"""The operator table: what MindSpore defines of each operator, one row each, for every reader of a graph.

`row.py` says what a row is; the rows stand in one file a family; `table.py` is where they are looked up. Each row has
examples, which are its tests: against its own inference, and against MindSpore's.
"""
