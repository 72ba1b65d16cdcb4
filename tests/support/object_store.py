"""An object store on this machine, served by moto, and a bucket in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer

_names = itertools.count()


@contextmanager
def served() -> Iterator[str]:
    """The address of a store."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def settings(address: str) -> dict[str, str]:
    """Variables of who uses it."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def bucket_in(address: str) -> Iterator[str]:
    """The URL of a cache in a new bucket, for whoever is in this process or started by it."""
    name = f"farm-{next(_names)}"
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in settings(address).items():
            patch.setenv(variable, value)
        system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        system.mkdir(name)
        yield f"s3://{name}/cache"
        system.rm(name, recursive=True)
