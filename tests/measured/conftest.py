"""A folder that was compiled once, and a folder of measurements of it that each test has for itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import measured
from tests.support.measured import Measured


@pytest.fixture(scope="session")
def measured_once(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    return measured.write(measured.compiled(folder), folder / "measured")


@pytest.fixture
def given(measured_once: Measured, tmp_path: Path) -> Measured:
    shutil.copytree(measured_once.folder, tmp_path / "measured")
    return Measured(measured_once.out, tmp_path / "measured")
