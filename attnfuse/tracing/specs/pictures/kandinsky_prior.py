"""The priors of Kandinsky 2.1 and 2.2, which make the embedding of a picture of a text: sizes and model."""

from __future__ import annotations

from attnfuse.tracing.specs.context import Sizes, SpecContext
from attnfuse.tracing.specs.patch_names import MASKED_ATTENTION
from attnfuse.tracing.specs.pictures.kandinsky import KANDINSKY, KANDINSKY_2_2, prior_tokens
from attnfuse.tracing.specs.pictures.stable_diffusion_edits import STABLE_UNCLIP
from attnfuse.tracing.specs.pictures.unclip import UNCLIP
from attnfuse.tracing.specs.record import Input, Output, PipelineFamily, Refusal, Spec


def _kandinsky_prior(context: SpecContext) -> Sizes:
    """No picture yet: the prior makes the embedding of one. Tokens: the prior's `num_embeddings`, 77. Guided.

    The tokenizer fills texts up to as many: SourceError where it does not, for the prior has no other number of places.
    """
    return {
        "batch": context.shapes.batch or 1,
        "rows": context.rows(guided=True),
        "tokens": prior_tokens(context),
    }


KANDINSKY_PRIOR = PipelineFamily(
    "Kandinsky prior",
    ("KandinskyPriorPipeline", "KandinskyV22PriorPipeline", "KandinskyV22PriorEmb2EmbPipeline"),
    "kandinsky/pipeline_kandinsky_prior.py",
    _kandinsky_prior,
    aside=(),
)


def _prior_sizes(context: SpecContext) -> Sizes:
    return {
        "projected": context.number("embedding_proj_dim", default=context.number("embedding_dim")),
        "prior_tokens": context.sizes["tokens" if context.model == "prior" else "prior_text_encoder_tokens"],
    }


_PRIOR = Spec(
    class_name="PriorTransformer",
    library="diffusers",
    families=(KANDINSKY_PRIOR, KANDINSKY, KANDINSKY_2_2, STABLE_UNCLIP, UNCLIP),
    models=("prior", "prior_prior"),
    source="kandinsky/pipeline_kandinsky_prior.py",
    inputs=(
        Input("hidden_states", ("rows", "embedding_dim")),
        Input("timestep", (), "timestep"),
        Input("proj_embedding", ("rows", "projected")),
        Input("encoder_hidden_states", ("rows", "prior_tokens", "embedding_dim")),
        Input("attention_mask", ("rows", "prior_tokens"), "int64", note="the tokenizer's"),
    ),
    outputs=(Output("predicted_image_embedding"),),
    sizes=_prior_sizes,
    refuse=(Refusal("encoder_hid_proj_type", ("linear",)), Refusal("added_emb_type", ("prd",))),
    patches=(MASKED_ATTENTION,),
)

FAMILIES = (KANDINSKY_PRIOR,)

SPECS = (_PRIOR,)
