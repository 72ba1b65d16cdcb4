"""Help: options in sections, an example or two, and the exit codes that a command may end with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from attnfuse.cli.exit_codes import MEANINGS

_SECTIONS: Mapping[str, Sequence[str]] = {
    "Result": (
        *("output", "form", "measured", "report_file", "html_file", "as_json", "reporters", "dry_run", "check"),
        *("require", "parse", "short", "command", "weights", "keep_best"),
    ),
    "Picture": (
        *("prompts", "negative", "images", "masks", "strength", "control_images", "control_scales"),
        *("ip_adapter_image", "ip_adapter_scale"),
        *("steps", "guidance_scale", "size", "backend", "device_texts", "record"),
    ),
    "What is compiled": (
        *("config", "vae", "ip_adapter", "variant", "revision", "subfolder", "offline"),
        *(
            "components",
            "exclude",
            "dtypes",
            "batch",
            "dynamic",
            "height",
            "width",
            "sizes",
            "sequence_lengths",
            "frames",
            "guidance",
        ),
        *(
            "timestep_dtype",
            "clip_skip",
            "inputs_file",
            "loras",
            "inversions",
            "strict_config",
            "trace",
            "jobs",
            "cache_dir",
            "cache_key",
        ),
    ),
    "Target and policy": (
        "runtime",
        "soc",
        "policy_file",
        "force_cast_dtype",
        "no_flash",
        "pass_options",
        "strict_policy",
    ),
    "Verification": (
        *("budget", "level", "golden", "data", "seed", "again"),
        *("max_memory", "certificate", "measure_memory", "profiled"),
    ),
    "Workers": ("workers", "worker_memory", "scheduler", "tls_ca", "tls_cert", "tls_key"),
    "What is told": ("print_after", "print_to", "time_passes", "progress", "verbose", "log_file"),
}
"""By title the options in it, as the parameters of commands are called; what is in none stands last."""


HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class HelpfulCommand(click.Command):
    """A command whose help has sections; `examples` are command lines, `codes` its exit codes beside 0 and 2."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), codes: Sequence[int] = (), **kwargs: Any) -> None:
        # Of its own: click keeps the help option of the first context, which need not have been made by the group.
        kwargs.setdefault("context_settings", HELP_OPTIONS)
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.codes = tuple(codes)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, section by section; one section alone has click's title."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = {option.name or "": record for option in options if (record := option.get_help_record(ctx))}
        sections = {title: _taken(records, names) for title, names in _SECTIONS.items()}
        filled = {title: rows for title, rows in sections.items() if rows}
        if len(filled) == 1:
            filled = {"Options": [row for rows in filled.values() for row in rows] + list(records.values())}
        else:
            filled["Options" if not filled else "Other"] = list(records.values())
        for title, rows in filled.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, and what the exit codes say."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), MEANINGS[code]) for code in sorted({0, 2, *self.codes})])


def _taken(records: dict[str, tuple[str, str]], names: Iterable[str]) -> list[tuple[str, str]]:
    """The rows of these options, which are then no longer among the others."""
    return [records.pop(name) for name in names if name in records]
