"""What is said of a site at several batches, said once for any batch.

Everything must be the same at each, but: a shape has -1 where it follows the batch; bytes are those of batch 1; in a
text a number that differs becomes "?". A length that follows the batch is not known before run time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from attnfuse.decisions import SiteFacts, SiteRecord
from attnfuse.dynamic.lines import line_through
from attnfuse.errors import TraceError

_NUMBER = re.compile(r"\d+")
_BYTES = ("score_bytes_saved", "mask_bytes")
_SHAPES = ("query_shape", "key_shape", "value_shape")
_TEXTS = ("reason", "layout_reason", "warnings", "failure", "identities", "obligations", "not_taken", "region")
_SIZES = ("query_length", "key_length", "head_dim")


def merge_records(component: str, several: Mapping[int, Sequence[SiteRecord]]) -> tuple[SiteRecord, ...]:
    """The records of the sites, of those at each batch.

    Raises TraceError where a site is decided otherwise at another batch, or is not there.
    """
    batches, found = tuple(several), tuple(several.values())
    if any([record.id for record in records] != [record.id for record in found[0]] for records in found[1:]):
        raise TraceError(
            f"component {component} cannot be written for any batch: its sites differ from batch to batch; compile it "
            "without --dynamic, once for each batch."
        )
    return tuple(_merge(records, batches) for records in zip(*found, strict=True))


def _merge(records: Sequence[SiteRecord], batches: Sequence[int]) -> SiteRecord:
    changes: dict[str, Any] = {}
    for field in fields(SiteRecord):
        values = [getattr(record, field.name) for record in records]
        if all(value == values[0] for value in values):
            continue
        if field.name in _SHAPES and len({None if v is None else len(v) for v in values}) == 1:
            changes[field.name] = tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*values, strict=True))
        elif field.name in _BYTES and (line := line_through(values, batches)) is not None:
            changes[field.name] = line.at(1)
        elif field.name == "facts":
            changes[field.name] = _merge_facts(values)
        elif field.name in _TEXTS and (text := _merge_texts(values)) is not None:
            changes[field.name] = text
        else:
            raise TraceError(
                f"site {records[0].id} cannot be written for any batch: its {field.name} is {values[0]} at batch "
                f"{batches[0]} and {values[-1]} at batch {batches[-1]}; compile it without --dynamic, once for each "
                "batch."
            )
    return replace(records[0], **changes)


def _merge_facts(values: Sequence[SiteFacts]) -> SiteFacts:
    unknown = {name: None for name in _SIZES if len({getattr(value, name) for value in values}) > 1}
    return replace(values[0], **unknown)


class _UnlikeError(Exception):
    """More than numbers in a text differ."""


def _merge_texts(values: Sequence[Any]) -> Any:
    try:
        return _merge_text(values)
    except _UnlikeError:
        return None


def _merge_text(values: Sequence[Any]) -> Any:
    """One value of text, or of tuples and records of text."""
    first = values[0]
    if all(value == first for value in values):
        return first
    if all(isinstance(value, str) for value in values):
        return _merge_numbers(values)
    if all(isinstance(value, tuple) and len(value) == len(first) for value in values):
        return tuple(_merge_text(elements) for elements in zip(*values, strict=True))
    if is_dataclass(first) and not isinstance(first, type) and all(type(value) is type(first) for value in values):
        names = [field.name for field in fields(first)]
        return replace(first, **{name: _merge_text([getattr(value, name) for value in values]) for name in names})
    raise _UnlikeError


def _merge_numbers(values: Sequence[str]) -> str:
    parts = [_NUMBER.split(value) for value in values]
    numbers = [_NUMBER.findall(value) for value in values]
    if any(part != parts[0] for part in parts):
        raise _UnlikeError
    merged = [several[0] if len(set(several)) == 1 else "?" for several in zip(*numbers, strict=True)]
    return "".join(text + number for text, number in zip(parts[0], [*merged, ""], strict=True))
