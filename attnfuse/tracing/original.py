"""Single files of weights under the names that models were first published with: what of each part is in one.

Which part a tensor is of is told by how its name begins (mindone's `loaders/single_file_utils.py`, ComfyUI's files);
what it is called in diffusers by `attnfuse.original_names`. Reads headers only: what is a part of a tensor is cut out
when its values are streamed.

Imports `checkpoint`, `contract`, `folder` and `quantisation` of this package, `attnfuse.errors`, `attnfuse.names` and
`attnfuse.original_names`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from attnfuse import original_names
from attnfuse.errors import SourceError
from attnfuse.mindir.taken import Taken
from attnfuse.names import some
from attnfuse.original_names import BARE, OF_DENOISER, Piece
from attnfuse.tracing.checkpoint import StoredTensor, find_files, read_tensors
from attnfuse.tracing.contract import ComponentPlan
from attnfuse.tracing.folder import Config, PipelineFolder, read_json
from attnfuse.tracing.quantisation import quantised_tensors

Names = Callable[[str, str, Config], Iterator[Piece]]
"""What a class calls in diffusers what a file calls so: by module, leaf and the model's config.json."""


def _as_published(module: str, leaf: str, _config: Config) -> Iterator[Piece]:
    """Names of transformers, which single files have too."""
    yield Piece(module, leaf)


def _open_clip(module: str, leaf: str, _config: Config) -> Iterator[Piece]:
    return original_names.open_clip(f"{module}.{leaf}" if module else leaf)


_CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")


@dataclass(frozen=True, slots=True, eq=False)
class _Naming:
    """Names that begin with `prefix`: of the first of these `models` that a pipeline has, of one of these classes."""

    prefix: str
    models: tuple[str, ...]
    names: Mapping[str, Names]


_DENOISERS = original_names.ORIGINALS
_VAES: Mapping[str, Names] = {"AutoencoderKL": original_names.vae}
_TEXTS: Mapping[str, Names] = dict.fromkeys(_CLIP, _as_published)
_OPEN_TEXTS: Mapping[str, Names] = dict.fromkeys(_CLIP, _open_clip)

_NAMINGS = (
    _Naming(OF_DENOISER, ("unet", "transformer"), _DENOISERS),
    _Naming("first_stage_model.", ("vae",), _VAES),
    _Naming("vae.", ("vae",), _VAES),
    _Naming("cond_stage_model.transformer.", ("text_encoder",), _TEXTS),
    _Naming("cond_stage_model.model.", ("text_encoder",), _OPEN_TEXTS),
    _Naming("conditioner.embedders.0.transformer.", ("text_encoder",), _TEXTS),
    _Naming("conditioner.embedders.1.model.", ("text_encoder_2",), _OPEN_TEXTS),
    _Naming("conditioner.embedders.0.model.", ("text_encoder_2",), _OPEN_TEXTS),  # XL's refiner
    _Naming("text_encoders.clip_l.transformer.", ("text_encoder",), _TEXTS),
    _Naming("text_encoders.clip_g.transformer.", ("text_encoder_2",), _TEXTS),
    _Naming(
        "text_encoders.t5xxl.transformer.",
        ("text_encoder_3", "text_encoder_2"),
        {"T5EncoderModel": _as_published},
    ),
)

#: What single files have beside weights that a model reads: a moving average of them, tables of the scheduler's, the
#: loss of the VAE's training, counters, the temperature that CLIP was trained with.
_NO_WEIGHTS = re.compile(
    r"model_ema\..*|first_stage_model\.loss\..*|(.*\.)?(logit_scale|position_ids)|denoiser\..*|edm_(mean|std)|"
    r"betas|(sqrt_)?alphas_cumprod(_prev)?|sqrt_one_minus_alphas_cumprod|log_one_minus_alphas_cumprod|"
    r"sqrt_recip(m1)?_alphas_cumprod|posterior_.*|logvar|lvlb_weights|scale_factor|global_step|v_pred|ztsnr"
)
_VELOCITY = "v_pred"
"""An empty tensor that tells which prediction a file is of (ComfyUI, `comfy/model_base.py`); the others are told by
the scheduler's configuration alone."""


