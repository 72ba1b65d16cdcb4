"""The command line: arguments become a request, the outcome becomes a table, a document and an exit code.

The only package that prints or exits. stdout carries results only; everything for the eye goes to stderr. Exit codes:
0 done, 1 `--require` or `--check` not met, 2 usage or policy, 3 input unreadable or unsupported (or one component of
it: the others are written), 4 verification failed, 70 a defect of attnfuse, 130 interrupted.

A module for each command; `options` and `request` are what those about a source share, `outcome` what is said of a
run, `entry` the group of all.
"""

from attnfuse.cli.entry import main, run

__all__ = ["main", "run"]
