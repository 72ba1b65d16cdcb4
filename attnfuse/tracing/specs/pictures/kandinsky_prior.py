"""The priors of Kandinsky 2.1 and 2.2, which make the embedding of a picture of a text: sizes and model."""

from __future__ import annotations

from attnfuse.errors import SourceError
from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.pictures.stable_diffusion_edits import STABLE_UNCLIP
from attnfuse.tracing.specs.pictures.unclip import UNCLIP
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec


def _kandinsky_prior(context: SpecContext) -> Sizes:
    """No picture yet: the prior makes the embedding of one. Tokens: the prior's `num_embeddings`, 77. Guided.

    The tokenizer fills texts up to as many: SourceError where it does not, for the prior has no other number of places.
    """
    tokens = context.number("num_embeddings", "prior", 77)
    filled = context.filled_up_to("tokenizer")
    if filled is not None and filled != tokens and context.shapes.sequence_length is None:
        raise SourceError(
            f"{context.pipeline.root}: the prior has places for {tokens} tokens (num_embeddings), and the tokenizer"
            f" fills texts up to {filled} (model_max_length in tokenizer_config.json);"
            " fix that, or give --sequence-length."
        )
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "tokens": context.text(tokens, tokens),
    }


KANDINSKY_PRIOR = PipelineFamily(
    "Kandinsky prior",
    ("KandinskyPriorPipeline", "KandinskyV22PriorPipeline"),
    "kandinsky/pipeline_kandinsky_prior.py",
    _kandinsky_prior,
    aside=(),
)


def _prior_sizes(context: SpecContext) -> Sizes:
    return {"projected": context.number("embedding_proj_dim", default=context.number("embedding_dim"))}


_PRIOR = Spec(
    class_name="PriorTransformer",
    library="diffusers",
    families=(KANDINSKY_PRIOR, STABLE_UNCLIP, UNCLIP),
    models=("prior",),
    source="kandinsky/pipeline_kandinsky_prior.py",
    inputs=(
        Input("hidden_states", ("rows", "embedding_dim")),
        Input("timestep", (), "timestep"),
        Input("proj_embedding", ("rows", "projected")),
        Input("encoder_hidden_states", ("rows", "tokens", "embedding_dim")),
        Input("attention_mask", ("rows", "tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("predicted_image_embedding"),),
    sizes=_prior_sizes,
    refuse=(Refusal("encoder_hid_proj_type", ("linear",)), Refusal("added_emb_type", ("prd",))),
    patches=(MASKED_ATTENTION,),
)

FAMILIES = (KANDINSKY_PRIOR,)

SPECS = (_PRIOR,)
