"""What fuzzing found, each once: a sentence where there was a traceback (docs/fuzzing.md)."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attnfuse import cli, original_names, output, pass_manager
from attnfuse.cache.digests import KnownDigests
from attnfuse.cache.traces import TraceKey, Traces
from attnfuse.cli.pictures import devices_of
from attnfuse.component import Component
from attnfuse.errors import OutputError, SourceError, TraceError, UsageError
from attnfuse.ir.types import TensorType
from attnfuse.live.plans import plan_live
from attnfuse.lora.inversion import GivenInversion, read_inversions, with_tokens
from attnfuse.lora.layers import read_layers
from attnfuse.mindir import codec
from attnfuse.mindir.dtypes import FLOAT16, INT32
from attnfuse.mindir.edits import edited_weight
from attnfuse.mindir.foreign import what_lies_there
from attnfuse.mindir.tensorfile import TensorFile
from attnfuse.output import OutputPlace, OutputStage
from attnfuse.output_verification import read_written
from attnfuse.pictures.running import makes_films
from attnfuse.policy import Policy
from attnfuse.report.require import parse_requirement
from attnfuse.rewriting import rewrite
from attnfuse.source_files import is_output
from attnfuse.standing import read_standing
from attnfuse.store.entries import key_of
from attnfuse.store.kinds import Kind
from attnfuse.store.store import Store
from attnfuse.targets import RUNTIMES, Target
from attnfuse.targets.limits import _is_too_old
from attnfuse.tracing.checkpoint import is_gguf
from attnfuse.tracing.config_check import check_config
from attnfuse.tracing.contract import ComponentPlan, ShapeOptions
from attnfuse.tracing.specs.pictures.stable_diffusion import residual_shapes
from attnfuse.tracing.tokenizer_files import NotMadeError, make_tokenizer
from attnfuse.verify.numbers.data import check_readable
from attnfuse_runtime import schedulers
from attnfuse_runtime.errors import AttnfuseRuntimeError, FolderError, InputError, PipelineError, SchedulerError
from attnfuse_runtime.files import read_vae
from attnfuse_runtime.rows import run_rows
from attnfuse_runtime.tokenizer import Tokenizer
from tests.live.test_plans import UNet2DConditionModel
from tests.lora.test_layers import pair
from tests.support.by_hand import in_place
from tests.support.graphs import GraphBuilder
from tests.support.loop_models import TOKENS, changed, components, loop, write_pipeline
from tests.support.lora_files import write
from tests.support.sites import Site
from tools.fuzz.kinds.pipeline import TOKENIZER
from tools.fuzz.tensor_files import tensor_file

_WORD = "n" * 1001
_TOO_LONG = "has 1001 characters, and 1000"
_EULER = {"_class_name": "EulerDiscreteScheduler"}
_FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


@pytest.mark.parametrize(
    "config",
    [
        {**_EULER, "beta_start": -1.0},
        {**_EULER, "beta_end": 1.0},
        {**_EULER, "beta_end": float("inf")},
        {**_EULER, "beta_end": 10**400},
        {**_EULER, "num_train_timesteps": 10**12},
        {**_EULER, "steps_offset": 10**30},
        {**_EULER, "num_train_timesteps": 2, "trained_betas": [0.5, -3.0]},
        {**_EULER, "use_karras_sigmas": True, "sigma_min": -1.0},
        {**_EULER, "use_exponential_sigmas": True, "sigma_min": 0.0},
        {**_FLOW, "use_dynamic_shifting": True, "base_image_seq_len": 4096},
    ],
)
def test_schedulers_of_no_noise_levels(config: dict[str, Any]) -> None:
    with pytest.raises(SchedulerError, match=r"^[^\n]*\.$"):
        _begun(config)


def test_roots_of_numbers_below_0() -> None:
    config = {"_class_name": "EulerAncestralDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.5}
    made = schedulers.from_config({**config, "beta_schedule": "scaled_linear", "timestep_spacing": "trailing"})
    made.set_timesteps(3)
    sample = np.ones((1, 2), np.float32)

    def steps() -> None:
        for timestep in made.timesteps:
            made.step(sample, timestep, sample)

    with pytest.raises(SchedulerError, match=r"gives no noise levels .*the root of a number below 0"):
        steps()


def _begun(config: dict[str, Any]) -> None:
    made = schedulers.from_config(config)
    made.set_timesteps(2, mu=made.mu(64) if isinstance(made, schedulers.FlowMatchEulerDiscreteScheduler) else None)


@pytest.mark.parametrize(
    "values",
    [
        {"scaling_factor": "x"},
        {"scaling_factor": 0},
        {"scaling_factor": 1e-300},
        {"shift_factor": float("inf")},
        {"block_out_channels": 3},
        {"block_out_channels": []},
        {"latents_mean": [1, "x"]},
    ],
)
def test_a_vae_of_no_numbers(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(FolderError, match=rf"{next(iter(values))} is"):
        read_vae(tmp_path / "config.json")


def test_a_vae_whose_configuration_leaves_things_open(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"scaling_factor": 0.5, "shift_factor": null}')
    assert read_vae(path) == {"scaling_factor": 0.5}
    path.write_text('{"scaling_factor": null}')
    with pytest.raises(FolderError, match="scaling_factor is no number"):
        read_vae(path)


def test_tokens_that_are_no_text_and_texts_without_room(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    folder = tmp_path / "tokenizer"
    with pytest.raises(InputError, match="has no room for words"):
        Tokenizer.from_folder(folder).chunks(["a"], 2)
    with pytest.raises(InputError, match="longer than any graph takes"):
        Tokenizer.from_folder(folder).chunks(["a"], 10**30)
    for length in (0, -1, "77"):
        changed(folder / "tokenizer_config.json", model_max_length=length)
        with pytest.raises(FolderError, match="how long one is"):
            Tokenizer.from_folder(folder)
    changed(folder / "tokenizer_config.json", model_max_length=TOKENS)
    changed(folder / "special_tokens_map.json", pad_token="\ud800")
    with pytest.raises(FolderError, match="which token pads a text"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("name", "field", "rank"),
    [("vae_decoder", "inputs", 2), ("vae_decoder", "outputs", 2), ("text_encoder", "inputs", 1)],
)
def test_graphs_of_other_inputs(name: str, field: str, rank: int, tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    graphs = components()
    (first, *others) = getattr(graphs[name], field)
    other = replace(first, shape=first.shape[:rank])
    given: dict[str, Any] = {field: (other, *others)}
    graphs[name] = replace(graphs[name], **given)
    with pytest.raises(AttnfuseRuntimeError, match=rf"the graph {name} .*; compile it for this pipeline\.$"):
        loop(tmp_path, graphs)


_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ('x',), }",
)


@pytest.mark.parametrize("header", _HEADERS)
def test_headers_of_arrays(header: str, tmp_path: Path) -> None:
    text = header.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(24))
    with pytest.raises(SourceError, match="x is no array of numpy"):
        check_readable([tmp_path / "a.npz"])


def test_archives_of_another_version(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    data = (tmp_path / "a.npz").read_bytes()
    at = data.index(b"PK\x01\x02")
    (tmp_path / "a.npz").write_bytes(data[: at + 6] + b"\x53\0" + data[at + 8 :])
    with pytest.raises(SourceError, match=r"is no \.npz file"):
        check_readable([tmp_path / "a.npz"])


def _vocabulary(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tokens = json.loads((folder / "vocab.json").read_bytes()) | changes
        (folder / "vocab.json").write_text(json.dumps(tokens))

    return change


def _added(folder: Path) -> None:
    changed(folder / "tokenizer_config.json", added_tokens_decoder={"15": {"content": "\ud800"}})


def _long(name: str, **content: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**(json.loads(path.read_bytes()) if path.exists() else {}), **content}))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_vocabulary(ab=99), "has no token of number 14"),
        (_added, "surrogates not allowed"),
        (
            _long("tokenizer_config.json", added_tokens_decoder={"15": {"content": _WORD}}),
            _TOO_LONG,
        ),
        (_long("tokenizer_config.json", pad_token=_WORD), _TOO_LONG),
        (_long("special_tokens_map.json", additional_special_tokens=["a", _WORD]), _TOO_LONG),
    ],
)
def test_tokenizers(
    change: Callable[[Path], None], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, content in TOKENIZER.items():
        (tmp_path / name).write_bytes(content)
    assert make_tokenizer(tmp_path, "CLIPTokenizer")
    change(tmp_path)
    with pytest.raises(NotMadeError, match=said):
        make_tokenizer(tmp_path, "CLIPTokenizer")
    assert capfd.readouterr().out == ""


def test_a_header_of_no_places(tmp_path: Path) -> None:
    text = b'{"x": {"dtype": "F16", "shape": [], "data_offsets": [0, 1e999]}}'
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(SourceError, match="is not a safetensors file or is truncated"):
        TensorFile(tmp_path / "model.safetensors")


def test_a_pipe_beside_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    assert not is_gguf(tmp_path / "model.gguf")


def test_tokens_whose_numbers_are_none(tmp_path: Path) -> None:
    (tmp_path / "cat.safetensors").write_bytes(tensor_file({"emb_params": ("F32", (1, 6))}))
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text('{"vocab_size": 2}')
    (found,) = read_inversions([GivenInversion(tmp_path / "cat.safetensors")], ["text_encoder"])
    numbers: tuple[Any, ...] = ({}, "1", None)
    for number in numbers:
        tokenizer = {"model": {"vocab": {"a": number}}, "added_tokens": []}
        with pytest.raises(SourceError, match="has no vocabulary that tokens can be added to"):
            with_tokens({"tokenizer/tokenizer.json": json.dumps(tokenizer).encode()}, [found], tmp_path)


@pytest.mark.parametrize("content", [b"null", b"[]", b"{}", b'{"sha256": 1, "file": []}', b"\xff", b"[" * 100_000])
def test_entries_of_a_cache(content: bytes, tmp_path: Path) -> None:
    """Their checksum agrees: they are of another form, or somebody wrote them."""
    store = Store(tmp_path / "cache")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "model").mkdir()
    known = KnownDigests(store)
    store.put(Kind.TRACES, key_of("a"), content)
    state = output.identity((tmp_path / "file").stat())
    store.put(Kind.DIGESTS, key_of(f"{state.device} {state.inode}"), content)
    assert known.of(tmp_path / "file").sha256 == key_of(b"x")
    plan = ComponentPlan(
        *("unet", "unet", "UNet2DConditionModel", "diffusers", tmp_path / "model", None, "float16", ()),
        patches=(),
        package="",
        variant="",
        checkpoint=None,
        processors=(),
        ip_adapter=None,
        fixed=(),
    )
    assert Traces(store, known).load(TraceKey(key_of("a"), (), {}), plan, tmp_path) is None


def test_a_live_configuration_that_is_no_table(tmp_path: Path) -> None:
    class StableDiffusionPipeline:
        def __init__(self) -> None:
            self.components = {"unet": UNet2DConditionModel([], "Float16")}  # type: ignore[arg-type]

    with pytest.raises(TraceError, match="the configuration of unet is no table, but a list"):
        plan_live(StableDiffusionPipeline(), tmp_path, ShapeOptions(), (), None)


def test_an_output_that_is_in_place_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its folder's entry outlives a power cut is not known then; that it was not written would be wrong."""
    with OutputStage(OutputPlace(tmp_path / "out", is_file=False)) as stage:
        stage.write("a", [b"x"])
        sync = output._sync

        def failing(folder: Path) -> None:
            if folder == tmp_path:
                raise OSError("the disk failed")
            sync(folder)

        monkeypatch.setattr(output, "_sync", failing)
        stage.publish()
    assert (tmp_path / "out" / "a").read_bytes() == b"x"


