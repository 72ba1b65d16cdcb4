"""convert.sh calls the converter with the right arguments, checks its version, and stops at the first failure.

The converter is a stand-in that writes down how it was called.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from attnfuse.deployment.gears import Gears
from attnfuse.deployment.lite import configuration, convert_script, lite_series
from attnfuse.report.model import Manifest, ManifestComponent

BASH = shutil.which("bash") or "/bin/bash"
CONVERTER = """\
#!/bin/sh
for argument; do
  printf '%s\\n' "$argument" >> "$RECORD"
  case $argument in --outputFile=*) made=${argument#--outputFile=} ;; esac
done
printf 'CONVERT RESULT\\n'
case $made in
  *fails*) exit 3 ;;
  *silent*) ;;
  *large*) : > "${made}_graph.mindir" ;;
  *) : > "$made.mindir" ;;
esac
"""


def component(name: str, graph: str, config: str | None = "") -> ManifestComponent:
    configured = f"configs/{name}.cfg" if config == "" else config
    return ManifestComponent(
        name=name, owner=name, graph=graph, variables=(), config=configured, inputs=(), outputs=(), sources=()
    )


def manifest(*components: ManifestComponent, mindspore: str | None = "2.7.1") -> Manifest:
    versions = {"attnfuse": "0.1.0"} | ({} if mindspore is None else {"mindspore": mindspore})
    return Manifest(
        versions=versions, runtime="lite", soc="ascend910b", policy=(), components=components, inputs={}, outputs={}
    )


class Host:
    """An output folder, and a host with a converter."""

    def __init__(self, folder: Path, text: str, package: str = "mindspore-lite-2.7.1-linux-aarch64") -> None:
        self.record = folder / "record"
        self.out = folder / "my out"
        self.out.mkdir()
        (self.out / "convert.sh").write_text(text)
        self.program = folder / package / "tools" / "converter" / "converter" / "converter_lite"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(CONVERTER)
        self.program.chmod(0o755)
        self.path = [str(self.program.parent), "/usr/bin", "/bin"]

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        self.record.unlink(missing_ok=True)
        return subprocess.run(
            [BASH, self.out / "convert.sh", *arguments],
            env={"PATH": os.pathsep.join(self.path), "RECORD": str(self.record), **environment},
            cwd=self.out.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        """The arguments of all calls."""
        return self.record.read_text().splitlines() if self.record.exists() else []


SCRIPT = convert_script(
    manifest(
        component("unet", "unet_graph.mindir"),
        component("odd", "my $(odd) 'graph'.mindir"),
        component("vae", "v", None),
    )
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, SCRIPT)


def arguments(out: Path, made: Path, name: str, graph: str) -> list[str]:
    return [
        "--fmk=MINDIR",
        "--saveType=MINDIR",
        "--optimize=ascend_oriented",
        f"--modelFile={out}/{graph}",
        f"--outputFile={made}/{name}",
        f"--configFile={out}/configs/{name}.cfg",
    ]


def test_each_graph_is_converted_with_its_configuration(host: Host, tmp_path: Path) -> None:
    assert subprocess.run([BASH, "-n", host.out / "convert.sh"], check=False).returncode == 0
    ran = host.run()
    assert ran.returncode == 0, ran.stderr
    made = tmp_path / "my out-converted"
    odd = "my $(odd) 'graph'.mindir"
    assert host.asked == arguments(host.out, made, "unet", "unet_graph.mindir") + arguments(host.out, made, "odd", odd)
    assert sorted(path.name for path in made.iterdir()) == ["odd.mindir", "unet.mindir"]
    assert ran.stdout.splitlines()[-1] == f"the graphs are in {made}"
    assert [path.name for path in host.out.iterdir()] == ["convert.sh"]


def test_some_graphs_into_a_folder_of_ones_choice(host: Host, tmp_path: Path) -> None:
    assert host.run("a b/c", "odd").returncode == 0
    assert host.asked[4] == f"--outputFile={tmp_path}/a b/c/odd"
    assert len(host.asked) == 6
    ran = host.run("made", "unet", "unet_2")
    assert (ran.returncode, host.asked) == (1, [])
    assert ran.stderr == "convert.sh: there is no component unet_2; look at components= in this file.\n"


def test_not_into_the_folder_of_the_graphs(host: Host) -> None:
    for folder in (host.out, host.out / "made"):
        ran = host.run(folder)
        assert (ran.returncode, host.asked) == (1, [])
        assert "name another folder" in ran.stderr
    assert [path.name for path in host.out.iterdir()] == ["convert.sh"], "a folder was left behind"


@pytest.mark.parametrize(("name", "said"), [("fails", "failed at fails"), ("silent", "wrote no graph of silent into")])
def test_the_first_failure_ends_it(tmp_path: Path, name: str, said: str) -> None:
    host = Host(tmp_path, convert_script(manifest(*(component(one, "g") for one in ("large", name, "unet")))))
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / f"{name}.mindir").write_text("of an earlier run")
    ran = host.run("made")
    assert ran.returncode == 1
    assert said in ran.stderr
    assert len(host.asked) == 12
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["large_graph.mindir"]


@pytest.mark.parametrize(
    ("package", "given", "said"),
    [
        ("mindspore-lite-2.7.0-linux-x64", "", ""),
        ("mindspore-lite-2.6.0-linux-x64", "", "is of MindSpore Lite 2.6.0, and these graphs are for 2.7; use that."),
        ("mindspore-lite-2.70.0-linux-x64", "", "is of MindSpore Lite 2.70.0, and"),
        ("lite", "", "is not known; say it with LITE_VERSION="),
        ("lite", "2.7.1", ""),
        ("lite", "2.10", "is of MindSpore Lite 2.10, and"),
        ("mindspore-lite-2.6.0-linux-x64", "2.7", ""),
    ],
)
def test_the_version_is_checked(tmp_path: Path, package: str, given: str, said: str) -> None:
    host = Host(tmp_path, SCRIPT, package)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")  # without MindSpore Lite's package
    (tmp_path / "bin" / "python3").chmod(0o755)
    host.path.insert(0, str(tmp_path / "bin"))
    ran = host.run(LITE_VERSION=given)
    assert ran.returncode == (1 if said else 0), ran.stderr
    assert said in ran.stderr
    assert bool(host.asked) == (not said)


def test_the_python_package_knows_the_version(tmp_path: Path) -> None:
    host = Host(tmp_path, SCRIPT, "lite")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\necho 2.7.1\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    host.path.insert(0, str(tmp_path / "bin"))
    assert host.run().returncode == 0
    # A link in PATH is followed to the package.
    (tmp_path / "bin" / "converter_lite").symlink_to(host.program)
    assert host.run().returncode == 0


def test_graphs_of_no_known_version(tmp_path: Path) -> None:
    host = Host(tmp_path, convert_script(manifest(component("unet", "g"), mindspore=None)), "lite")
    assert host.run().returncode == 0
    host.path = ["/usr/bin", "/bin"]
    ran = host.run(tmp_path / "made")
    assert (ran.returncode, ran.stderr) == (1, "convert.sh: converter_lite is not in PATH; add its folder.\n")
    assert not (tmp_path / "made").exists()


def test_the_series_of_a_version() -> None:
    assert [lite_series(version) for version in ("2.7.1", "2.10.0", "2.7")] == ["2.7", "2.10", "2.7"]


def sections(text: str) -> dict[str, dict[str, str]]:
    # As MindSpore Lite's two parsers read it: a comment opens its line, a key and a value are parted by one sign.
    assert all(line.startswith(("#", "[")) or line.count("=") == 1 for line in text.splitlines() if line)
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return {section: dict(parser[section]) for section in parser.sections()}


PRECISION = {
    "ascend_context": {"precision_mode": "enforce_origin"},
    "ge_global_options": {"ge.exec.precision_mode": "must_keep_origin_dtype"},
}


def test_configurations() -> None:
    text = configuration("unet_graph.mindir", "ascend310p", None)
    assert sections(text) == PRECISION
    assert "unet_graph.mindir, which attnfuse wrote for ascend310p" in text
    shape = "sample:-1,4,64,64;timestep:1;states:-1,77,768"
    rows = sections(configuration("g", "ascend910b", Gears(shape, rows=(2, 4, 8))))
    assert rows == {**PRECISION, "acl_option_cfg_param": {"input_shape": shape, "dynamic_batch_size": "2,4,8"}}
    dims = sections(configuration("g", "ascend910b", Gears(shape, dims=((2, 32), (4, 64)))))
    assert dims["acl_option_cfg_param"] == {"input_shape": shape, "dynamic_dims": "2,32;4,64"}
    unknown = configuration("g", "ascend910b", Gears(shape))
    assert sections(unknown) == {**PRECISION, "acl_option_cfg_param": {}}
    assert f"\n# input_shape={shape}\n# dynamic_dims=\n" in unknown
    # A name with line breaks adds no section and no key.
    odd = "g\n[ge_global_options]\nge.exec.precision_mode=force_fp16\n"
    assert sections(configuration(f"{odd}.mindir", "ascend910b", Gears(f"{odd}:-1"))) == sections(unknown)
