"""Which files a source is read from: a graph, a pipeline's folder, or several that are named one by one."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from attnfuse import documents
from attnfuse.errors import SourceError, UsageError
from attnfuse.mindir import codec
from attnfuse.output import MANIFEST, digest
from attnfuse.report.model import ONLY_GRAPHS, Manifest
from attnfuse.tracing import source as tracing_source
from attnfuse.tracing.checkpoint import is_of_variant
from attnfuse.tracing.folder import VAE
from attnfuse.tracing.ip_adapter import read_ip_adapter
from attnfuse.tracing.original import parts_in
from attnfuse.tracing.parts import Terms
from attnfuse.tracing.plan import Planned

SUFFIX = ".mindir"


def found_files(source: str, terms: Terms, *, weights: bool = True) -> tuple[Path, Terms]:
    """The folder of a pipeline's configurations, and the terms with where other files of it are."""
    fetch = terms.fetch
    checkpoint = Path(source) if fetch.config else None
    for named in filter(None, (fetch.config or source, fetch.vae)):
        check_not_compiled(Path(named))
    unread = parts_in(checkpoint) if checkpoint is not None else ()
    folder = tracing_source.resolve(fetch.config or source, weights=weights, fetch=fetch, unread=unread)
    vae = tracing_source.resolve_vae(fetch.vae, weights=weights, offline=fetch.offline) if fetch.vae else None
    adapter = read_ip_adapter(fetch.ip_adapter, weights=weights, offline=fetch.offline) if fetch.ip_adapter else None
    if adapter is not None and adapter.file is not None:
        adapter = replace(adapter, sha256=digest(adapter.file).sha256)
    return folder, replace(terms, checkpoint=checkpoint, vae=vae, ip_adapter=adapter)


def check_single_file(path: Path) -> None:
    """Raise UsageError where configurations were named for what is no file of weights."""
    if path.is_dir() or not path.exists() or path.suffix == SUFFIX:
        what = "a traced graph" if path.suffix == SUFFIX else "a folder" if path.is_dir() else "not there"
        raise UsageError(f"--config names the configurations of a single file of weights, and {path} is {what}.")


def check_not_weights(path: Path) -> None:
    """Raise SourceError where a file of weights was named alone, saying what is needed."""
    if path.suffix == ".safetensors" and path.is_file():
        with contextlib.suppress(OSError):
            codec.check_format(path)


def check_same_vae(name: str, now: Iterable[str], was: Iterable[str]) -> None:
    """Raise UsageError where a component was compiled with a VAE in place of the pipeline's, and now has none, or the
    other way round. `now` and `was` are the names of what its graph has fixed."""
    if (VAE in was) != (VAE in now):
        whose = "the pipeline's own VAE, and --vae gives another" if VAE in now else "the VAE that --vae gave then"
        raise UsageError(f"{name} was compiled with {whose} (see {VAE} in {MANIFEST}); give the same.")


def check_not_compiled(folder: Path) -> None:
    """Raise UsageError for a folder that attnfuse wrote: it has a pipeline's configurations, and no weights of it."""
    manifest = _manifest(folder / MANIFEST)
    if manifest is None:
        return
    origin = ONLY_GRAPHS if manifest.pipeline is None else manifest.pipeline.origin
    raise UsageError(
        f"{folder} was compiled by attnfuse already; its source was {origin}: name that. What was decided is told by "
        f"attnfuse explain {folder}, and attnfuse verify {folder} checks it."
    )


def is_output(folder: Path) -> bool:
    """Whether attnfuse wrote this folder."""
    return _manifest(folder / MANIFEST) is not None


def _manifest(path: Path) -> Manifest | None:
    """A manifest of attnfuse's; None where there is none, or none that this version reads."""
    try:
        return Manifest.model_validate_json(documents.read_bytes(path))
    except (OSError, ValidationError):
        return None


def already_written(graph: Path, data: bytes) -> bool:
    """Whether attnfuse wrote this graph file, by the manifest of the folder or beside the file."""
    for path in (graph.with_name(MANIFEST), graph.with_name(f"{graph.stem}.{MANIFEST}")):
        manifest = _manifest(path)
        known = None if manifest is None else manifest.outputs.get(graph.name)
        if known is not None and known.sha256 == hashlib.sha256(data).hexdigest():
            return True
    return False


def check_variant(variant: str, folder: Path, planned: Planned) -> None:
    """Raise UsageError where no part that is compiled has weights of that variant."""
    folders = [plan for plan in planned.plans if plan.checkpoint is None]
    if not any(is_of_variant(plan.folder, plan.library, variant) for plan in folders):
        names = ", ".join(dict.fromkeys(plan.model for plan in planned.plans))
        raise UsageError(f"{folder} has no weights of variant {variant!r} for {names}; drop --variant.")


def is_graph(path: Path) -> bool:
    """Whether SOURCE is to be read as a traced graph. SourceError where the system does not let it be looked at."""
    try:
        if path.is_dir():
            os.scandir(path).close()  # a folder that may not be listed
        return path.is_file() or path.suffix == SUFFIX
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
