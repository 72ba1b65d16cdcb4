"""attnfuse batch: what its file may say, and the command from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnfuse.cli.batch_file import entries_of, read_batch
from attnfuse.errors import UsageError
from attnfuse.policy import Policy
from attnfuse.store.places import Place
from tests.cli.conftest import Command
from tests.farm.conftest import compiles_here
from tests.support.split import write_split

__all__ = ["compiles_here"]

TWO = """
cache-dir = "s3://bucket/farm"
[defaults]
soc = "910B4"
no-flash = ["*.attn2"]
[[compile]]
source = "./sd"
output = "out/sd-{soc}-{size}"
guidance = false
strict-policy = true
verify = "static"
each.soc = ["910B4", "310P3"]
each.size = ["512x512", "768x512"]
[[compile]]
source = "g.mindir"
output = "out/g.mindir"
no-flash = []
"""


def batch(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "farm.toml"
    file.write_text(text)
    return file


def test_a_file_says_what_command_lines_would(tmp_path: Path) -> None:
    file = batch(tmp_path, TWO)
    found = read_batch(file)
    assert found.cache == "s3://bucket/farm"
    entries = entries_of(found, file, ["--cache-dir=cache"])
    assert [str(entry.output) for entry in entries] == [
        *(f"out/sd-{soc}-{size}" for soc in ("910B4", "310P3") for size in ("512x512", "768x512")),
        "out/g.mindir",
    ]
    first, *_, last = (entry.request for entry in entries)
    assert (first.source, first.verify, first.shapes.guidance, first.strict_policy) == ("./sd", "static", False, True)
    assert (first.shapes.width, first.shapes.height) == (512, 512)
    assert [entry.request.target.soc for entry in entries] == ["ascend910b"] * 2 + ["ascend310p"] * 2 + ["ascend910b"]
    place: Place = Path("cache")
    assert first.cache == place
    assert first.policy != Policy() == last.policy
    assert entries[0].options[-2:] == ("--", "./sd")


REFUSED = {
    "no toml": ("[[", "is no TOML"),
    "unknown key": ("[default]\n", "unknown key 'default'; did you mean 'defaults'?"),
    "nothing": ("", "names no compile"),
    "a table": ("[compile]\nsource = 'a'\n", "compile a list of tables"),
    "no output": ("[[compile]]\nsource = 'a'\n", "each compile has a source and an output"),
    "unknown option": (
        "[[compile]]\nsource='a'\noutput='b'\nsocs='910B4'\n",
        "no option 'socs' here; did you mean 'soc'",
    ),
    "of the batch": ("[[compile]]\nsource='a'\noutput='b'\njson=true\n", "no option 'json' here"),
    "wrong value": ("[[compile]]\nsource='a'\noutput='b'\nsoc='911'\n", "output b: Invalid value for '--soc'"),
    "no flag": ("[[compile]]\nsource='a'\noutput='b'\nstrict-policy='yes'\n", "strict-policy is true or false"),
    "no text": ("[[compile]]\nsource='a'\noutput='b'\nsoc=true\n", "soc is a text or a number, not True"),
    "no list": ("[[compile]]\nsource='a'\noutput='b'\nsoc=['a']\n", "each.soc makes a compile for each"),
    "each": ("[[compile]]\nsource='a'\noutput='b'\neach.soc='a'\n", "each is a table of lists"),
    "each of another": (
        "[[compile]]\nsource='a'\noutput='{dtype}'\neach.soc=['910B4']\n",
        "the output is '{dtype}'; in braces may be what each lists, here {soc}",
    ),
    "each of none": (
        "[[compile]]\nsource='a'\noutput='{soc}'\n",
        "compile 1: the output is '{soc}'; in braces may be what each lists, here nothing",
    ),
    "each of nothing": ("[[compile]]\nsource='a'\noutput='b'\neach.soc=[]\n", "with a value or more"),
    "no source": ("[[compile]]\nsource=['a']\noutput='b'\n", "compile 1: each compile has a source and an output, as"),
    "twice": ("[[compile]]\nsource='a'\noutput='b'\neach.soc=['910B4','310P3']\n", "is that of two compiles"),
    "contradiction": ("[[compile]]\nsource='a'\noutput='b'\nseed=1\n", "--seed is for --verify"),
    "no policy": ("[[compile]]\nsource='a'\noutput='b'\npolicy='none.toml'\n", "output b: "),
    "cache": ("cache-dir = 1\n[[compile]]\n", "cache-dir is a folder or a URL"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_told_before_anything_is_done(tmp_path: Path, case: str) -> None:
    text, said = REFUSED[case]
    file = batch(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        entries_of(read_batch(file), file, [])
    assert said in str(raised.value)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler needs a cache that this machine and the workers reach"),
        (["--tls-ca", "ca.pem"], "are for --scheduler tls://"),
        (["--scheduler", "x", "--worker-memory", "8GiB"], "--worker-memory is for workers of this machine"),
        (["--state", "none/state.json"], "the state none/state.json cannot be written"),
    ],
)
def test_options_that_exclude_each_other(command: Command, tmp_path: Path, options: list[str], said: str) -> None:
    graph = write_split(tmp_path / "in")
    file = batch(tmp_path, f"[[compile]]\nsource = '{graph}'\noutput = '{tmp_path / 'out.mindir'}'\n")
    answer = command("batch", file, *options)
    assert answer.code == 2
    assert said in answer.error
    assert not (tmp_path / "out.mindir").exists()


@pytest.mark.usefixtures("compiles_here")
def test_the_command(command: Command, tmp_path: Path) -> None:
    """Two graphs, one of which is none; called again, what is finished stays."""
    graph = write_split(tmp_path / "in")
    (tmp_path / "in" / "bad_graph.mindir").write_bytes(b"no graph")
    text = "".join(
        f"[[compile]]\nsource = '{graph.with_name(name)}'\noutput = '{tmp_path / out}'\n"
        for name, out in ((graph.name, "good.mindir"), ("bad_graph.mindir", "bad.mindir"))
    )
    file = batch(tmp_path, text)
    answer = command("batch", file, "--json", "--cache-dir", tmp_path / "cache")
    document: dict[str, Any] = answer.document
    assert answer.code == document["exit_code"] == 3
    assert [entry["exit_code"] for entry in document["entries"]] == [0, 3]
    assert document["entries"][0]["totals"]["sites"] == 2
    assert (tmp_path / "good.mindir").is_file()
    assert "1 of " in answer.err
    assert f"error: {tmp_path / 'bad.mindir'}: " in answer.err
    again = command("batch", file, "--json", "--progress", "never", "--cache-dir", tmp_path / "cache").document
    assert [entry["finished_before"] for entry in again["entries"]] == [True, False]
    assert json.loads((tmp_path / "farm.toml.state.json").read_text())["schema"] == "attnfuse.batch-state/1"
