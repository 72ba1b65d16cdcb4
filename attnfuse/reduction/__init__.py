"""`attnfuse reduce`: the smallest part of a graph that still does what is to be reported, without weights.

parts        a part of a graph as a graph of its own
merging      inputs and weights of one type made one, and what then is computed twice
search       fewer and fewer nodes, as long as what is looked for stays
pairs        the same for a graph and its rewrite, which are cut at the same values
errors       what is looked for: the passes end in an error
differences  ... : the rewrite differs, by verification's own judgement
commands     ... : a command refuses the graph
result       what is written of what was found
"""
