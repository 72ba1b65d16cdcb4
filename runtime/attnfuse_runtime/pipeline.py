"""A folder that attnfuse wrote, as components that can be called."""

from __future__ import annotations

import os
from pathlib import Path

from attnfuse_runtime.backends import Backend, Devices, backend
from attnfuse_runtime.binding import BoundComponent
from attnfuse_runtime.errors import BackendError, InputError
from attnfuse_runtime.manifest import Manifest, Size, read_manifest


class Pipeline:
    """The graphs of a folder. `pipeline["unet"]` loads one when it is first asked for."""

    def __init__(self, manifest: Manifest, runs: Backend) -> None:
        self.manifest = manifest
        self._backend = runs
        self._bound: dict[str, BoundComponent] = {}

    def at(self, size: Size) -> Pipeline:
        """The pipeline at one of its manifest's sizes: the same graphs, loaded once, under the names of the first."""
        other = Pipeline(self.manifest.at(size), self._backend)
        other._bound = self._bound
        return other

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike[str], backend: str | Backend = "lite", devices: Devices = None
    ) -> Pipeline:
        """The pipeline of a folder, of which nothing is loaded yet.

        `backend` is "lite", "cpu" or one of one's own, `devices` the device of all components or of each by name.
        Raises FolderError where the folder is none of attnfuse's or not whole, BackendError for an unknown backend,
        for devices that it cannot have, and for Lite where the folder was compiled for another runtime.
        """
        manifest = read_manifest(Path(folder))
        if backend == "lite" and manifest.runtime != "lite":
            raise BackendError(
                f"{folder} was compiled with --runtime {manifest.runtime}, which MindSpore Lite does not take; compile "
                "with --runtime lite."
            )
        if isinstance(devices, dict):
            for name in devices:
                if name not in manifest.components:
                    raise _unknown(manifest, name)
        return cls(manifest, _chosen(backend, devices))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the components, in the manifest's order."""
        return tuple(self.manifest.components)

    def __getitem__(self, name: str) -> BoundComponent:
        """A component, loaded. Raises InputError for an unknown name, BackendError where it cannot be loaded."""
        if name not in self.manifest.components:
            raise _unknown(self.manifest, name)
        component = self.manifest.components[name]
        if component.name not in self._bound:
            self._bound[component.name] = BoundComponent(component, self._backend.load(component))
        return self._bound[component.name]

    def release(self, name: str) -> None:
        """Let go of a component, and of its memory, where the backend frees it; it is loaded again when asked for."""
        if name in self.manifest.components:
            self._bound.pop(self.manifest.components[name].name, None)


def _chosen(name: str | Backend, devices: Devices) -> Backend:
    if isinstance(name, str):
        return backend(name, devices)
    if devices is not None:
        raise BackendError("a backend of one's own chooses its devices; leave them out.")
    return name


def _unknown(manifest: Manifest, name: str) -> InputError:
    return InputError(f"there is no component {name!r}; {manifest.folder} has {', '.join(manifest.components)}.")
