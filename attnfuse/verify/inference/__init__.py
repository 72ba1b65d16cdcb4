"""MindSpore's own type and shape inference, in a process of its own, and graphs bound to sizes with its help.

Imports nothing: the worker is a module of this package and must not find protobuf loaded before MindSpore.
"""
