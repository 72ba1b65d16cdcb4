"""Stands before MindSpore on the path of every test that is not marked to need it: see `tests.support.markers`."""

import os

raise ImportError(f"a test that starts MindSpore is marked `mindspore`: {os.environ.get('PYTEST_CURRENT_TEST', '')}")
