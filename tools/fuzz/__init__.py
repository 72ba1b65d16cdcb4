"""Damaged graphs by the thousand through the command line, in process: see README.md."""