def test_a_run_that_cannot_begin_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one in this process clears up after it."""
    place = OutputPlace(tmp_path / "out", is_file=False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", _refused)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(OutputError, match="cannot be written"):
            OutputStage(place)
    assert len(list(tmp_path.iterdir())) == 1
    with OutputStage(place):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def _refused(*_: object, **__: object) -> None:
    raise OSError("no quota")


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(OutputError, match=r"its manifest\.json cannot be read"):
        read_standing(OutputPlace(tmp_path, is_file=False), [])


_DIGITS = "9" * 5_000
"""More than Python makes a number of."""


def test_numbers_in_names_that_are_none(tmp_path: Path) -> None:
    """Versions, sizes, places of layers: text of anybody, of which numbers are read."""
    (tmp_path / "x").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize {_DIGITS}\n")
    assert what_lies_there(tmp_path / "x") == (
        "is a Git LFS pointer to a file, and not that file: run git lfs pull where it was cloned"
    )
    tensors = pair(f"lora_te_text_model_encoder_layers_{_DIGITS}_mlp_fc1", "lora_up.weight", "lora_down.weight")
    (layer,) = read_layers(TensorFile(write(tmp_path / "l.safetensors", tensors)), ("unet", "text_encoder"))
    assert layer.module.endswith("mlp_fc1")
    assert list(original_names.unet(f"input_blocks.{_DIGITS}.0.norm", "weight", {})) == []
    assert edited_weight(f"x__pad_{_DIGITS}_0_0", ("x",)) is None
    for version in (f"{_DIGITS}.0.0", f"0.{_DIGITS}"):
        assert "written by diffusers" in check_config(
            "AutoencoderKL", "diffusers", {"x": 1, "_diffusers_version": version}
        )
        assert isinstance(_is_too_old(version), bool)


@pytest.mark.parametrize("text", [f"fused>={_DIGITS}", "fused>=²"])
def test_requirements_of_no_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form COUNT==COUNT"):
        parse_requirement(text)


@pytest.mark.parametrize(
    "words",
    [
        ("components", "x", "--sequence-length", _DIGITS),
        ("compile", "x", "--size", f"{_DIGITS}x8"),
        ("compile", "x", "--size", f"batch={_DIGITS}"),
        ("run", ".", "--prompt", "a cat", "--size", f"8x{_DIGITS}"),
    ],
)
def test_options_of_no_numbers(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words) == 2
    assert _DIGITS in capsys.readouterr().err


def test_devices_of_no_numbers() -> None:
    with pytest.raises(UsageError, match="--device"):
        devices_of((_DIGITS,), "lite")


def test_a_pipe_in_an_output_is_not_waited_for(tmp_path: Path) -> None:
    """In place of a graph that a certificate is of, or of the manifest."""
    os.mkfifo(tmp_path / "manifest.json")
    assert not is_output(tmp_path)
    with pytest.raises(UsageError, match="was not written by attnfuse"):
        output.place(tmp_path, [])
    with pytest.raises(SourceError, match="cannot be read: it is not a regular file"):
        read_written(tmp_path)
    with pytest.raises(OSError, match="not a regular file"):
        output.digest(tmp_path / "manifest.json")


def test_a_manifest_that_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="was not written by attnfuse"):
        output.place(tmp_path, [])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_masks_that_are_added_in_place(runtime: str) -> None:
    """What is read of memory that was changed is the graph's own, and may be changed again."""

    def scores(g: GraphBuilder, s: str) -> str:
        for name in ("first", "second"):
            s = in_place(g, s, g.input(name, (2, 1, 1, 5), FLOAT16))
        return s

    data = codec.serialise(Site(scores=scores).proto())
    component = Component(name="unet", owner="unet", where="it", data=data, graph_name="it.mindir")
    rewritten, _ = rewrite(component, Policy(), Target(runtime, "ascend910b"), pass_manager.discover())
    assert [site.status for site in rewritten.sites] == ["fused"]


