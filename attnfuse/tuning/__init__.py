"""`attnfuse tune`: the cheapest policy whose error to float64, end to end, keeps a budget.

`choices` are the forms that a site may take; `units` the modules that rules of a policy can tell apart, alike ones in
groups; `laboratory` rewrites a component by an assignment of choices, estimates and measures it; `search` finds the
cheapest assignment by sensitivity, and knows no graph; `jobs` has all of it from a component to the `result`, which is
a policy with the figures, and a document.
"""
