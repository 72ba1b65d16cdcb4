"""Graphs as text, and back.

Two forms. The full one (`model`) holds all of a file: MindIR → text → MindIR gives the same bytes; it is for bug
reports, and for what a pass left. The short one (`program`) is for people to write: expressions, inputs with their
types, constants where they are used. `values` are types and constants, `messages` what has no form of its own. `table`
tells the short form what the operator table knows: types of results, arguments by their names.
"""

from attnfuse.ir.text.lexer import TextError
from attnfuse.ir.text.model import parse_model, print_model
from attnfuse.ir.text.program import Argument, Infer, Signature, parse_program, program_text, region_lines
from attnfuse.ir.text.table import infer, signature

__all__ = [
    "Argument",
    "Infer",
    "Signature",
    "TextError",
    "infer",
    "parse_model",
    "parse_program",
    "print_model",
    "program_text",
    "region_lines",
    "signature",
]
