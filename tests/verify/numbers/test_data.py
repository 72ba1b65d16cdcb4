"""`--data`: what is taken from a file of inputs, and what is said of one that does not fit."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from attnfuse.errors import AttnfuseError, SourceError, UsageError
from attnfuse.ir.graph import Model
from attnfuse.ir.types import Array
from attnfuse.mindir.codec import serialise
from attnfuse.mindir.dtypes import BFLOAT16, BOOL, FLOAT16, INT64
from attnfuse.verify import data_files
from attnfuse.verify.numbers.data import batches_of, read_sets
from tests.support.graphs import GraphBuilder, seeded

X = seeded("x", (2, 3), FLOAT16)
N = np.array([3, 1], np.int64)
KEEP = np.array([[True, False, True]] * 2)
GOOD: dict[str, Array] = {"x": X, "n": N, "keep": KEEP}


def graph(rows: int = 2, *, of_bfloat16: bool = False) -> Model:
    g = GraphBuilder("g")
    x = g.input("x", (rows, 3), BFLOAT16 if of_bfloat16 else FLOAT16)
    n, keep = g.input("n", (rows,), INT64), g.input("keep", (rows, 3), BOOL)
    g.output(g.muls(x, 1.0), g.muls(n, 1), g.logical_not(keep))
    return g.model()


def save(folder: Path, name: str = "a.npz", **changed: Array) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **{**GOOD, **changed})
    return folder / name


def test_arrays_are_taken_by_the_name_of_the_input(tmp_path: Path) -> None:
    model = graph()
    (read,) = read_sets(model, [save(tmp_path)])
    assert [name.partition(":")[2] for name in read.inputs] == ["x", "n", "keep"]
    for name, value in read.inputs.items():
        wanted = GOOD[name.partition(":")[2]]
        np.testing.assert_array_equal(value, wanted)
        assert value.dtype == wanted.dtype
    assert read.file.name == "a.npz"
    assert read.file.sha256[:12] in read.label


@pytest.mark.parametrize(
    "changed",
    [{"x": X.astype(np.float64)}, {"x": X.astype(np.float32)}, {"n": N.astype(np.int8)}, {"x": np.asfortranarray(X)}],
)
def test_another_type_is_taken_where_it_holds_the_same_numbers(changed: dict[str, Array], tmp_path: Path) -> None:
    (read,) = read_sets(graph(), [save(tmp_path, "a.npz", **changed)])
    for name, value in read.inputs.items():
        np.testing.assert_array_equal(value, GOOD[name.partition(":")[2]])
        assert value.dtype == GOOD[name.partition(":")[2]].dtype


def test_numbers_that_are_none_are_taken(tmp_path: Path) -> None:
    odd = np.array([[np.nan, np.inf, -np.inf]] * 2)
    (read,) = read_sets(graph(), [save(tmp_path, x=odd)])
    np.testing.assert_array_equal(next(iter(read.inputs.values())).astype(np.float64), odd)


def test_bfloat16_is_taken_as_numpy_stores_it_and_as_float32(tmp_path: Path) -> None:
    held = seeded("x", (2, 3), BFLOAT16)
    for value in (held, held.astype(np.float32)):
        (read,) = read_sets(graph(of_bfloat16=True), [save(tmp_path, x=value)])
        np.testing.assert_array_equal(next(iter(read.inputs.values())), held)


def objects(path: Path) -> None:
    np.savez(path, **{**GOOD, "x": np.array([{}], object)})


def text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in GOOD:
            archive.writestr(f"{name}.npy", b"hello")


def half(path: Path) -> None:
    np.savez(path, **GOOD)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(path: Path) -> None:
    np.savez(path, **GOOD)
    data = bytearray(path.read_bytes())
    data[data.index(X.tobytes())] ^= 255
    path.write_bytes(data)


def short(path: Path) -> None:
    """A header that promises more than there is."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in GOOD.items():
            with archive.open(f"{name}.npy", "w") as stream:
                header = {"descr": value.dtype.str, "fortran_order": False, "shape": value.shape}
                np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]


def array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, X)


