"""Turns what the user names as SOURCE into a local pipeline folder: a folder, a hub id or a demo.

Imports `contract`, `demo` and `folder` of this package, `attnfuse.errors`, `attnfuse.names` and, only for a hub id,
huggingface_hub.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from attnfuse.errors import SourceError, UsageError
from attnfuse.names import shortened, suggestion
from attnfuse.tracing.contract import NOTHING_NAMED, Fetch
from attnfuse.tracing.demo import DEMO_VERSION, write_demo
from attnfuse.tracing.folder import VAE

_DEMOS: Mapping[str, tuple[int, Callable[[Path], None]]] = {"stable-diffusion": (DEMO_VERSION, write_demo)}

_KEPT_DEMO = re.compile(r"demo-(.+)-v[0-9]+")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

#: What a pipeline is made of. Repositories hold every checkpoint in several types and formats, and single-file ones
#: at their root: tens of GB that nobody reads. (A `*` of these patterns matches slashes too.)
_HUB_CONFIGS = ["*.json"]
_HUB_FILES = [
    *_HUB_CONFIGS,
    "*.txt",
    "*model.safetensors",
    "*model-*-of-*.safetensors",
    # Tokenizers: sentencepiece's, and templates of conversations.
    "*spiece.model",
    "*sentencepiece.bpe.model",
    "*tokenizer.model",
    "*.jinja",
]
_HUB_IGNORED = ["safety_checker/*", "*onnx*", "*openvino*", "*flax*"]


def resolve(source: str, *, weights: bool = True, fetch: Fetch = NOTHING_NAMED, unread: Collection[str] = ()) -> Path:
    """Return the local folder of `source`: itself, a hub repository's snapshot, or a demo written to the cache; or the
    folder in that which `fetch` names.

    Without `weights` only the configurations are fetched from a hub; of the parts `unread`, these alone. Who may read
    there is for the hub's client to know (HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE): a token is not looked at
    here.

    A hub id has the form "organisation/name", as `DiffusionPipeline.from_pretrained` takes it; a local folder of
    that path comes first. `demo:stable-diffusion` is written on first use. Raises SourceError.
    """
    folder = _resolved(source, weights=weights, fetch=fetch, unread=unread)
    if not fetch.subfolder:
        return folder
    inner = folder / fetch.subfolder
    if Path(fetch.subfolder).is_absolute() or ".." in Path(fetch.subfolder).parts:
        raise SourceError(f"the folder {fetch.subfolder!r} would lie outside of {source}.")
    if not inner.is_dir():
        raise SourceError(f"{source} has no folder {fetch.subfolder!r}.")
    return inner


def resolve_vae(source: str, *, weights: bool = True, offline: bool = False) -> Path:
    """The local folder of a VAE: of that model, or of the pipeline whose VAE it is. Raises as `resolve`."""
    folder = resolve(source, weights=False, fetch=Fetch(offline=offline))
    inner = VAE if (folder / "model_index.json").is_file() else ""
    return resolve(source, weights=weights, fetch=Fetch(subfolder=inner, offline=offline))


def fetch_files(repository: str, patterns: list[str], *, offline: bool = False) -> Path:
    """The snapshot of a hub's repository with its files of these patterns. Raises SourceError."""
    return _download(repository, patterns, Fetch(offline=offline), ())


def _resolved(source: str, *, weights: bool, fetch: Fetch, unread: Collection[str]) -> Path:
    if source.startswith("demo:"):
        return _demo(source.removeprefix("demo:"))
    path = Path(source)
    if source and path.exists():  # Path("") is the current folder
        if not path.is_dir():
            raise SourceError(f"{source} is a file, not a pipeline folder.")
        if path.name.startswith("models--") and (path / "snapshots").is_dir():
            return _snapshot(path, fetch.revision)
        if fetch.revision is not None:
            raise UsageError(f"{source} is a local folder, which has no revisions; drop --revision.")
        return path
    if _HUB_ID.fullmatch(source):
        return _download(source, _HUB_FILES if weights else _HUB_CONFIGS, fetch, unread)
    raise SourceError(f"{source!r} does not exist, and is not a hub id of the form organisation/name.")


