"""Has transformers convert a tokenizer: `python -m attnfuse.tracing.tokenizer_worker FOLDER CLASS FILE`.

Writes the `tokenizer.json` of the tokenizer in FOLDER, of that class, to FILE. Where that cannot be, the last line on
stderr says why, and the exit code is 1. Imports no MindSpore.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SAMPLES = (
    "",
    "a photo of an astronaut riding a horse on mars, 4k",
    "  Two   spaces,\ttabs\nand lines  ",
    "naïve café Ångström ﬁ ① ΟΔΟΣ",
    "一只猫坐在椅子上。",
    "🐈‍⬛ 👩‍🚀 emoji",
    "control\x00\x07\u200b characters",
)
"""Texts that a tokenizer of the slow class and the one that was made of it must make the same tokens of."""


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    folder, class_name, target = arguments
    try:
        Path(target).write_text(convert(folder, class_name), encoding="utf-8")
    except Exception as error:  # transformers raises everything
        sys.stderr.write("\n" + (" ".join(str(error).split()) or type(error).__name__) + "\n")
        return 1
    return 0


def convert(folder: str, class_name: str) -> str:
    """The text of `tokenizer.json`. Raises ValueError where transformers has no such class, what it raises else."""
    import transformers

    slow_name = class_name.removesuffix("Fast")
    fast: Any = getattr(transformers, f"{slow_name}Fast", None)
    if fast is None:
        raise ValueError(f"transformers {transformers.__version__} has no fast form of the class {class_name}")
    made = fast.from_pretrained(folder, from_slow=True, local_files_only=True)
    if class_name == slow_name:
        own = getattr(transformers, slow_name).from_pretrained(folder, local_files_only=True)
        for sample in SAMPLES:
            if own(sample)["input_ids"] != made(sample)["input_ids"]:
                raise ValueError(f"the fast form of {class_name} has other tokens for {sample!r}")
    made.backend_tokenizer.no_truncation()
    made.backend_tokenizer.no_padding()
    text: str = made.backend_tokenizer.to_str(pretty=False)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
