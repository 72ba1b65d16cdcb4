"""MindSpore's inference over all cases of legalisation that this session collected, made once."""

from __future__ import annotations

import pytest

from tests.passes.legalise.support import Inferred, infer_registered


@pytest.fixture(scope="session")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> Inferred:
    """By name of a case: what MindSpore says of it before and after."""
    return infer_registered(tmp_path_factory.mktemp("inferred"))
