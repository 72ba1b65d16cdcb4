"""Trained weights through attnfuse: two models that packages of the registry carry, held to their own numbers.

packages    installs them, apart from everything else
terrain     a one-step consistency UNet, out of an ONNX file
bert        a BERT of sentences, and its definition in float64
compiling   compiles a model by a policy, and verifies it
tuning      the policy that attnfuse tune finds, and the budget it is given
sites       each attention on several inputs, beside its formula
command     runs attnfuse
pictures    what the UNet draws
page        the tables of docs/real-weights.md
__main__    python -m tools.realweights FOLDER
"""
