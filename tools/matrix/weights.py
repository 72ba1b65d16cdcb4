"""Run in a subprocess: `python -m tools.matrix.weights MODELS GROUP...` writes random weights beside configurations.

MODELS is the folder that holds a folder for each group. For a model that cannot be built the reason goes into
`unbuilt.txt` beside its config.json. Worker side: imports MindSpore once for all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mindspore

from attnfuse.tracing.plan import survey
from tests.support.small_weights import write_model_weights
from tools.matrix.rows import given_of, shapes_of

UNBUILT = "unbuilt.txt"


def main(models: Path, names: list[str]) -> None:
    """Write the weights of every model of every group."""
    mindspore.set_device("CPU")
    for name in names:
        folder = models / name
        parts = survey(folder, "float32", shapes_of(name), given_of(folder))
        plans = {plan.model: plan for part in parts for plan in part.plans}
        for plan in plans.values():
            try:
                write_model_weights(plan)
            except Exception as error:
                (plan.folder / UNBUILT).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        (folder / "weights").touch()  # done


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
