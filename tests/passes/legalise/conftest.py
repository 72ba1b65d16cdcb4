"""MindSpore's inference over all cases of legalisation, made once for all workers of a test run."""

from __future__ import annotations

import json

import pytest

from attnfuse.serialisation import from_json, to_json
from attnfuse.verify.inference.inferred_types import Inference
from tests.passes.legalise.support import Inferred, infer_registered
from tests.support.traces import locked, shared_folder


@pytest.fixture(scope="session")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> Inferred:
    """By name of a case: what MindSpore says of it before and after."""
    shared = shared_folder(tmp_path_factory)
    file = shared / "legalised.json"
    with locked(shared / "legalised.lock"):
        if not file.exists():
            found = infer_registered(tmp_path_factory.mktemp("inferred"))
            file.write_text(json.dumps({name: to_json(inference) for name, inference in found.items()}))
    return {name: from_json(Inference, told) for name, told in json.loads(file.read_text()).items()}
