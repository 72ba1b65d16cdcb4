"""`verify SOURCE OUT` and `verify OUT`: each component, what is kept of earlier verifications, and what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnfuse import output_verification
from attnfuse.staged_verification import Staged, verify_staged
from attnfuse.verify import ComponentVerification
from tests.cli.conftest import NAMES, Answer, Command, Run, verified
from tests.support.console import logged
from tests.support.tracer import Tracer, stand_in


@pytest.fixture
def out(compiled: Run, tmp_path: Path) -> Path:
    """An output that was not verified."""
    compiled()
    return tmp_path / "out"


def flip(file: Path) -> None:
    data = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.usefixtures("verifying")
def test_an_output_is_verified_against_its_source_once(command: Command, source: Path, out: Path) -> None:
    def run(*options: str) -> Answer:
        return command("verify", source, out, "--progress", "never", *options)

    answer = run()
    assert answer.code == 0
    assert "not verified again" not in answer.err
    assert verified(out) == dict.fromkeys(NAMES, ("full", 0))
    document = (out / "verification.json").read_bytes()
    answer = run()
    assert [line for line in answer.err.splitlines() if "not verified again" in line] == [
        f"{name}: not verified again: the certificate is of the same files" for name in NAMES
    ]
    assert (out / "verification.json").read_bytes() == document
    log = out.parent / "verify.log"
    assert "not verified again" not in run("--again", "--log-file", str(log)).err
    assert any(line.startswith("unet: verifying ") for line in logged(log))
    assert run("--level", "static").err.count("not verified again") == 3  # full says more
    assert "not verified again" not in run("--seed", "5").err
    assert verified(out) == dict.fromkeys(NAMES, ("full", 5))
    assert run("--seed", "5", "--component", "vae_encoder", "--json").document["components"][0]["name"] == "vae_encoder"
    assert verified(out) == dict.fromkeys(NAMES, ("full", 5))


@pytest.mark.usefixtures("verifying")
def test_what_compile_verified_is_not_verified_again(
    command: Command, compiled: Run, source: Path, tmp_path: Path
) -> None:
    compiled(options=("--verify", "full"))
    assert command("verify", source, tmp_path / "out").err.count("not verified again") == 3


@pytest.mark.usefixtures("verifying")
def test_compile_does_not_verify_again_either(compiled: Run, source: Path, out: Path, tmp_path: Path) -> None:
    def again(*options: str | Path) -> int:
        return compiled(options=("--verify", "full", *options)).err.count("not verified again")

    assert again() == 0
    document = (out / "verification.json").read_bytes()
    assert again() == 3
    assert (out / "verification.json").read_bytes() == document
    assert again("--again") == 0
    assert again("--seed", "5") == 0
    assert again("--seed", "5") == 3
    (tmp_path / "policy.toml").write_text("[defaults]\nassume_no_fully_masked_rows = true\n")
    assert again("--seed", "5", "--policy", tmp_path / "policy.toml") == 0  # what is asked is another


@pytest.mark.usefixtures("verifying")
def test_only_what_changed_is_verified_again(
    command: Command, compiled: Run, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("verify", source, out)
    compiled(options=("--no-flash", "vae_encoder"))
    seen: list[str] = []
    check = verify_staged

    def watched(staged: Staged, *given: Any, **named: Any) -> ComponentVerification:
        seen.append(staged.component.name)
        return check(staged, *given, **named)

    monkeypatch.setattr(output_verification, "verify_staged", watched)
    assert command("verify", source, out).code == 0
    assert seen == ["vae_encoder"]
    tracer = Tracer()
    tracer.spill = ["blocks.0.attn1.to_q.weight"]
    stand_in(monkeypatch, tracer)
    answer = command("verify", source, out, "--again", "--component", "unet")
    assert answer.code == 4
    assert "unet: DIFFERS: unet_variables/data_0 does not hold the source's weights" in answer.err
    assert set(verified(out)) == set(NAMES) - {"unet"}


@pytest.mark.usefixtures("verifying")
@pytest.mark.parametrize("file", ["unet_graph.mindir", "unet_variables/data_0"])
def test_a_file_that_was_changed_is_a_difference(command: Command, source: Path, out: Path, file: str) -> None:
    command("verify", source, out)
    flip(out / file)
    for arguments in ((source, out), (out,)):
        answer = command("verify", *arguments, "--json", "--component", "unet")
        assert answer.code == 4
        (component,) = answer.document["components"]
        assert component["findings"] == [f"{Path(file).name} is not what was written: its digest differs."]


@pytest.mark.usefixtures("verifying")
def test_by_itself_it_is_what_its_certificate_tells(
    command: Command, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone: list[str] = []

    def check(name: str, graph: Path, work: Path) -> ComponentVerification:
        alone.append(name)
        return ComponentVerification(name=name, level="static", seed=0, fused_nodes=2)

    monkeypatch.setattr(output_verification, "verify_alone", check)
    answer = command("verify", out, "--json")
    assert answer.code == 5
    assert alone == NAMES
    assert answer.document["complete"] is False
    assert [c["not_verified"] for c in answer.document["components"]] == [[output_verification.NO_SOURCE]] * 3
    assert not (out / "verification.json").exists()  # nothing was compared
    command("verify", source, out, "--component", "unet")
    alone.clear()
    answer = command("verify", out)
    assert answer.code == 5
    assert alone == NAMES[1:]
    assert "unet: not verified again" in answer.err
    assert command("verify", out, "--component", "unet").code == 0
    assert command("verify", out, "--component", "unet", "--again").code == 5


@pytest.mark.usefixtures("verifying")
def test_by_itself_it_says_why_its_certificate_does_not_do(
    command: Command, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(name: str, graph: Path, work: Path) -> ComponentVerification:
        return ComponentVerification(name=name, level="static", seed=0, fused_nodes=2)

    monkeypatch.setattr(output_verification, "verify_alone", check)
    command("verify", source, out, "--component", "unet", "--level", "sampled")
    answer = command("verify", out, "--component", "unet")
    assert answer.code == 5
    assert "unet: NOT VERIFIED: the certificate tells of --level sampled, and this is of --level full" in answer.err
    assert command("verify", out, "--component", "unet", "--level", "sampled").code == 0
    (out / "verification.json").write_text("{")
    answer = command("verify", out, "--component", "unet")
    assert answer.code == 5
    assert "unet: NOT VERIFIED: the certificate is damaged or of another version" in answer.err


@pytest.mark.usefixtures("verifying")
def test_a_weaker_verification_leaves_a_stronger_certificate(
    command: Command, compiled: Run, source: Path, out: Path
) -> None:
    command("verify", source, out)
    document = (out / "verification.json").read_bytes()
    answer = command("verify", source, out, "--level", "static", "--again", "--component", "unet")
    assert answer.code == 0
    assert "warning: unet: its certificate stays as it was: it says more of the same files" in answer.err
    assert (out / "verification.json").read_bytes() == document
    answer = compiled(options=("--verify", "sampled", "--again"))
    assert answer.err.count("its certificate stays as it was") == 3
    assert (out / "verification.json").read_bytes() == document
    answer = command("verify", source, out, "--again", "--component", "unet")
    assert "stays as it was" not in answer.err


def spoil(out: Path, change: dict[str, Any]) -> None:
    """Change what the certificate says of the UNet."""
    path = out / "verification.json"
    document = json.loads(path.read_bytes())
    document["components"][0] |= change
    path.write_text(json.dumps(document))


@pytest.mark.usefixtures("verifying")
def test_a_certificate_whose_figures_do_not_hold_is_none(
    command: Command, compiled: Run, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ComponentVerification(name="unet", level="static", seed=0, fused_nodes=2)
    monkeypatch.setattr(output_verification, "verify_alone", lambda *_: alone)
    command("verify", source, out)
    spoil(out, {"findings": ["it differs"]})
    document = (out / "verification.json").read_bytes()
    said = "warning: unet: its certificate does not count (it has a finding: it differs); "
    answer = command("verify", out, "--component", "unet", "--level", "static")
    assert said + "no source is named to verify it with anew" in answer.err
    assert "NOT VERIFIED: the certificate does not count" in answer.err
    assert answer.code == 5
    assert (out / "verification.json").read_bytes() == document
    answer = command("verify", source, out)
    assert said + "it was verified anew" in answer.err
    assert answer.err.count("not verified again") == 2
    assert "does not count" not in command("verify", source, out).err
    spoil(out, {"outputs": [{"output": "sample"}]})
    answer = compiled(options=("--verify", "full"))
    assert (
        "warning: unet: its certificate does not count (ComponentVerification.outputs.0.shape: field req" in answer.err
    )
    assert answer.err.count("not verified again") == 2


@pytest.mark.usefixtures("verifying")
def test_a_profile_of_nothing_is_said_to_be_empty(command: Command, source: Path, out: Path, tmp_path: Path) -> None:
    command("verify", source, out)
    answer = command("verify", source, out, "--profile", tmp_path / "p.json")
    assert f"the profile {tmp_path / 'p.json'} is empty, as nothing was run" in answer.err
    assert json.loads((tmp_path / "p.json").read_bytes())["stages"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("{out}", "--max-memory", "8"), 2, "'8' is 8 bytes, which nothing can do with; write 8GiB for 8 GiB"),
        (("{tmp}",), 3, "was not written by attnfuse: there is no {tmp}/manifest.json; name {tmp}/out instead."),
        (("{tmp}/none",), 3, "there is no {tmp}/none; name the folder that attnfuse compile wrote"),
        (("{out}/manifest.json",), 3, "out/manifest.json is a file; name {tmp}/out instead."),
        (("{out}", "--component", "other"), 2, "has no component 'other'; it has unet"),
        (("{out}", "--data", "x.npz"), 2, "--data is for the runs of source and output"),
        (("{out}", "--batch", "3"), 2, "--batch is for attnfuse verify SOURCE OUT, and no source is named"),
        (("{out}", "--seed", "3"), 2, "--seed is for attnfuse verify SOURCE OUT, and no source is named"),
        (
            ("{out}/a.mindir", "{out}/b.mindir", "--measure-memory", "--profile", "p.json"),
            2,
            "--profile is for a verif",
        ),
        (("--certificate", "{out}/verification.json", "--json"), 2, "--json is for a verification, and --certificate"),
        (("{out}", "{out}", "--certificate", "{out}/verification.json"), 2, "out is a folder, and --certificate is"),
        (("{out}", "--measure-memory"), 2, "--measure-memory runs two graphs"),
        (
            ("{out}/unet_graph.mindir", "{out}/unet_graph.mindir", "--again"),
            2,
            "--again is for attnfuse verify SOURCE OUT",
        ),
        ((), 2, "name an output"),
    ],
)
def test_bad_arguments(
    command: Command, out: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    answer = command("verify", *(a.format(out=out, tmp=tmp_path) for a in arguments))
    assert answer.code == code
    assert text.format(tmp=tmp_path) in answer.error


def test_damaged_documents_are_told(command: Command, out: Path) -> None:
    (out / "report.json").write_text("{}")
    assert "report.json is damaged; compile again" in command("verify", out).error
    (out / "report.json").write_text('{"schema": "attnfuse.report/1"}')
    assert "is attnfuse.report/1, and this attnfuse reads attnfuse.report/2" in command("verify", out).error


@pytest.mark.usefixtures("verifying")
@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_what_a_loop_reads_is_what_was_written(
    command: Command, source: Path, out: Path, harm: Callable[[Path], object]
) -> None:
    """Configurations and tokenizers belong to no component; what is told to people may be edited."""
    (out / "README.md").write_text("notes")
    (out / "configs" / "unet.cfg").write_text("other batches")
    assert command("verify", source, out).code == 0
    harm(out / "vae" / "config.json")
    for arguments in (["verify", source, out], ["verify", out, "--level", "static"]):
        answer = command(*arguments)
        assert answer.code == 4
        assert f"{out}/vae/config.json is not what attnfuse wrote there; compile again." in answer.error
