"""What an earlier compile left at a place, and how another that makes a part of it is added.

A compile of some components leaves the others as they stand: their files are taken over, and manifest and report tell
of both. Nothing is added where that would not be true: to what was made for another target, by other versions, of
another source, or where a file is no longer what was written. A certificate stays with what it is about, by digests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from attnfuse import documents
from attnfuse.errors import OutputError
from attnfuse.lora.fitting import baked_in, put_in
from attnfuse.lora.given import Added
from attnfuse.output import MANIFEST, REPORT, VERIFICATION, FileDigest, OutputPlace, schema_of
from attnfuse.report.build import totals_of
from attnfuse.report.model import Manifest, ManifestComponent, ManifestPipeline, Report
from attnfuse.targets import Target
from attnfuse.tracing.contract import SizeFacts
from attnfuse.verify.result import LEVELS, SCHEMA, fault_of
from attnfuse.version import __version__

_Document = TypeVar("_Document", bound=BaseModel)
_Named = TypeVar("_Named")
Holds = Callable[[Path, FileDigest], bool]
"""Whether a file has that content."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The documents of an earlier compile, and the components of it that are to stay."""

    place: OutputPlace
    content: bytes
    manifest: Manifest
    report: Report
    kept: tuple[ManifestComponent, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Those that stay."""
        return tuple(component.name for component in self.kept)

    def files(self, component: ManifestComponent) -> dict[str, FileDigest]:
        """The files of one that stays, by name, as they were written."""
        outputs = self.manifest.outputs
        named = [component.graph, *component.variables, *filter(None, [component.config])]
        if missing := [name for name in named if name not in outputs]:
            raise _damaged(self.place, f"its {MANIFEST} has no entry for {missing[0]}")
        return {name: outputs[name] for name in named}

    @property
    def kept_files(self) -> dict[str, FileDigest]:
        """The files of all that stay, and those of their source."""
        own = {name: found for component in self.kept for name, found in self.files(component).items()}
        return self.carried | own

    @property
    def carried(self) -> dict[str, FileDigest]:
        """The files of the source that those that stay need."""
        pipeline, outputs = self.manifest.pipeline, self.manifest.outputs
        named = pipeline.files if pipeline is not None and self.kept else ()
        if missing := [name for name in named if name not in outputs]:
            raise _damaged(self.place, f"its {MANIFEST} has no entry for {missing[0]}")
        return {name: outputs[name] for name in named}

    def check(self, target: Target, holds: Holds | None, added: Sequence[Added] = ()) -> None:
        """Raise OutputError where something else, made with what is added to weights, cannot be put beside what stays.

        `holds` says what a file holds; without it, files are not looked at.
        """
        manifest, where = self.manifest, self.place.path
        made, wanted = (manifest.runtime, manifest.soc), (target.runtime, target.soc)
        if self.kept and manifest.versions.get("attnfuse") != __version__:
            raise _damaged(self.place, "it was written by another version of attnfuse")
        if self.kept and made != wanted:
            raise OutputError(
                f"{where} holds {self.kept[0].name} for {' on '.join(made)}, and this is for {' on '.join(wanted)}: "
                "choose another output, or compile all of it."
            )
        reported = {entry.name for entry in self.report.components}
        for component in self.kept:
            if baked_in(component.fixed) != put_in(added, component.owner):
                raise OutputError(
                    f"{where} holds {component.name} with other LoRAs, textual inversions or IP-Adapters than --lora,"
                    f" --textual-inversion and --ip-adapter give now: compile {component.name} again too, or choose"
                    " another output."
                )
            if component.name not in reported:
                raise _damaged(self.place, f"its {REPORT} has no entry for {component.name}")
            for name, wrote in self.files(component).items():
                if holds is not None and not holds(self.place.folder / name, wrote):
                    raise OutputError(
                        f"{self.place.folder / name} is not what attnfuse wrote there: compile {component.name} again "
                        "too, or choose another output."
                    )
        for name, wrote in self.carried.items():
            if holds is not None and not holds(self.place.folder / name, wrote):
                raise OutputError(
                    f"{self.place.folder / name} is not what attnfuse wrote there: compile all of it, or choose "
                    "another output."
                )

    def unchanged(self) -> bool:
        """Whether the place has still the manifest that was read."""
        try:
            return documents.read_bytes(self.place.folder / self.place.beside(MANIFEST)) == self.content
        except OSError:
            return False


def read_standing(place: OutputPlace, asked: Collection[str]) -> Standing | None:
    """What stands at a folder beside the components `asked` for; None where nothing does.

    Raises OutputError where its documents are damaged, or of another version of attnfuse, and tell of others.
    """
    path = place.folder / place.beside(MANIFEST)
    try:
        content = documents.read_text(path).encode()
        raw = json.loads(content)
        others = [entry["name"] for entry in raw["components"] if entry["name"] not in asked]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged(place, f"its {MANIFEST} cannot be read") from None
    if not others and not raw.get("components"):
        return None
    try:
        manifest = _parsed(Manifest, place, MANIFEST)
        report = _parsed(Report, place, REPORT)
    except OutputError:
        if others:
            raise
        return None  # all that it lists is made again
    kept = tuple(component for component in manifest.components if component.name in others)
    return Standing(place, content, manifest, report, kept)


def _parsed(kind: type[_Document], place: OutputPlace, name: str) -> _Document:
    try:
        content = documents.read_bytes(place.folder / place.beside(name))
        return kind.model_validate_json(content)
    except FileNotFoundError:
        raise _damaged(place, f"its {name} is missing") from None
    except OSError:
        raise _damaged(place, f"its {name} cannot be read") from None
    except ValidationError:
        found, wanted = schema_of(content), kind.model_fields["schema_"].default
        if found not in (None, wanted):
            raise _damaged(place, f"its {name} is {found}, and this attnfuse writes {wanted}") from None
        raise _damaged(place, f"its {name} is damaged") from None


def _damaged(place: OutputPlace, why: str) -> OutputError:
    return OutputError(f"nothing can be added to {place.path}: {why}; compile all of it, or choose another output.")


def merge_manifest(standing: Standing, made: Manifest, order: Sequence[str]) -> Manifest:
    """One manifest of what stays and what was made. Raises OutputError where they are of two sources or versions."""
    where = standing.place.path
    for name in standing.manifest.versions.keys() & made.versions.keys():
        was, now = standing.manifest.versions[name], made.versions[name]
        if standing.kept and was != now:
            raise OutputError(
                f"{where} holds {standing.kept[0].name} made with {name} {was}, and this was made with {now}: choose "
                "another output, or compile all of it."
            )
    inputs = dict(made.inputs)
    outputs = dict(made.outputs)
    for component in standing.kept:
        for name in component.sources:
            entry = standing.manifest.inputs.get(name)
            if entry is None:
                raise _damaged(standing.place, f"its {MANIFEST} has no entry for {name}")
            if inputs.setdefault(name, entry) != entry:
                raise OutputError(
                    f"{where} holds {component.name}, which was made of another {name}: compile {component.name} again "
                    "too, or choose another output."
                )
        for name in standing.files(component):
            if outputs.setdefault(name, standing.manifest.outputs[name]) != standing.manifest.outputs[name]:
                raise OutputError(
                    f"{where} holds {name} of {component.name}, and this would write another: choose another output."
                )
    for name, found in standing.carried.items():
        if outputs.setdefault(name, found) != found:
            raise OutputError(
                f"{where} holds {standing.kept[0].name}, whose source had another {name}: compile all of it, or choose "
                "another output."
            )
    stays = [
        component.model_copy(update={"policy": _own_policy(component, standing.manifest, made)})
        for component in standing.kept
    ]
    components = tuple(_ordered([*stays, *made.components], standing, order, lambda c: c.name))
    return made.model_copy(
        update={
            "versions": dict(sorted({**(standing.manifest.versions if stays else {}), **made.versions}.items())),
            "pipeline": _pipeline(standing, made.pipeline, components),
            "components": components,
            "inputs": dict(sorted(inputs.items())),
            "outputs": dict(sorted(outputs.items())),
        }
    )


def _pipeline(
    standing: Standing, made: ManifestPipeline | None, components: Sequence[ManifestComponent]
) -> ManifestPipeline | None:
    """What was made says it, but for a single model or a graph that is added to a pipeline."""
    stood = standing.manifest.pipeline if standing.kept else None
    told = stood if made is None or (stood is not None and made.class_name is None) else made
    if told is None:
        return None
    files = {*(() if made is None else made.files), *(() if stood is None else stood.files)}
    sizes = _sizes(standing, () if made is None else made.sizes, () if stood is None else stood.sizes)
    return told.told_of(components).model_copy(update={"files": tuple(sorted(files)), "sizes": sizes})


def _sizes(standing: Standing, made: Sequence[SizeFacts], stood: Sequence[SizeFacts]) -> tuple[SizeFacts, ...]:
    """The sizes of both, with the graphs of both. Raises OutputError where they are not the same."""
    if not made or not stood:
        return tuple(made or stood)
    if [replace(one, components={}) for one in made] != [replace(one, components={}) for one in stood]:
        raise OutputError(
            f"{standing.place.path} holds {standing.kept[0].name} for other sizes: give the same --size in the same "
            "order, compile all of it, or choose another output."
        )
    both = zip(made, stood, strict=True)
    return tuple(replace(one, components={**other.components, **one.components}) for one, other in both)


def _own_policy(component: ManifestComponent, stood: Manifest, made: Manifest) -> Any:
    """The rules one that stays was compiled with, where they are not those of the manifest."""
    rules = stood.policy if component.policy is None else component.policy
    return None if rules == made.policy else rules


def merge_report(standing: Standing, made: Report, same_policy: bool, order: Sequence[str]) -> Report:
    """One report of what stays and what was made."""
    new = {entry.name for entry in made.components} | {failed.name for failed in made.failed}
    stays = [entry for entry in standing.report.components if entry.name in standing.names]
    entries = _ordered([*stays, *made.components], standing, order, lambda entry: entry.name)
    left = [failed for failed in standing.report.failed if failed.name not in new]
    failed = _ordered([*left, *made.failed], standing, order, lambda entry: entry.name)
    return made.model_copy(
        update={
            "components": tuple(entries),
            "failed": tuple(failed),
            "totals": totals_of(entries, len(failed)),
            "warnings": _warnings(standing, made, same_policy, [entry.name for entry in entries]),
        }
    )


def _warnings(standing: Standing, made: Report, same_policy: bool, names: Sequence[str]) -> tuple[str, ...]:
    """Those about both; of one policy, that a rule fits no site is so where it fits none of either.

    What begins with the name of a component is about it; those stand last, in the order of the components.
    """

    def about(text: str) -> str | None:
        return next((name for name in names if text.startswith(f"{name}: ")), None)

    stays = standing.names
    stood = [text for text in standing.report.warnings if stays and (about(text) is None or about(text) in stays)]
    both = list(dict.fromkeys([*made.warnings, *stood]))
    whole = [text for text in both if about(text) is None]
    unmatched = [text for text in whole if text.startswith("the policy's ")]
    if same_policy and stays:
        unmatched = [text for text in unmatched if text in made.warnings and text in stood]
    others = sorted(text for text in whole if not text.startswith("the policy's "))
    own = sorted((text for text in both if about(text) is not None), key=lambda text: names.index(about(text) or ""))
    return (*others, *unmatched, *own)


def _ordered(
    entries: Iterable[_Named], standing: Standing, order: Sequence[str], name: Callable[[_Named], str]
) -> list[_Named]:
    """As the source has its components; those it knows nothing of stay where they were, before what is new."""
    stood = [component.name for component in standing.manifest.components]
    known = list(order) if set(stood) <= set(order) else list(dict.fromkeys([*stood, *order]))
    return sorted(entries, key=lambda entry: known.index(name(entry)) if name(entry) in known else len(known))


STAYS = "{0}: its certificate stays as it was: it says more of the same files than what was verified now"


@dataclass(frozen=True, slots=True)
class Certified:
    """The passed verifications that stand at a place, by component.

    `faults` are those that do not count, by component, with the reason: what was changed in them, or is not there.
    """

    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)

    def said(self, then: str) -> tuple[str, ...]:
        """A sentence for each that does not count; `then` is what becomes of it."""
        return tuple(f"{name}: its certificate does not count ({why}); {then}" for name, why in self.faults.items())


def certificates(place: OutputPlace) -> Certified | None:
    """The passed verifications that stand at a place; none where there are none.

    None where they cannot be read, or were made by another version of attnfuse.
    """
    path = place.folder / place.beside(VERIFICATION)
    if not path.is_file():
        return Certified()
    try:
        document = documents.parse(documents.read_text(path), "JSON")
        if (document["schema"], document["attnfuse"]) != (SCHEMA, __version__):
            return None
        for entry in document["components"]:
            _sides(entry)
        passed = {str(entry["name"]): entry for entry in document["components"] if entry["passed"] is True}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    faults = {name: why for name, entry in passed.items() if (why := fault_of(entry))}
    return Certified({name: entry for name, entry in passed.items() if name not in faults}, faults)


def says_more(stood: Mapping[str, Any], fresh: Mapping[str, Any]) -> bool:
    """Whether a certificate says more of the same files, and of the same policy, than a verification that passed later.

    A fuller level does, one that left nothing out, and one on more files of inputs.
    """
    question = ("compute", "never_fully_masked")
    if any(stood[key] != fresh[key] for key in question) or _sides(stood) != _sides(fresh):
        return False
    strengths = [(LEVELS.index(one["level"]), not one["not_verified"]) for one in (stood, fresh)]
    if strengths[0] != strengths[1]:
        return strengths[0] > strengths[1]
    return len(stood["data"]) > len(fresh["data"]) > 0


def still_holds(
    certificate: Mapping[str, Any],
    fused: Mapping[str, FileDigest],
    original: tuple[str, Mapping[str, FileDigest]] | None,
) -> bool:
    """Whether a certificate is about these files: those of the result and, if it is given, of the original.

    The original is the digest of its graph, and its weights by name.
    """
    was, now = _sides(certificate)
    if dict(now) != {name: found.sha256 for name, found in fused.items()}:
        return False
    if original is None:
        return True
    graph, weights = original
    return was[0][1] == graph and dict(was[1:]) == {name: found.sha256 for name, found in weights.items()}


def _sides(certificate: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Names and digests of the original's files and the result's; the graph first. Raises KeyError and such."""
    was, now = ([(str(f["name"]), str(f["sha256"])) for f in certificate[side]] for side in ("original", "fused"))
    return [was[0], *was[1:]], [now[0], *now[1:]]
