"""`attnfuse reduce`: the smallest part of a graph that still does what is to be reported, without weights.

What is looked for is an error of the passes (`errors`), a refusal of a command (`commands`), or a difference between a
graph and its rewrite (`differences`); `jobs` has the three from what is wrong with the whole to the `result`. `parts`
are graphs of their own, of which `search` leaves fewer and fewer nodes; `pairs` are cut at the same values, with
`padding` and `layouts` where the two graphs have none in common. `merging` makes inputs of one type one.
"""
