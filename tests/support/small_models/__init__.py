"""Small pipelines with the structure of the real ones, as configurations: a pipeline class and a config.json a part.

One module a kind of pipeline. Weights are written by `tests.support.small_weights`.
"""

from __future__ import annotations

from pathlib import Path

from attnfuse.tracing.demo import write_json
from tests.support.checkpoints import class_of
from tests.support.small_models import edits, encoders, newer_pictures, newer_videos, perturbed, pictures, videos
from tests.support.small_models.record import Config, Small

__all__ = ["SMALL", "Config", "Small", "write_configs"]

SMALL: dict[str, Small] = {
    **pictures.SMALL,
    **newer_pictures.SMALL,
    **videos.SMALL,
    **newer_videos.SMALL,
    **encoders.SMALL,
    **perturbed.SMALL,
    **edits.SMALL,
}
"""By a name of their own."""


def write_configs(folder: Path, small: Small) -> Path:
    """Write a pipeline's configurations, without weights, which a plan does not need; return the folder."""
    index: dict[str, object] = {
        "_class_name": small.pipeline,
        "scheduler": ["diffusers", small.scheduler],
        **small.options,
    }
    for name, config in small.models.items():
        (folder / name).mkdir(parents=True)
        write_json(folder / name / "config.json", config)
        index[name] = ["diffusers" if "_class_name" in config else "transformers", class_of(config)]
    write_json(folder / "model_index.json", index)
    return folder
