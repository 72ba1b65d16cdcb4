"""The certificate: digests of the files that a verification compared, and holding files to them later.

`verification.json` (and what `attnfuse verify --json` prints) is the certificate. It names files relative to their
graph's folder, so it stays true wherever they are copied together.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from attnfuse import documents
from attnfuse.errors import SourceError, VerificationError
from attnfuse.mindir import external
from attnfuse.mindir.schema import ModelProto
from attnfuse.names import leads_out
from attnfuse.output import FileDigest, digest, schema_of
from attnfuse.verify.result import SCHEMA, ComparedFile, fault_of


def compared_files(
    model: ModelProto, where: Path, known: dict[tuple[int, int], FileDigest]
) -> tuple[ComparedFile, ...]:
    """Digests of a graph file and of the files beside it that hold its weights, the graph first.

    `known` holds digests by device and inode and is added to: two graphs often share a variables file of gigabytes.
    A graph whose weights are not there (type inference needs none) has its own digest only. Raises SourceError where
    a file cannot be read.
    """
    paths = {where.name: where}
    with suppress(SourceError):  # told by whoever needs the weights
        paths |= external.check_weights(model, where, required=False)
    return tuple(_compared(name, path, known) for name, path in paths.items())


def _compared(name: str, path: Path, known: dict[tuple[int, int], FileDigest]) -> ComparedFile:
    try:
        status = path.stat()
        inode = (status.st_dev, status.st_ino)
        if inode not in known:
            known[inode] = digest(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
    return ComparedFile(name, known[inode].sha256, known[inode].bytes)


class _Part(BaseModel):
    """What files are held to; `fault_of` holds the figures to their tolerances."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _File(_Part):
    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("name")
    @classmethod
    def _below_the_graph(cls, name: str) -> str:
        if leads_out(name):
            raise ValueError(f"{name!r} is no path below the graph's folder")
        return name


class _Component(_Part):
    name: str
    passed: bool
    original: tuple[_File, ...] = Field(min_length=1)
    fused: tuple[_File, ...] = Field(min_length=1)
    not_verified: tuple[str, ...] = ()


class _Certificate(_Part):
    schema_: Literal["attnfuse.verification/2"] = Field(alias="schema")
    components: tuple[_Component, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Held:
    """What still is as a certificate has it: how many files, and what had not been verified of them."""

    files: int
    not_verified: tuple[str, ...]


def check_certificate(certificate: Path, original: Path | None = None, fused: Path | None = None) -> Held:
    """Check files against a certificate.

    Without graphs, the fused files of every component are looked for beside the certificate. With both, the component
    whose fused graph has the digest of `fused` is meant, and both sides are checked against it. Raises
    VerificationError where a file is missing or differs, or the certificate records a verification that failed;
    SourceError for a certificate that cannot be read.
    """
    parts = _read(certificate).components
    if original is None or fused is None:
        checks = [(certificate.parent, file) for part in parts for file in part.fused]
    else:
        found = _sha256(fused)
        parts = tuple(part for part in parts if part.fused[0].sha256 == found)
        if not parts:
            raise VerificationError(f"{fused} is not what {certificate} is about: no graph there has its digest.")
        if _sha256(original) != parts[0].original[0].sha256:
            raise VerificationError(f"{original} is not what {certificate} says {fused} was compared with.")
        checks = [(original.parent, file) for file in parts[0].original[1:]]
        checks += [(fused.parent, file) for file in parts[0].fused[1:]]
        parts = parts[:1]
    for part in parts:
        if not part.passed:
            raise VerificationError(f"{certificate} records a failed verification of {part.name}.")
    for folder, file in checks:
        if _sha256(folder / file.name) != file.sha256:
            raise VerificationError(f"{folder / file.name} is not what was verified: its digest differs.")
    not_verified = tuple(f"{part.name}: {text}" for part in parts for text in part.not_verified)
    return Held(len(checks) + (0 if original is None or fused is None else 2), not_verified)


def _read(certificate: Path) -> _Certificate:
    try:
        text = documents.read_text(certificate)
        if (schema := schema_of(text.encode())) not in (None, SCHEMA):
            raise SourceError(f"{certificate} is no certificate of {SCHEMA}: it is {schema}; verify again.")
        document = documents.parse(text, "JSON")
        found = _Certificate.model_validate(document)
    except OSError as error:
        raise SourceError(f"{certificate} cannot be read: {error.strerror or error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{step}." for step in first["loc"])[:-1] or "the whole"
        raise SourceError(f"{certificate} is no certificate of {SCHEMA}: {where}: {first['msg']}.") from None
    except ValueError:
        raise SourceError(f"{certificate} is no JSON document; name a verification.json.") from None
    for part, entry in zip(found.components, document["components"], strict=True):
        if part.passed and (why := fault_of(entry)):
            raise SourceError(f"{certificate} certifies nothing of {part.name}: {why}; verify again.")
    return found


def _sha256(path: Path) -> str:
    try:
        return digest(path).sha256
    except OSError as error:
        raise VerificationError(f"{path} cannot be read: {error.strerror or error}.") from None