def _snapshot(repository: Path, revision: str | None) -> Path:
    """The files of a hub repository's folder in the cache: of the revision, or of the one that there is.

    Layout: huggingface_hub, "Understand caching": refs/BRANCH holds a commit, snapshots/COMMIT its files.
    """
    held = sorted(path.name for path in (repository / "snapshots").iterdir() if path.is_dir())
    name = revision or "main"
    ref = repository / "refs" / name
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else name
    if commit not in held and revision is None and len(held) == 1:
        commit = held[0]
    if commit not in held:
        has = f"of {', '.join(held)}" if held else "of none"
        raise SourceError(f"{repository} has files {has}, and not of revision {name}; name one with --revision.")
    return repository / "snapshots" / commit


def origin(folder: Path) -> tuple[str | None, str | None]:
    """Where a folder that `resolve` gave came from, `organisation/name` or `demo:NAME`, and the commit of a hub's.

    Told by where it lies: `models--organisation--name/snapshots/COMMIT` in a hub cache (or the VAE in that), and
    attnfuse's own cache.
    """
    found = folder.resolve()
    if found.name == VAE and found.parent.parent.name == "snapshots":  # that of a pipeline
        found = found.parent
    repository, kept = found.parents[1] if len(found.parents) > 1 else found, _KEPT_DEMO.fullmatch(found.name)
    if found.parent.name == "snapshots" and repository.name.startswith("models--"):
        return repository.name.removeprefix("models--").replace("--", "/", 1), found.name
    if kept is not None and found.parent == cache_folder().resolve():
        return f"demo:{kept[1]}", None
    return None, None


def cache_folder() -> Path:
    """Return attnfuse's cache folder: $XDG_CACHE_HOME/attnfuse, or ~/.cache/attnfuse."""
    # The XDG base directory specification has relative values ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "attnfuse"


def _demo(name: str) -> Path:
    if name not in _DEMOS:
        raise SourceError(f"unknown demo {name!r}; {suggestion(name, _DEMOS)}")
    version, write = _DEMOS[name]
    final = cache_folder() / f"demo-{name}-v{version}"
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        try:
            write(temporary)
            temporary.chmod(0o755)
            try:
                temporary.rename(final)
            except OSError:
                if not final.is_dir():  # else another process was first, with the same bytes
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise SourceError(f"the demo cannot be written to {final}: {error.strerror}.") from None
    return final


def _download(repository: str, patterns: list[str], fetch: Fetch, unread: Collection[str]) -> Path:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise SourceError(
            f"{repository} is not a local folder, and fetching it from the hub needs huggingface_hub:"
            " install attnfuse[trace]."
        ) from None
    try:
        if fetch.variant and not fetch.offline and patterns is _HUB_FILES and not _is_offline():
            listed = huggingface_hub.HfApi().repo_info(repository, revision=fetch.revision).siblings or []
            files = [one.rfilename for one in listed]
            patterns = [glob.escape(name) for name in _of_variant(files, fetch.variant)]
        if fetch.subfolder:
            inner = fetch.subfolder.strip("/")
            patterns = [pattern if pattern.startswith(f"{inner}/") else f"{inner}/{pattern}" for pattern in patterns]
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=fetch.revision,
                local_files_only=fetch.offline,
                allow_patterns=patterns,
                ignore_patterns=[*_HUB_IGNORED, *(f"{part}/*.safetensors" for part in sorted(unread))],
            )
        )
    except Exception as error:  # the hub client raises requests', urllib3's, its own and OS errors
        reason = " ".join(str(error).split()) or type(error).__name__
        token = os.environ.get("HF_TOKEN", "")
        reason = reason.replace(token, "…") if token else reason
        raise SourceError(
            f"{repository} is not a local folder, and could not be fetched from the hub: {shortened(reason, 200)}"
        ) from None


def _is_offline() -> bool:
    """Whether the hub's client was told not to use the network, by its variable of the environment."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _of_variant(files: Sequence[str], variant: str) -> list[str]:
    """What is fetched of a repository's files: of weights that come in the variant too, only that."""
    wanted = [name for name in files if any(fnmatch.fnmatchcase(name, pattern) for pattern in _HUB_FILES)]
    whole = re.compile(rf"(.*model)\.{re.escape(variant)}(-\d+-of-\d+)?\.safetensors")
    chosen = {name: found[1] for name in files if (found := whole.fullmatch(name))}
    stems = set(chosen.values())
    plain = re.compile(r"(.*model)(-\d+-of-\d+)?\.safetensors")
    kept = [name for name in wanted if not ((found := plain.fullmatch(name)) and found[1] in stems)]
    return [*kept, *chosen]
