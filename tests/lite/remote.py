"""One model in MindSpore Lite 2.0.0, asked from outside: CPython 3.7, all it has wheels for.

    python3.7 remote.py

Reads a JSON object a line, and writes one: `{"do": "build", "path", "target", "config"}`, which gives the inputs as
[name, shape, type]; `{"do": "resize", "shapes"}`, in their order, which gives them again; `{"do": "predict", "inputs",
"folder"}`, files (.npy) by name, which gives files of outputs in the folder. What Lite raises is given as `error`.
Written for Python 3.7; imports numpy and mindspore_lite, and nothing of this project.
"""

# mypy: ignore-errors
import json
import os
import sys
from pathlib import Path

import numpy as np


def main():
    """Answer until there are no more questions. What Lite prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import mindspore_lite as lite

    model = lite.Model()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = answer(lite, model, asked)
        except (RuntimeError, TypeError, ValueError) as error:
            found = {"error": str(error)}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def answer(lite, model, asked):
    """What comes of one question."""
    if asked["do"] == "build":
        context = lite.Context()
        context.target = [asked["target"]]
        model.build_from_file(asked["path"], lite.ModelType.MINDIR, context, asked["config"])
    elif asked["do"] == "resize":
        model.resize(model.get_inputs(), asked["shapes"])
    else:
        tensors = model.get_inputs()
        for tensor in tensors:
            tensor.set_data_from_numpy(np.load(asked["inputs"][tensor.name]))
        files = []
        for number, tensor in enumerate(model.predict(tensors)):
            files.append(str(Path(asked["folder"], f"out{number}.npy")))
            np.save(files[-1], tensor.get_data_to_numpy())
        return {"outputs": files}
    return {"inputs": [[one.name, list(one.shape), one.dtype.name] for one in model.get_inputs()]}


if __name__ == "__main__":
    main()
