"""Legalisation: operators that MindSpore Lite does not take, written with those it does.

    rules.py        the registry, and what a rule is given (`RuleContext`)
    nodes.py        nodes that several families make
    products.py, …  the rules, a family of operators a file
    legalise.py     the pass: visits every node, applies the rules, tells what is left

A rule is an identity: the replaced node's value, shape and type stay what they were, bit for bit where the operators
compute the same sum in the same order, else to rounding. Rules write encodings as MindSpore 2.7.1 itself exports them.
"""
