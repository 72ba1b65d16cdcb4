"""Nothing that is read can run code or lead elsewhere: no pickles, one way to the network, digests of all that is
written, and names in documents that stay in the document's own folder."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from attnfuse import cli, pass_manager
from attnfuse.errors import OutputError, SourceError
from attnfuse.output import FileDigest, OutputPlace, OutputStage
from attnfuse.pictures import align
from attnfuse.standing import read_standing
from attnfuse.tracing.checkpoint import find_files
from attnfuse.tracing.contract import Fetch
from attnfuse.tracing.folder import read_pipeline
from attnfuse.tracing.source import resolve
from attnfuse.verify import check_certificate
from attnfuse.verify.result import SCHEMA
from attnfuse_runtime.errors import FolderError
from attnfuse_runtime.manifest import read_manifest
from tests.support.compiled import toy
from tests.support.split import write_split
from tests.support.toy_pass import ToyPass
from tools.fuzz.watching import WATCH

ROOT = Path(__file__).resolve().parents[2]
PICKLES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch", "pickletools"}
NETWORK = {
    *("ssl", "urllib", "http", "ftplib", "smtplib", "telnetlib", "xmlrpc", "asyncio"),
    *("requests", "httpx", "aiohttp", "urllib3", "fsspec", "s3fs", "boto3"),
}
"""What fetches something. (The name of this machine is asked of `socket`.)"""
SHIPPED = ("attnfuse", "passes", "runtime")


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Every module that is installed, by its path."""
    paths = [path for folder in SHIPPED for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Trees of all sources take memory that the tests behind these are measured with."""
    yield
    sources.cache_clear()


def imported(tree: ast.Module) -> Iterator[str]:
    """The packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    """The calls of functions, or methods, of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in names:
                yield node


def test_no_module_imports_what_unpickles() -> None:
    found = {path: PICKLES.intersection(imported(tree)) for path, tree in sources()}
    assert len(found) > 300
    assert {path: names for path, names in found.items() if names} == {}


def test_arrays_are_never_unpickled() -> None:
    """numpy's readers are told so each time: which way is the default has changed before."""
    loads = [(path, call) for path, tree in sources() for call in calls(tree, "load", "read_array", "fromfile")]
    of_numpy = [(path, call) for path, call in loads if _is_numpys(call)]
    assert {path for path, _ in of_numpy} >= {"attnfuse/pictures/align.py", "attnfuse/verify/numbers/data.py"}
    for path, call in of_numpy:
        said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        assert said.get("allow_pickle") is False, path


def _is_numpys(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in ("np", "numpy", "npy")


def test_there_is_one_way_to_the_network() -> None:
    """The hub's client, which checks what it fetches against the commit's own digests. Only a cache that is named by a
    URL goes elsewhere, whose entries are held to their own digests (`attnfuse.store.entries`)."""
    found = {path: NETWORK.intersection(imported(tree)) for path, tree in sources()}
    cache = {"attnfuse/store/places.py": {"urllib"}, "attnfuse/store/remote.py": {"fsspec"}}
    assert {path: names for path, names in found.items() if names} == cache
    clients = [path for path, tree in sources() if "huggingface_hub" in set(imported(tree))]
    assert clients == ["attnfuse/tracing/source.py"]


def test_no_shell_reads_what_others_wrote() -> None:
    for path, tree in sources():
        assert not any(keyword.arg == "shell" for call in calls(tree, "run", "Popen") for keyword in call.keywords), (
            path
        )
        assert not list(calls(tree, "system", "popen", "mktemp")), path


def test_the_manifest_has_the_digest_of_every_file(tmp_path: Path) -> None:
    out = toy(tmp_path)
    document = json.loads((out / "manifest.json").read_bytes())
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written - document["outputs"].keys() == {"manifest.json", "report.json", "report.html"}
    for name, entry in document["outputs"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"]


OUTSIDE = ("../secret", "sub/../../secret", "/etc/hostname", "..", "", ".", "x\0y")
"""Names that are of no file of a folder."""


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file beside the folders of a test, which nothing opens."""
    path = tmp_path / "secret"
    path.write_bytes(b"{}")
    WATCH.begin((str(path), "/etc/hostname"))
    yield path
    assert WATCH.end() == ""


def edited(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def _named(field: str, name: str) -> Callable[[Any], object]:
    """A manifest that has that name there."""
    digest = {"sha256": hashlib.sha256(b"{}").hexdigest(), "bytes": 2}

    def change(document: Any) -> None:
        if field == "outputs":
            document["outputs"][name] = digest
        elif field == "files":
            document["pipeline"] = {"files": [name]}
        else:
            document["components"][0][field] = [name] if field == "variables" else name

    return change


@pytest.mark.parametrize("field", ["graph", "variables", "config", "outputs", "files", "name"])
def test_names_in_a_manifest(tmp_path: Path, field: str, secret: Path) -> None:
    """Neither the engine, which takes files over and writes them again, nor the runtime, which runs them."""
    out = toy(tmp_path)
    sound = (out / "manifest.json").read_bytes()
    for name in OUTSIDE:
        (out / "manifest.json").write_bytes(sound)
        edited(out / "manifest.json", _named(field, name))
        with pytest.raises(OutputError, match=r"its manifest\.json is damaged"):
            read_standing(OutputPlace(out, is_file=False), ["other"])
        if field != "name":  # the runtime makes no path of it
            with pytest.raises(FolderError, match=r"names '.*', which is no file of its folder"):
                read_manifest(out)


def test_names_in_an_index_of_shards(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()
    for name in OUTSIDE:
        index = {"weight_map": {"a": name}}
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(
            SourceError, match=r"names shard .*, which (is not a file of its own folder|does not exist)"
        ):
            find_files(folder, "diffusers")


def test_names_in_a_certificate(tmp_path: Path, secret: Path) -> None:
    part = {"name": "unet", "passed": True, "original": [{"name": "a", "sha256": "0" * 64}]}
    for name in OUTSIDE:
        document = {"schema": SCHEMA, "components": [{**part, "fused": [{"name": name, "sha256": "0" * 64}]}]}
        (tmp_path / "verification.json").write_text(json.dumps(document))
        with pytest.raises(SourceError, match=r"is no path below the graph's folder"):
            check_certificate(tmp_path / "verification.json")


def test_names_of_parts_of_a_pipeline(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "pipe"
    folder.mkdir()
    for name in (*OUTSIDE[:5], OUTSIDE[-1]):
        document = {"_class_name": "StableDiffusionPipeline", name: ["diffusers", "UNet2DConditionModel"]}
        (folder / "model_index.json").write_text(json.dumps(document))
        with pytest.raises(SourceError, match="no folder beside it can be called that"):
            read_pipeline(folder)


def test_names_of_subfolders(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "pipe").mkdir()
    for name in ("..", "../pipe", "/etc"):
        with pytest.raises(SourceError, match="would lie outside of"):
            resolve(str(tmp_path / "pipe"), fetch=Fetch(subfolder=name))


def test_names_in_the_index_of_golden_runs(tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = toy(tmp_path)
    (out / "golden").mkdir()
    for name in ("../secret", "/etc/hostname", "../../secret"):
        run: dict[str, Any] = {
            "component": "toy",
            "file": name,
            "sha256": hashlib.sha256(b"{}").hexdigest(),
            "outputs": {},
        }
        (out / "golden" / align.INDEX).write_text(json.dumps({"schema": align.SCHEMA, "runs": [run]}))
        assert align.main(["--folder", str(out), "--backend", "cpu"]) == 3
        assert "which is no file of its folder" in capsys.readouterr().err


def test_nothing_is_written_outside_of_an_output(tmp_path: Path, secret: Path) -> None:
    """Whatever a name is made of: the last that looks is what writes."""
    with OutputStage(OutputPlace(tmp_path / "out", is_file=False)) as stage:
        before = sorted(tmp_path.rglob("*"))
        for name in OUTSIDE:
            with pytest.raises(OutputError, match="would lie outside of"):
                stage.write(name, [b"x"])
            with pytest.raises(OutputError, match="would lie outside of"):
                stage.adopt(name, tmp_path / "other", FileDigest("", 0))
        assert sorted(tmp_path.rglob("*")) == before


def test_no_link_in_an_output_is_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output is replaced as a whole; what a link in the old one led to stays what it was."""
    monkeypatch.setattr(pass_manager, "discover", lambda: (ToyPass(),))
    source = write_split(tmp_path / "in")
    compile_ = ["compile", str(source), "-o", str(tmp_path / "out"), "--progress", "never"]
    assert cli.run(compile_) == 0
    led_to = tmp_path / "elsewhere"
    for name in ("report.json", "unet_graph.mindir", "manifest.json"):
        led_to.write_bytes((tmp_path / "out" / name).read_bytes())
        (tmp_path / "out" / name).unlink()
        (tmp_path / "out" / name).symlink_to(led_to)
        held = led_to.read_bytes()
        assert cli.run([*compile_, "--no-flash", "*"]) == 0
        assert led_to.read_bytes() == held
        assert not (tmp_path / "out" / name).is_symlink()
