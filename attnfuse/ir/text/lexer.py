"""Text to tokens, and the cursor that the parsers of this package share.

A token is a name, a number, a text, or a mark. A value of a graph is `%name` (in the graph it is written in) or
`@name` (anywhere in the file); a name that holds more than letters, digits and `_ . : / -` stands in quotes:
`%"Parameter#0"`. Texts are JSON strings; `bytes"…"` is base64. A `#` starts a comment. A line ends a statement
except inside brackets.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from attnfuse.errors import SourceError

_PATTERN = re.compile(
    r"""
    (?P<space>[ \t\r]+|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<value>[%@](?:"(?:[^"\\\n]|\\.)*"|[\w.:/-]*\w))
  | (?P<data>(?:bytes|sha256)"[^"\n]*")
  | (?P<text>"(?:[^"\\\n]|\\.)*")
  | (?P<number>-?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|inf\b|nan\b))
  | (?P<name>[A-Za-z_][\w.]*)
  | (?P<mark>->|=>|[()\[\]{},:;=?])
    """,
    re.VERBOSE,
)
_PLAIN = re.compile(r"[\w.:/-]*\w", re.ASCII)
_OPEN, _CLOSE = "([{", ")]}"
MAX_DEPTH = 100
"""Brackets within brackets; protobuf takes no more messages within messages."""


class TextError(SourceError):
    """Text that is no graph: where (`line` and `column`, from 1) and what is wrong (`sentence`)."""

    def __init__(self, line: int, column: int, sentence: str) -> None:
        super().__init__(f"line {line}, column {column}: {sentence}")
        self.line = line
        self.column = column
        self.sentence = sentence


class Token(NamedTuple):
    """`kind` is a group of the lexer's pattern, or `end`; `at` the offset in the text."""

    kind: str
    text: str
    at: int


def quoted(text: str) -> str:
    """The text as a literal; everything that is not ASCII escaped."""
    return json.dumps(text)


def value_name(sigil: str, name: str) -> str:
    """`%name` or `@name`, quoted where it must be."""
    return f"{sigil}{name if _PLAIN.fullmatch(name) else quoted(name)}"


def place(text: str, at: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def tokens(text: str) -> list[Token]:
    """All tokens, without spaces, comments, and line ends inside brackets. Raises TextError."""
    found: list[Token] = []
    open_: list[Token] = []
    at = 0
    while at < len(text):
        match = _PATTERN.match(text, at)
        if match is None:
            raise TextError(*place(text, at), f"{text[at]!r} starts nothing that is known here.")
        kind, token = match.lastgroup or "", match[0]
        if kind == "mark" and token in _OPEN:
            open_.append(Token(kind, token, at))
            if len(open_) > MAX_DEPTH:
                raise TextError(*place(text, at), f"more than {MAX_DEPTH} brackets are open; nest less deep.")
        if kind == "mark" and token in _CLOSE and (not open_ or open_.pop().text != _OPEN[_CLOSE.index(token)]):
            raise TextError(*place(text, at), f"{token!r} closes nothing that is open.")
        if kind != "space" and not (kind == "newline" and open_):
            found.append(Token(kind, token, at))
        at = match.end()
    if open_:
        raise TextError(*place(text, open_[-1].at), f"{open_[-1].text!r} is never closed.")
    found.append(Token("end", "", at))
    return found


class Cursor:
    """A place in the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokens(text)
        self._index = 0
        self.next = self._tokens[0]
        """The token that comes next."""

    def error(self, sentence: str, token: Token | None = None) -> TextError:
        """The error to raise, at the next token or at `token`."""
        return TextError(*place(self.text, (token or self.next).at), sentence)

    def take(self) -> Token:
        """The next token, which is then behind."""
        token = self.next
        if token.kind != "end":
            self._index += 1
            self.next = self._tokens[self._index]
        return token

    def after_next(self) -> Token:
        """The token after the next."""
        return self._tokens[min(self._index + 1, len(self._tokens) - 1)]

    def within_brackets(self) -> Iterator[Token]:
        """The tokens from the opening bracket that is next to the one that closes it."""
        depth = 0
        for token in self._tokens[self._index :]:
            yield token
            if token.kind == "mark":
                depth += (token.text in _OPEN) - (token.text in _CLOSE)
            if depth == 0:
                return

    def sees(self, *texts: str) -> bool:
        """Whether a mark or a name of one of these texts is next."""
        return self.next.text in texts and self.next.kind in ("mark", "name")

    def accept(self, text: str) -> bool:
        """Take the mark or name where it is next; tell whether it was."""
        if not self.sees(text):
            return False
        self.take()
        return True

    def expect(self, text: str) -> Token:
        """Take the mark or name. Raises TextError where something else is next."""
        if not self.sees(text):
            raise self.error(f"expected {text!r}, found {self.found()}.")
        return self.take()

    def expect_kind(self, kind: str, what: str) -> Token:
        """Take a token of that kind; `what` names it in the TextError otherwise."""
        if self.next.kind != kind:
            raise self.error(f"expected {what}, found {self.found()}.")
        return self.take()

    def found(self) -> str:
        """The next token, for people."""
        named = {"end": "the end of the text", "newline": "the end of the line"}
        return named.get(self.next.kind, repr(self.next.text))

    def skip_lines(self, *marks: str) -> None:
        """Take line ends, and these marks, as long as they are next."""
        while self.next.kind == "newline" or self.sees(*marks):
            self.take()

    def end_line(self) -> None:
        """Take the end of a statement. Raises TextError where more stands on its line."""
        if self.next.kind not in ("newline", "end"):
            raise self.error(f"expected the end of the line, found {self.found()}.")
        self.skip_lines()

    # --- literals

    def text_literal(self) -> str:
        """A quoted text."""
        return self.unquoted(self.expect_kind("text", "a quoted text"), 0)

    def unquoted(self, token: Token, start: int) -> str:
        """The text that a token holds in quotes from `start` on."""
        try:
            text = json.loads(token.text[start:])
            text.encode()
        except ValueError:
            raise self.error("this text is not a JSON string of characters; mind its backslashes.", token) from None
        return str(text)

    def value(self) -> tuple[str, str]:
        """The sigil and the name of a value."""
        token = self.expect_kind("value", "a value such as %name")
        name = self.unquoted(token, 1) if token.text[1] == '"' else token.text[1:]
        return token.text[0], name

    def data(self) -> bytes:
        """What `bytes"…"` holds."""
        token = self.expect_kind("data", 'data such as bytes"…"')
        word, _, content = token.text[:-1].partition('"')
        if word == "sha256":
            raise self.error("the data were left out when this was printed, and only their digest kept.", token)
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error:
            raise self.error("this is not base64.", token) from None

    def integer(self, least: int = -(2**63), most: int = 2**63 - 1) -> int:
        """A whole number between the two."""
        token = self.expect_kind("number", "a whole number")
        if not re.fullmatch(r"-?\d+", token.text):
            raise self.error(f"expected a whole number, found {token.text!r}.", token)
        number = int(token.text) if len(token.text) < 30 else most + 1
        if not least <= number <= most:
            raise self.error(f"{token.text} is not between {least} and {most}.", token)
        return number

    def real(self) -> float:
        """Any number."""
        return float(self.expect_kind("number", "a number").text)
