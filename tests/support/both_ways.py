"""The subprocess that traces whole and in blocks: `python -m tests.support.both_ways FOLDER GROUP/COMPONENT-DTYPE...`.

`cells/NAME` is a model of `tests.support.block_cells`, anything else a row of the matrix; `fingerprints` writes
`FOLDER/fingerprints.json`, which says of pairs of cells whether they have one fingerprint. Imports MindSpore once, then
forks a child for each model and one for each way, so that every trace is the first of its process. Into `FOLDER/NAME/`,
slashes of the name being dots, go `whole.mindir`, and the pieces or, where the model is to be traced whole, `why.txt`;
`error.txt` where the whole trace failed; `begun.txt` says how many traces were begun for the pieces. Every repeat is
cut out, however small, and nothing is left a function by `lazy_inline`. Of a row of `AGAIN` there is `again/`: the same
pieces, with the blocks that the first process traced; and `shared/`: the same, with the blocks of two processes that
traced a share of them each, which `share_N.txt` count. Worker side.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import mindone.diffusers
import mindone.transformers  # noqa: F401  # once, and not in each child
import mindspore

from attnfuse.tracing.blocks.fingerprints import Fingerprints
from attnfuse.tracing.blocks.pieces import write_pieces
from attnfuse.tracing.blocks.tracer import Tracer, without_lazy_inline
from attnfuse.tracing.build import Entry, build_skeleton, compile_again, compile_cell, entered
from attnfuse.tracing.canonical import canonicalise
from attnfuse.tracing.contract import BlockCache, TensorKind, TensorSpec
from attnfuse.tracing.plan import plan_all
from attnfuse.tracing.worker import first_line
from tests.support.block_cells import MODELS, OTHER, SAME, WIDTH
from tools.matrix.rows import given_of, shapes_of, write_group

Opened: TypeAlias = Callable[[], Any]
"""Gives, as a context, the cell to trace."""


AGAIN = ("wan/transformer-float16", "flux/text_encoder-float16")
"""Rows that are traced a second time, with the blocks of the first."""


class Called(Entry):
    """A cell that calls its model."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        return self.model(x)


def main(arguments: list[str]) -> int:
    """Trace each of the named models into the folder."""
    folder = Path(arguments[0])
    for name in arguments[1:]:
        if name == "fingerprints":
            in_child(partial(_fingerprints, folder / "fingerprints.json"))
            continue
        place = folder / name.replace("/", ".")
        place.mkdir()
        in_child(partial(_both, name, place))
    return 0


def in_child(run: Callable[[], None]) -> None:
    """Run in a process of its own."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)


def _fingerprints(file: Path) -> None:
    found = {}
    for name, (one, other) in {**SAME, **OTHER}.items():
        prints = Fingerprints()
        found[name] = prints.of(one()).digest == prints.of(other()).digest
    file.write_text(json.dumps(found))


def _both(name: str, place: Path) -> None:
    """Each way in a process that built the model itself: MindSpore computes tensors in a thread, which no fork has."""
    if not name.startswith("cells/"):
        write_group(place / "models", _group(name))
    cache = BlockCache(str(place / "cache"), True, None, "these tests") if name in AGAIN else None
    in_child(partial(_one_way, name, place, "blocks", partial(_in_blocks, cache=cache)))
    if cache is not None:
        in_child(partial(_one_way, name, place, "again", partial(_in_blocks, cache=cache, into="again")))
        shared = replace(cache, place=str(place / "shared_cache"))
        for number in range(2):
            in_child(partial(_one_way, name, place, f"share_{number}", partial(_share, cache=shared, number=number)))
        in_child(partial(_one_way, name, place, "shared", partial(_in_blocks, cache=shared, into="shared")))
    in_child(partial(_one_way, name, place, "whole", _whole))


def _one_way(name: str, place: Path, way: str, traced: Callable[[Opened, tuple[TensorSpec, ...], Path], None]) -> None:
    mindspore.set_device("CPU")
    opened, inputs = _cells(name) if name.startswith("cells/") else _row(name, place / "models")
    gc.collect()
    gc.freeze()
    _timed(way, place, lambda: traced(opened, inputs, place))


def _cells(name: str) -> tuple[Opened, tuple[TensorSpec, ...]]:
    model = MODELS[name.partition("/")[2]]()

    @contextmanager
    def opened() -> Iterator[Any]:
        yield Called("model", model)

    return opened, (TensorSpec("x", (2, WIDTH), "float32"),)


def _group(name: str) -> str:
    return name.rpartition("-")[0].rpartition("/")[0]


def _row(name: str, models: Path) -> tuple[Opened, tuple[TensorSpec, ...]]:
    configuration, _, dtype = name.rpartition("-")
    group, _, component = configuration.rpartition("/")
    (plan,) = plan_all(models, dtype, shapes_of(group), [component], given_of(models)).plans
    return partial(entered, plan, build_skeleton(plan)), plan.inputs


def _timed(way: str, place: Path, run: Callable[[], None]) -> None:
    begun = time.process_time()
    run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    (place / f"{way}.seconds").write_text(f"{time.process_time() - begun:.2f} {peak}")


def _whole(opened: Opened, inputs: tuple[TensorSpec, ...], place: Path) -> None:
    try:
        with opened() as cell, without_lazy_inline(cell):
            proto = compile_cell(cell, inputs)
    except Exception as error:
        (place / "error.txt").write_text(first_line(error))
        return
    canonicalise(proto, "model")
    (place / "whole.mindir").write_bytes(proto.SerializeToString(deterministic=True))


def _in_blocks(
    opened: Opened, inputs: tuple[TensorSpec, ...], place: Path, *, cache: BlockCache | None, into: str = ""
) -> None:
    place /= into
    place.mkdir(exist_ok=True)
    begun = 0

    def compiled(cell: Any, inputs: Sequence[TensorKind]) -> Any:
        nonlocal begun
        begun += 1
        return compile_again(cell, inputs)

    try:
        with opened() as cell:
            tracer = Tracer(compiled, Entry, worth=1, cache=cache)
            pieces, _ = tracer.pieces(cell, inputs, place)
        (place / "begun.txt").write_text(str(begun))
        (place / "kept.txt").write_text(str(tracer.kept))
        write_pieces(place, pieces)
    except Exception as error:
        traceback.print_exc()
        (place / "why.txt").write_text(first_line(error))


def _share(opened: Opened, inputs: tuple[TensorSpec, ...], place: Path, *, cache: BlockCache, number: int) -> None:
    with opened() as cell:
        tracer = Tracer(compile_again, Entry, worth=1, cache=cache)
        tracer.share(cell, inputs, number, 2)
    (place / f"share_{number}.txt").write_text(str(tracer.kept))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
