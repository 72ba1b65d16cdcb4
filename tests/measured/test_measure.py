"""measure.py, beside stand-ins for convert.sh, align.py, converter_lite and msprof: on no device."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from attnfuse.measured import measure

_CONVERT = """\
echo "GLOG_v=$GLOG_v ASCEND_GLOBAL_LOG_LEVEL=$ASCEND_GLOBAL_LOG_LEVEL to $ASCEND_SLOG_PRINT_TO_STDOUT"
mkdir -p "$1" "$ASCEND_WORK_PATH/FE/77"
[[ $2 != broken ]] || exit 3
echo graph > "$1/$2.mindir"
echo '{}' > "$ASCEND_WORK_PATH/FE/77/fusion_result.json"
"""
_ALIGN = """\
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
name, graph = given["--graph"].split("=", 1)
findings = ["too far"] if name == "vae_decoder" else []
with open(graph) as file, open(given["--json"], "w") as out:
    json.dump([{"file": file.read(), "output": given["--component"], "findings": findings}], out)
"""
_MSPROF = """\
#!/usr/bin/env bash
folder=${1#--output=}/PROF_1/mindstudio_profiler_output
mkdir -p "$folder"
echo statistic > "$folder/op_statistic_1.csv"
echo summary > "$folder/op_summary_slice_0_1.csv"
echo summary > "$folder/op_summary_slice_1_1.csv"
shift
exec "$@"
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `compile --golden` leaves it, with two runs of the UNet, and the programs in PATH."""
    folder = tmp_path / "out"
    (folder / "golden").mkdir(parents=True)
    runs = [{"component": name} for name in ("unet", "vae_decoder", "unet")]
    (folder / "golden" / "golden.json").write_text(json.dumps({"schema": "attnfuse.golden/1", "runs": runs}))
    components = [{"name": name, "graph": f"{name}_graph.mindir"} for name in ("unet", "vae_decoder")]
    (folder / "manifest.json").write_text(json.dumps({"components": components}))
    for one in components:
        (folder / one["graph"]).write_text(one["name"])
    (folder / "convert.sh").write_text(_CONVERT)
    (folder / "align.py").write_text(_ALIGN)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("msprof", _MSPROF), ("converter_lite", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    toolkit = tmp_path / "toolkit" / "aarch64-linux"
    toolkit.mkdir(parents=True)
    (toolkit / "ascend_toolkit_install.info").write_text("package_name=toolkit\nversion=8.1.RC1\n")
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(toolkit.parent))
    return folder


def test_one_folder_of_all_that_tools_leave(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "measured"
    assert measure.main([str(folder), "--out", str(out), "--board", "910B3", "--device", "1"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        *("converting unet", "running unet", "converting vae_decoder", "running vae_decoder"),
        "vae_decoder: numbers are not within their limits",
        f"measured: {folder}",
    ]
    tables = ["op_statistic_1.csv", "op_summary_slice_0_1.csv", "op_summary_slice_1_1.csv"]
    assert sorted(path.name for path in (folder / "unet").iterdir()) == sorted(
        ["align.json", "build.log", "fusion_result.json", "run.log", *tables]
    )
    assert (folder / "unet" / "build.log").read_text() == "GLOG_v=2 ASCEND_GLOBAL_LOG_LEVEL=2 to 1\n"
    assert json.loads((folder / "unet" / "align.json").read_bytes())[0]["file"] == "graph\n"
    index = json.loads((folder / "measured.json").read_bytes())
    assert (index["schema"], index["board"], index["versions"]["cann"]) == ("attnfuse.measured/1", "910B3", "8.1.RC1")
    assert [(one["name"], one["runs"]) for one in index["components"]] == [("unet", 2), ("vae_decoder", 1)]
    assert index["components"][0]["graph_sha256"] == hashlib.sha256(b"unet").hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "measured", "out", "toolkit"]


def test_one_component_and_a_log_that_tells_more(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "measured"
    given = [str(folder), "--out", str(out), "--component", "unet", "--log-level", "info"]
    assert measure.main(given) == 0
    assert "GLOG_v=1" in (folder / "unet" / "build.log").read_text()
    assert not (folder / "vae_decoder").exists()
    # No CANN is installed here to say of which board the device is.
    assert json.loads((folder / "measured.json").read_bytes())["board"] is None


def test_what_fails_is_told_and_the_rest_is_kept(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "convert.sh").write_text(_CONVERT.replace("broken", "unet"))
    (out / "align.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "bin" / "msprof").write_text('#!/usr/bin/env bash\nshift\nexec "$@"\n')
    folder = tmp_path / "measured"
    assert measure.main([str(folder), "--out", str(out)]) == 4
    told = capsys.readouterr().err
    assert f"unet: convert.sh ended with 3: see {folder / 'unet' / 'build.log'}" in told
    assert "vae_decoder: msprof left no op_statistic_*.csv: see" in told
    assert "vae_decoder: align.py left no numbers, and msprof ended with 3: see" in told
    assert (folder / "measured.json").exists()


def test_what_cannot_be_measured(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*given: str) -> str:
        assert measure.main(["--out", str(out), *given]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        return line

    new = str(tmp_path / "new")
    assert "there are no runs of text_encoder, but of unet, vae_decoder" in told(new, "--component", "text_encoder")
    assert "name another folder, such as ../measured" in told(str(out / "measured"))
    assert "exists already; name another folder" in told(str(out.parent / "bin"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "converter_lite is not in PATH; source CANN's set_env.sh" in told(new)
    (out / "golden" / "golden.json").write_text('{"schema": "attnfuse.golden/2"}')
    assert "is attnfuse.golden/2, and this reads attnfuse.golden/1" in told(new)
    (out / "golden" / "golden.json").unlink()
    assert "No such file" in told(new)
    assert not (tmp_path / "new").exists()


def test_it_is_of_a_python_that_hosts_have() -> None:
    ast.parse(Path(measure.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))
