"""Runs one MindIR file in MindSpore Lite 2.0.0, in an interpreter of its own: CPython 3.7, all it has wheels for.

    python3.7 worker.py MODEL FOLDER

FOLDER holds `inputs.json`, a list of [name, file], and those files (.npy). Outputs are written there as out0.npy,
out1.npy, … Exit code 3 where Lite does not build or run the model; what Lite logs goes to stderr.
Written for Python 3.7; imports numpy and mindspore_lite, and nothing of this project.
"""

# mypy: ignore-errors
import json
import sys
from pathlib import Path

import numpy as np

REFUSED = 3


def main(model_path, folder):
    """Build, feed by name, run, write."""
    import mindspore_lite as mslite

    context = mslite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = 1
    model = mslite.Model()
    try:
        model.build_from_file(model_path, mslite.ModelType.MINDIR, context)
        tensors = model.get_inputs()
        feed(tensors, Path(folder), mslite.DataType.INT32)
        results = model.predict(tensors)
    except RuntimeError as error:
        sys.stderr.write(f"refused: {error}\n")
        return REFUSED
    for index, tensor in enumerate(results):
        np.save(Path(folder, f"out{index}.npy"), tensor.get_data_to_numpy())
    return 0


def feed(tensors, folder, int32):
    """Give each input its value. Raises ValueError where names or shapes are not those that were given."""
    given = dict(json.loads((folder / "inputs.json").read_text()))
    for tensor in tensors:
        value = np.load(folder / given.pop(tensor.name))
        if list(value.shape) != list(tensor.shape):
            raise ValueError(f"input {tensor.name} is {value.shape}, Lite expects {tensor.shape}")
        if value.dtype == np.int64 and tensor.dtype == int32:  # Lite's whole numbers, whatever the graph says
            value = value.astype(np.int32)
        tensor.set_data_from_numpy(np.ascontiguousarray(value))
    if given:
        raise ValueError(f"Lite has no inputs called {sorted(given)}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
