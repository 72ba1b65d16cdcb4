"""The version of attnfuse, in a module of its own so that every other may read it."""

__version__ = "0.1.0"

TESTED_MINDSPORE = ("2.7.1", "2.10.0")
"""The versions of MindSpore that the tests run against (`tools/lib.sh`), oldest first."""
