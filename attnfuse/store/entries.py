"""What an entry is made of, so that a bad one shows whoever wrote it, and wherever it lies.

    attnfuse-entry LENGTH SHA256 HMAC
    (LENGTH bytes of content)

The digest is over kind, key and content: a content that was damaged, cut off or gone on with, and one that lies under
another's name, do not have it. HMAC (RFC 2104, with SHA-256) is over the same with the key of `--cache-key`, or `-`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

#: The folder within the place that the user names; another format gets another name, and leaves this one alone.
FORMAT: Final = "attnfuse-cache-2"
MOST_BYTES: Final = 2**32
"""An entry is read and written in one piece: what is larger is not kept, and not read."""
HEAD_BYTES: Final = 256
"""More than a header takes."""

KEY: Final = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(rb"attnfuse-entry (0|[1-9][0-9]{0,10}) ([0-9a-f]{64}) ([0-9a-f]{64}|-)\n")


def key_of(content: str | bytes) -> str:
    """The key of what `content` is or describes: its SHA-256."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sealed(kind: str, key: str, content: bytes, secret: bytes | None) -> bytes:
    """The entry of that content; with a secret, signed."""
    about = _about(kind, key, content)
    signature = "-" if secret is None else hmac.digest(secret, about, "sha256").hex()
    return f"attnfuse-entry {len(content)} {key_of(about)} {signature}\n".encode() + content


def opened(kind: str, key: str, entry: bytes, secret: bytes | None) -> bytes | None:
    """The content of an entry; None where it is not whole, not of that kind and key, or, with a secret, not signed."""
    head = _HEAD.match(entry[:HEAD_BYTES])
    if head is None or len(entry) - head.end() != int(head[1]):
        return None
    content = entry[head.end() :]
    about = _about(kind, key, content)
    if head[2].decode() != key_of(about):
        return None
    if secret is not None and not hmac.compare_digest(head[3].decode(), hmac.digest(secret, about, "sha256").hex()):
        return None
    return content


def _about(kind: str, key: str, content: bytes) -> bytes:
    return f"{kind} {key}\n".encode() + content