def test_axes_that_are_computed_and_are_none_of_the_tensor() -> None:
    """What shows when a constant stands for Arange is the source's own contradiction."""
    g = GraphBuilder()
    axes = g.node("Arange", [g.constant(one) for one in (1, 6, 2, 34)], TensorType((3,), INT32))
    g.output(g.node("Transpose", [g.input("x", (3,), INT32), axes], TensorType((3,), INT32)))
    data = codec.serialise(g.build())
    component = Component(name="unet", owner="unet", where="it", data=data, graph_name="it.mindir")
    with pytest.raises(SourceError, match=r"^it contradicts itself: Transpose .* permutes 1 axes by \[1, 3, 5\]\. Exp"):
        rewrite(component, Policy(), Target("lite", "ascend910b"), pass_manager.discover())


def test_a_graph_that_gives_no_rows() -> None:
    made: Any = lambda **given: {"sample": np.ones(())}  # noqa: E731  # with attributes
    made.component = components()["unet"]
    with pytest.raises(PipelineError, match=r"the graph unet gives sample without rows, one number; compile .*\.$"):
        run_rows(made, {made.component.inputs[0].name: np.ones(made.component.inputs[0].shape)})


def test_a_graph_that_gives_something_else() -> None:
    made: Any = lambda **given: {"logits": np.ones((2, 1))}  # noqa: E731  # with attributes
    made.component = components()["unet"]
    found = run_rows(made, {made.component.inputs[0].name: np.ones(made.component.inputs[0].shape)})
    with pytest.raises(PipelineError, match=r"the graph unet gives no sample, but logits; compile it"):
        found["sample"]


def test_a_graph_of_more_rows_than_memory_has() -> None:
    made: Any = lambda **given: {}  # noqa: E731  # with attributes
    unet = components()["unet"]
    (first, *others) = unet.inputs
    many = replace(first, shape=(2**31 - 1, *first.shape[1:]))
    made.component = replace(unet, inputs=(many, *others))
    with pytest.raises(PipelineError, match=r"the graph unet takes 2147483647 rows at once, by its manifest"):
        run_rows(made, {first.name: np.ones(first.shape)})


def test_a_pipeline_whose_class_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": ["WanPipeline"]}')
    assert not makes_films(tmp_path)


def test_more_layers_than_any_model_has() -> None:
    numbers = {"block_out_channels": [4, 4], "layers_per_block": [2**63]}
    context: Any = SimpleNamespace(
        numbers=numbers.get, option=numbers.get, sizes={"latent_height": 8, "latent_width": 8, "rows": 2}
    )
    assert len(residual_shapes(context)) == 2 * 1_000 + 2
