"""What `run` and `compare` share: the options of a prompt, and progress by steps."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from attnfuse.cli.console import say, stderr_console
from attnfuse.cli.options import PATH, with_options
from attnfuse.errors import UsageError
from attnfuse.pictures import BackendName

if TYPE_CHECKING:
    from attnfuse.pictures.running import Asked, Stepped

steps_option = click.option("--steps", type=click.IntRange(1), help="Steps of the scheduler.  [default: the loop's]")

noise_options = with_options(
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the noise."),
    click.option(
        "--guidance-scale",
        type=float,
        help="How strongly a picture follows its prompt; at 1 or below not guided.  [default: the pipeline's]",
    ),
)

negative_option = click.option(
    "--negative-prompt",
    "negative",
    multiple=True,
    metavar="TEXT",
    help="What is guided away from: one for all prompts, or one for each (repeatable).",
)

picture_options = with_options(
    click.option(
        "--image",
        "images",
        multiple=True,
        type=PATH,
        help="The picture to begin with, of the size that was compiled: one for all prompts, or for each; "
        "of films the first, then the last (repeatable).",
    ),
    click.option(
        "--mask",
        "masks",
        multiple=True,
        type=PATH,
        help="White where the image is made anew, black where it stays; as --image (repeatable).",
    ),
    click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        help="How much of the image is made anew: the share of the steps.  [default: the pipeline's]",
    ),
    click.option(
        "--control-image",
        "control_images",
        multiple=True,
        type=PATH,
        help="What a ControlNet goes by: as --image, or one for each of several ControlNets (repeatable).",
    ),
    click.option(
        "--control-scale",
        "control_scales",
        multiple=True,
        type=float,
        help="What a ControlNet's outputs are multiplied with: of all, or of each (repeatable).  "
        "[default: the pipeline's]",
    ),
    click.option(
        "--ip-adapter-image",
        type=PATH,
        metavar="FILE",
        help="The picture that an IP-Adapter, if there is one, looks at.",
    ),
    click.option(
        "--ip-adapter-scale", type=float, help="How strongly it goes by that picture.  [default: as it was compiled]"
    ),
)

backend_options = with_options(
    click.option(
        "--backend",
        type=click.Choice(get_args(BackendName)),
        default="cpu",
        show_default=True,
        help="Run the graphs with verification's executor, or in MindSpore Lite on an Ascend.",
    ),
    click.option(
        "--device",
        "device_texts",
        multiple=True,
        metavar="[NAME=]N",
        help="Of lite: the device of all components, or of one (repeatable).",
    ),
)


def asked_of(prompts: tuple[str, ...], options: dict[str, Any]) -> Asked:
    """The prompts and the options of noise and steps, checked."""
    from attnfuse.pictures.running import Asked

    negative = options["negative"]
    if len(negative) > 1 and len(negative) != len(prompts):
        raise UsageError(
            f"--negative-prompt is given {len(negative)} times for {len(prompts)} prompts; give one, or one for each."
        )
    return Asked(
        prompts=prompts,
        negative=negative,
        steps=options["steps"],
        guidance_scale=options["guidance_scale"],
        seed=options["seed"],
        images=options["images"],
        masks=options["masks"],
        strength=options["strength"],
        control_images=options["control_images"],
        control_scales=options["control_scales"],
        looked_at=options["ip_adapter_image"],
        ip_adapter_scale=options["ip_adapter_scale"],
    )


def devices_of(texts: tuple[str, ...], backend: str) -> int | dict[str, int] | None:
    """The device of all components, or of each by name. Raises UsageError where it is neither, or has no devices."""
    if not texts:
        return None
    if backend == "cpu":
        raise UsageError("--device is for --backend lite, and the backend cpu has no devices; drop it.")
    found = [re.fullmatch(r"(?:(\w+)=)?(\d{1,9})", text) for text in texts]
    named = {one[1]: int(one[2]) for one in found if one is not None and one[1]}
    if len(texts) == 1 and found[0] is not None and not named:
        return int(found[0][2])
    if len(named) != len(texts):
        raise UsageError(
            f"--device {' --device '.join(texts)} is neither a number from 0 on nor NAME=N for each component."
        )
    return named


@contextmanager
def told_steps(what: str, *, silent: bool) -> Iterator[Stepped | None]:
    """What is told after each step: a bar on a terminal, a line elsewhere."""
    console = stderr_console()
    if silent:
        yield None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task(what, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
    else:
        begun = time.monotonic()
        yield lambda done, total: say(f"{what}: step {done} of {total}, {time.monotonic() - begun:.1f} s")