def with_checkpoint(pipeline: PipelineFolder, file: Path) -> PipelineFolder:
    """The pipeline with the weights that the file has in place of the folder's.

    Raises SourceError for a file that is no safetensors file or quantised, and, naming tensors, for what belongs to no
    part of the pipeline, or to one of a class whose original names are not known. Of a single model's folder, what the
    file has of others is left alone.
    """
    tensors = read_tensors((file,))
    parts = {key: _part_of(key, pipeline.classes) for key in tensors if not _NO_WEIGHTS.fullmatch(key)}
    problem = quantised_tensors(tensors)
    if problem:
        raise SourceError(f"{file} is quantised {problem}.")
    found = tuple(name for name in pipeline.classes if name in {part for part, _ in parts.values()})
    lost = [key for key, (part, naming) in parts.items() if not part and (pipeline.class_name or naming is None)]
    if not found:
        held = f"tensors such as {next(iter(parts))!r}" if parts else "no tensors"
        raise SourceError(
            f"{file} holds {held}, and none under the original names of {', '.join(pipeline.classes.values())}; a file"
            " with diffusers' own names belongs into its model's folder: give the folder of the pipeline."
        )
    if lost:
        raise SourceError(
            f"{file} has {some(lost)}, and {pipeline.root} no part that {'it' if len(lost) == 1 else 'they'} could be"
            " of; give the configurations of the pipeline that the file is of."
        )
    if _VELOCITY in tensors:
        _check_velocity(pipeline, file)
    for key, (part, naming) in parts.items():
        class_name = pipeline.classes.get(part, "")
        if naming is not None and part and class_name not in naming.names:
            raise SourceError(
                f"{file} has {part} under original names ({key!r}), and those of {class_name} are not known, but those"
                f" of {' and '.join(naming.names)}; give a folder in diffusers layout."
            )
    return replace(pipeline, checkpoint=file, in_checkpoint=found)


def parts_in(file: Path) -> frozenset[str]:
    """What pipelines may call the parts that a single file has weights of. Raises SourceError as `read_tensors`."""
    namings = {naming for _, naming in (_part_of(key, {}) for key in read_tensors((file,))) if naming is not None}
    return frozenset(model for naming in namings for model in naming.models)


def _check_velocity(pipeline: PipelineFolder, file: Path) -> None:
    """Raise SourceError where the scheduler takes what a denoiser of velocities gives for something else."""
    config = pipeline.root / "scheduler" / "scheduler_config.json"
    if "scheduler" in pipeline.classes and read_json(config).get("prediction_type") != "v_prediction":
        raise SourceError(
            f"{file} is of a denoiser that predicts velocities (tensor {_VELOCITY!r}), and {config} says otherwise; set"
            ' its prediction_type to "v_prediction".'
        )


def _part_of(key: str, classes: Mapping[str, str]) -> tuple[str, _Naming | None]:
    """The part of a pipeline that a tensor is of, where it has that, and the naming, where it is known."""
    key = f"{BARE.get(key.partition('.')[0], '')}{key}"
    naming = next((naming for naming in _NAMINGS if key.startswith(naming.prefix)), None)
    models = () if naming is None else naming.models
    return next((model for model in models if model in classes), ""), naming


def original_tensors(file: Path, model: str, class_name: str, config: Config) -> Mapping[str, StoredTensor]:
    """The tensors of a part of a pipeline, by the names that diffusers gives them.

    One that has no name there keeps its own. Raises SourceError as `read_tensors`, and for a tensor that cannot be cut
    as its name wants it.
    """
    made: dict[str, StoredTensor] = {}
    for key, tensor in read_tensors((file,)).items():
        part, naming = _part_of(key, {model: class_name})
        if not part or naming is None or class_name not in naming.names or _NO_WEIGHTS.fullmatch(key):
            continue
        own = key.removeprefix(naming.prefix)
        if _is_left_out(own, class_name, config):
            continue
        module, _, leaf = own.rpartition(".")
        for piece in list(naming.names[class_name](module, leaf, config)) or [Piece(module, leaf)]:
            name = f"{piece.module}.{piece.leaf}" if piece.module else piece.leaf
            made[name] = _taken(tensor, name, piece)
    return made


def _is_left_out(own: str, class_name: str, config: Config) -> bool:
    """Whether diffusers does not read a tensor of a text encoder's: OpenCLIP's last layer, of which the configuration
    of Stable Diffusion 2 has one less, and the projection, which CLIPTextModel has not."""
    is_last = own.startswith(f"transformer.resblocks.{config.get('num_hidden_layers')}.")
    return is_last or (class_name == "CLIPTextModel" and own.partition(".")[0] == "text_projection")


def _taken(tensor: StoredTensor, name: str, piece: Piece) -> StoredTensor:
    taken = Taken(tensor.key, piece.rows, piece.of, piece.transposed)
    try:
        shape = taken.shape(tensor.shape)
    except ValueError:
        raise SourceError(
            f"tensor {tensor.key!r} of {tensor.file} has shape {list(tensor.shape)}, of which {name} cannot be a part;"
            " the file is damaged, or of another model."
        ) from None
    if piece.flat:
        shape = (*shape[:2], *(size for size in shape[2:] if size != 1))
    return replace(tensor, key=name, shape=shape, taken=taken)


def tensors_of(plan: ComponentPlan) -> Mapping[str, StoredTensor]:
    """The tensors that a component's weights are read from, by the names of diffusers. Raises SourceError."""
    if plan.checkpoint is None:
        return read_tensors(find_files(plan.folder, plan.library, plan.variant))
    return original_tensors(plan.checkpoint, plan.model, plan.class_name, read_json(plan.folder / "config.json"))
