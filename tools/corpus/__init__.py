"""Traces small models of the field into `tests/corpus`, so that tests need no MindSpore. See README.md."""