WRONG: dict[str, tuple[Callable[[Path], object], type[AttnfuseError], str]] = {
    "missing": (lambda p: np.savez(p, x=X, keep=KEEP), UsageError, r"lacks n; the graph's inputs are x, n, keep"),
    "extra": (lambda p: np.savez(p, **GOOD, m=N), UsageError, "has m, which no input is called"),
    "both": (lambda p: np.savez(p, x=X, N=N, keep=KEEP), UsageError, "lacks n and has N, which"),
    "none": (lambda p: np.savez(p), UsageError, "lacks x, n, keep"),
    "shape": (lambda p: np.savez(p, **{**GOOD, "x": X[:1]}), UsageError, r"x is of shape \[1, 3\].*float16\[2, 3\]"),
    "rank": (lambda p: np.savez(p, **{**GOOD, "n": N[None]}), UsageError, r"n is of shape \[1, 2\]"),
    "fractions": (lambda p: np.savez(p, **{**GOOD, "n": N / 2}), UsageError, r"n is float64, and.*int64\[2\]"),
    "numbers for truth": (lambda p: np.savez(p, **{**GOOD, "keep": KEEP * 1}), UsageError, r"keep is int64.*bool"),
    "words": (lambda p: np.savez(p, **{**GOOD, "n": np.array(["a", "b"])}), UsageError, "n is <U1"),
    "rounding": (
        lambda p: np.savez(p, **{**GOOD, "x": X.astype(np.float64) + 1e-9}),
        UsageError,
        "numbers that float16 does not hold",
    ),
    "too large": (
        lambda p: np.savez(p, **{**GOOD, "x": X.astype(np.float64) * 1e9}),
        UsageError,
        "numbers that float16 does not hold",
    ),
    "objects": (objects, SourceError, "x holds Python objects, which are not unpickled"),
    "no zip": (lambda p: p.write_text("hello"), SourceError, r"is no \.npz file; write one with numpy.savez"),
    "an array": (array, SourceError, r"is no \.npz file"),
    "nothing in it": (lambda p: p.write_bytes(b""), SourceError, r"is no \.npz file"),
    "text": (text, SourceError, "x is no array of numpy"),
    "half": (half, SourceError, r"is no \.npz file"),
    "damaged": (damaged, SourceError, "x (ends too early or is damaged|is no array of numpy)"),
    "short": (short, SourceError, "x ends too early or is damaged"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_does_not_fit_is_told_in_one_sentence(what: str, tmp_path: Path) -> None:
    write, error, message = WRONG[what]
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(error, match=message) as told:
        read_sets(graph(), [path])
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(str(path))


def test_what_an_open_size_lets_in_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_graph = graph(-1)
    read_sets(open_graph, [save(tmp_path)])
    with pytest.raises(UsageError, match=r"x is of shape \[0, 3\]"):
        read_sets(open_graph, [save(tmp_path, x=X[:0])])
    monkeypatch.setattr("attnfuse.verify.numbers.data.LARGEST", 8)
    with pytest.raises(UsageError, match=r"x of shape \[2, 3\] is larger"):
        read_sets(open_graph, [save(tmp_path)])


# --- which file is whose


def names(found: Mapping[str, tuple[Path, ...]]) -> dict[str, list[str]]:
    return {name: [file.name for file in files] for name, files in found.items()}


def test_a_file_is_of_one_component(tmp_path: Path) -> None:
    file = save(tmp_path)
    assert data_files(file, ["unet"]) == {"unet": (file,)}
    with pytest.raises(UsageError, match="there are 2 components: choose one, or name a folder"):
        data_files(file, ["unet", "vae"])


def test_a_folder_holds_sets_by_component(tmp_path: Path) -> None:
    save(tmp_path, "unet.npz")
    save(tmp_path / "vae", "b.npz")
    save(tmp_path / "vae", "a.npz")
    (tmp_path / "vae" / "notes.txt").write_text("not a set")
    found = data_files(tmp_path, ["unet", "vae", "text_encoder"])
    assert names(found) == {"unet": ["unet.npz"], "vae": ["a.npz", "b.npz"], "text_encoder": []}


def test_a_folder_for_one_component_may_hold_its_sets(tmp_path: Path) -> None:
    save(tmp_path, "2.npz")
    save(tmp_path, "1.npz")
    assert names(data_files(tmp_path, ["m"])) == {"m": ["1.npz", "2.npz"]}


def test_nothing_to_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no \.npz file of inputs; looked for: unet.npz"):
        data_files(tmp_path, ["unet"])
    with pytest.raises(SourceError, match="does not exist"):
        data_files(tmp_path / "nowhere", ["unet"])
    (tmp_path / "unet.npz").write_text("hello")
    with pytest.raises(SourceError, match=r"is no \.npz file"):
        data_files(tmp_path, ["unet"])


def test_sizes_tell_the_batch(tmp_path: Path) -> None:
    graphs = {batch: serialise(graph(2 * batch).proto) for batch in (1, 2)}

    def of(rows: int, name: str) -> Path:
        wide = {key: np.repeat(value[:1], rows, axis=0) for key, value in GOOD.items()}
        return save(tmp_path, name=name, **wide)

    two, six = of(2, "two.npz"), of(6, "six.npz")
    assert batches_of([two, six], graphs) == {1: [two], 3: [six]}
    with pytest.raises(
        UsageError, match=r"three.npz: .*is of no one batch; at batch 1 the graph takes x float16\[2, 3\]"
    ):
        batches_of([of(3, "three.npz")], graphs)
    mixed = save(tmp_path, "mixed.npz", n=np.array([1, 2, 3, 4]))
    with pytest.raises(UsageError, match="is of no one batch"):
        batches_of([mixed], graphs)
