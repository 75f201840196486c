"""Files made to run code, to fill the memory or to read past their end: nothing of them runs, each is refused."""

from __future__ import annotations

import builtins
import codecs
import copy
import math
import os
import pickle
import pickletools
import random
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import checkpoints
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.core.detailer import detector
from sd_concord.core.detailer.checkpoint import convert_detector
from sd_concord.core.detailer.checkpoint.contents import read_checkpoint
from sd_concord.core.detailer.checkpoint.names import permitted
from sd_concord.core.detailer.checkpoint.pickles import Made, Name, Stored, read_pickle
from sd_concord.core.errors import BadFile


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small model, and the ultralytics that reads it, imported."""
    return checkpoints.save(checkpoints.small(), tmp_path_factory.mktemp("honest") / "honest.pt")


# Who runs what: an audit hook hears of every import, call of exec, opened file and started program.

_HEARD: list[str] | None = None
_LOUD = (
    "import",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "pickle.",
    "socket.",
    "shutil.",
    "ctypes.",
    "open",
)


def _listen(event: str, _: Any) -> None:
    if _HEARD is not None and event.startswith(_LOUD):
        _HEARD.append(event)


sys.addaudithook(_listen)


@contextmanager
def listening() -> Iterator[list[str]]:
    global _HEARD  # noqa: PLW0603  (a hook cannot be taken away again)
    _HEARD = heard = []
    try:
        yield heard
    finally:
        _HEARD = None


# The four attacks


def plain(path: Path, marker: Path) -> Path:
    torch.save({"model": checkpoints.Calls(os.mkdir, str(marker))}, path)
    return path


def legacy(path: Path, marker: Path) -> Path:
    evil = {"model": checkpoints.Calls(os.mkdir, str(marker))}
    torch.save(evil, path, _use_new_zipfile_serialization=False)
    return path


def activation(path: Path, marker: Path) -> Path:
    """A call of ultralytics' own class, whose argument holds a text that it evaluates."""
    table = {**checkpoints.SMALL, "activation": f"__import__('os').mkdir({str(marker)!r}) or nn.SiLU()"}
    torch.save({"model": checkpoints.Calls(checkpoints.tasks().DetectionModel, table)}, path)
    return path


def globals_of_a_method(path: Path, marker: Path) -> Path:
    """The way from an allowed class to everything its module can see."""
    forward = checkpoints.tasks().Conv.forward
    reach = checkpoints.Calls(getattr, forward, "__globals__")
    torch.save({"model": reach, "more": checkpoints.Calls(os.mkdir, str(marker))}, path)
    return path


ATTACKS = (plain, legacy, activation, globals_of_a_method)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_does_not_run(
    attack: Callable[[Path, Path], Path], tmp_path: Path, honest: Path
) -> None:
    path, marker = attack(tmp_path / "evil.pt", tmp_path / "ran"), tmp_path / "ran"
    with pytest.raises(BadFile, match=r"evil.pt is refused"):
        convert_detector(path)
    with pytest.raises(BadFile, match=r"evil.pt is refused"):
        detector.load_detector(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["evil.pt"]
    torch.load(path, weights_only=False)  # the attack is a real one
    assert marker.is_dir()


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (plain, f"{os.mkdir.__module__}.mkdir"),
        (legacy, "older pickle is not read"),
        (activation, "no layers"),
        (globals_of_a_method, "__globals__"),
    ],
)
def test_a_refusal_names_what_was_asked_for(
    attack: Callable[[Path, Path], Path], name: str, tmp_path: Path, honest: Path
) -> None:
    with pytest.raises(BadFile, match=name):
        read_checkpoint(attack(tmp_path / "evil.pt", tmp_path / "ran"))


def test_an_activation_in_an_honest_network_is_looked_up_and_never_evaluated(tmp_path: Path) -> None:
    model = checkpoints.small()
    model.yaml["activation"] = f"__import__('os').mkdir({str(tmp_path / 'ran')!r}) or nn.SiLU()"
    with pytest.raises(BadFile, match='its activation is "__import__'):
        read_checkpoint(checkpoints.save(model, tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([-1, 1, "torchvision.ops.Conv2dNormActivation", [3]], "layer 3 is 'torchvision.ops"),
        ([-1, 1, "TorchVision", [3, "resnet18", "DEFAULT"]], "layer 3 is 'TorchVision'"),
        ([-1, 1, "eval", ["1"]], "layer 3 is 'eval'"),
        ([-1, 1, "nn.modules.activation.os.system", ["id"]], "layer 3 is 'nn.modules"),
        ([-1, 1, "Conv", ["__import__('os').getcwd()", 3, 1]], 'argument "__import__'),
        ([-1, 1, "Conv", ["layers"]], "argument 'layers'"),
        ([-1, 1, "Conv", [10**9, 3, 1]], "argument 1000000000"),
        ([-1, 10**6, "Conv", [16]], "repeated 1000000 times"),
        ([7, 1, "Conv", [16]], "takes its input from 7"),
        ([-1, 1, "SPPF", [16, 5, 4096]], "4096 times"),
        ([-1, 1, "nn.Upsample", ["None", 4096, "nearest"]], "4096 times"),
    ],
    ids=lambda value: value[2] if isinstance(value, list) else "",
)
def test_a_layer_that_is_not_in_the_table_is_refused(row: list[Any], words: str, tmp_path: Path) -> None:
    model = checkpoints.small()
    model.yaml["head"].insert(0, row)
    with pytest.raises(BadFile, match=words):
        read_checkpoint(checkpoints.save(model, tmp_path / "evil.pt"))


def nest(depth: int = 60) -> list[Any]:
    """Return lists within lists that take a moment to make, and for ever to print."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


ODD = {
    "a nest": nest(),
    "a dict of nests": {"a": nest()},
    "below zero": -1,
    "a huge number": 10**5000,
    "infinity": math.inf,
    "a long text": "x" * 10**6,
    "a set": {1},
}


def places(model: Any, odd: Any) -> list[Callable[[], Any]]:
    """Return what puts ``odd`` into the model, one place after another."""
    table, head = model.yaml, model.model[-1]
    row, keys = table["head"][0], (*table, "scales", "activation", "kpt_shape", "end2end")
    return [
        *(lambda key=key: table.update({key: odd}) for key in keys),
        *(lambda at=at: row.__setitem__(at, odd) for at in range(4)),
        lambda: row[3].append(odd),
        lambda: table.update(scales={"n": odd}),
        lambda: model.names.update({0: odd}),
        *(lambda name=name: vars(model).update({name: odd}) for name in ("names", "yaml", "args")),
        *(
            lambda name=name: vars(head).update({name: odd})
            for name in ("_modules", "_parameters", "_buffers")
        ),
        lambda: vars(head).update(_non_persistent_buffers_set=odd),
        lambda: vars(model.model[0].bn).update(eps=odd),
    ]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values_anywhere_in_a_network_are_refused_at_once(odd: Any, tmp_path: Path) -> None:
    model, refused = checkpoints.small(), 0
    for number in range(len(places(model, odd))):
        spoilt = copy.deepcopy(model)
        places(spoilt, odd)[number]()
        try:
            read_checkpoint(checkpoints.save(spoilt, tmp_path / "odd.pt"))
        except BadFile as error:
            assert len(str(error)) < 1000  # noqa: PT017
            refused += 1
    assert refused > 10


# Archives


def test_a_compressed_archive_is_refused_before_it_is_unpacked(honest: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", checkpoints.pickled({"model": None}))
        file.writestr("archive/data/0", bytes(1 << 26))
    with pytest.raises(BadFile, match="compressed"):
        read_checkpoint(bomb)
    packed = checkpoints.rewritten(honest, bytes, tmp_path / "packed.pt", zipfile.ZIP_DEFLATED)
    with pytest.raises(BadFile, match="compressed"):
        read_checkpoint(packed)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The zip bomb without compression: many entries that point at one place."""
    path = checkpoints.archive(tmp_path / "bomb.pt", b".", {"data/0": bytes(100_000)})
    with zipfile.ZipFile(path, "a") as file:
        entry = file.getinfo("archive/data/0")
        for number in range(1, 20):
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            twin.file_size = twin.compress_size = entry.file_size
            twin.CRC, twin.header_offset = entry.CRC, entry.header_offset
            file.filelist.append(twin)
        file._didModify = True  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(BadFile, match="more bytes than the file has"):
        read_checkpoint(path)


def test_two_pickles_are_refused(tmp_path: Path) -> None:
    path = checkpoints.archive(tmp_path / "two.pt", checkpoints.pickled({}), {"inner/data.pkl": b"N."})
    with pytest.raises(BadFile, match=r"2 files data.pkl"):
        read_checkpoint(path)


@pytest.mark.parametrize("length", [0, 3, 100, 5000], ids=str)
def test_a_file_that_is_cut_short_is_refused(length: int, honest: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(honest.read_bytes()[:length])
    with pytest.raises(BadFile, match=r"cut.pt is refused"):
        read_checkpoint(path)


# Tensors


class Persistent:
    """Pickled as a storage that lies in the archive."""

    def __init__(self, count: int, key: str = "0", kind: Any = torch.FloatStorage) -> None:
        self.id = ("storage", kind, key, "cpu", count)


def with_tensor(path: Path, storage: Persistent, offset: Any, size: Any, stride: Any, held: int = 10) -> Path:
    """Write a network whose only tensor is described by the arguments, over a storage of ``held`` numbers."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.id if isinstance(obj, Persistent) else None

    rebuild = torch._utils._rebuild_tensor_v2  # pyright: ignore
    tensor = checkpoints.Calls(rebuild, storage, offset, size, stride, False, {})
    model = checkpoints.small()
    del model.stride  # a tensor, which this pickler would save in its own way
    model.model = torch.nn.Sequential(torch.nn.Identity())
    model.model.__dict__["_parameters"] = {"weight": tensor}
    raw = path.with_suffix(".pkl")
    with raw.open("wb") as file:
        Pickler(file, protocol=2).dump({"model": model})
    return checkpoints.archive(path, raw.read_bytes(), {"data/0": bytes(4 * held)})


@pytest.mark.parametrize(
    ("storage", "offset", "size", "stride", "words"),
    [
        (Persistent(10), 0, (11,), (1,), "does not fit"),
        (Persistent(10), 5, (6,), (1,), "does not fit"),
        (Persistent(10), 0, (2, 5), (6, 1), "does not fit"),
        (Persistent(10), 0, (10**6, 10**6), (0, 0), "does not fit"),
        (Persistent(10), 0, (2**40,), (1,), "not described"),
        (Persistent(10), -1, (5,), (1,), "not described"),
        (Persistent(10), 0, (5,), (-1,), "not described"),
        (Persistent(10), 0, (5, 2), (1,), "different lengths"),
        (Persistent(10), 0, [5], [1], "not described"),
        (Persistent(2**40), 0, (5,), (1,), "not described"),
        (Persistent(11), 0, (5,), (1,), "another size"),
        (Persistent(10, kind=torch.DoubleStorage), 0, (5,), (1,), "another size"),
        (Persistent(10, key="../data.pkl"), 0, (5,), (1,), "another size"),
        (Persistent(10, key="1"), 0, (5,), (1,), "not in the file"),
    ],
    ids=[
        "too long",
        "from the middle",
        "strides past the end",
        "one number for all",
        "huge",
        "before the start",
        "backwards",
        "shape and stride",
        "lists",
        "huge storage",
        "storage past its file",
        "another type",
        "another file",
        "no file",
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    storage: Persistent, offset: Any, size: Any, stride: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFile, match=words):
        read_checkpoint(with_tensor(tmp_path / "evil.pt", storage, offset, size, stride))


def test_a_tensor_within_its_storage_gets_past_that_check(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no batch normalisation"):
        read_checkpoint(with_tensor(tmp_path / "fine.pt", Persistent(10), 2, (4, 2), (2, 1)))


def test_many_tensors_of_one_storage_may_not_outgrow_the_file(tmp_path: Path) -> None:
    model = checkpoints.small()
    weight = torch.nn.Parameter(torch.zeros(1000, 100))
    for layer in model.model:
        for number in range(50):
            layer.register_parameter(f"w{number}", torch.nn.Parameter(weight.data))
    with pytest.raises(BadFile, match="more numbers than the file"):
        read_checkpoint(checkpoints.save(model, tmp_path / "evil.pt"))


def test_modules_that_hold_each_other_end(tmp_path: Path) -> None:
    model = checkpoints.small()
    layer = model.model[0]
    layer.__dict__["_modules"] = {"a": layer, "b": layer}
    with pytest.raises(BadFile, match="nested too deep"):
        read_checkpoint(checkpoints.save(model, tmp_path / "evil.pt"))


# Pickles


def names_in(value: Any) -> set[str]:
    """Return every name in an inert value."""
    found, todo, seen = set[str](), [value], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        assert type(one) in PLAIN, type(one)
        if isinstance(one, Name):
            found.add(str(one))
        elif isinstance(one, Made):
            todo += [one.name, one.args, one.state, one.items]
        elif isinstance(one, Stored):
            todo.append(one.key)
        elif isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            todo += one
    return found


PLAIN = {type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, Name, Made, Stored}
CANARY = ModuleType("ultralytics_canary")
TOUCHED: list[str] = []


def _touch(*args: Any, **kwargs: Any) -> None:
    TOUCHED.append("called")


vars(CANARY).update(touch=_touch, Touch=type("Touch", (), {"__new__": _touch, "__setstate__": _touch}))


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module below a permitted package, whose contents tell when they are called."""
    monkeypatch.setitem(sys.modules, "ultralytics.canary", CANARY)
    monkeypatch.setattr(builtins, "getattr", builtins.getattr)
    TOUCHED.clear()
    yield
    assert TOUCHED == []


def test_the_canary_sings_where_pickles_are_run() -> None:
    pickle.loads(b"cultralytics.canary\ntouch\n)R.")
    assert TOUCHED == ["called"]
    TOUCHED.clear()


for codec in ("raw_unicode_escape", "unicode_escape", "latin_1", "ascii", "utf_8"):
    codecs.lookup(codec)  # the first use of each imports Python's own module, which would be heard


def harmless(data: bytes) -> Any:
    """Read ``data``; fail when anything was heard, or came out that is not inert."""
    value = None
    with listening() as heard:
        try:
            value = read_pickle(data, permitted)
        except BadFile:
            value = "refused"
    assert heard == []
    named = names_in(value) - {"builtins.frozenset"}  # that an opcode makes without naming it
    assert all(permitted(Name(*full.rpartition(".")[::2])) for full in named)
    return value


FRAGMENTS = [
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\ngetattr\n", b"cultralytics.canary\ntouch\n",
    b"cultralytics.canary\nTouch\n", b"cultralytics.nn.modules.conv\nConv\n", b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ccopyreg\n_reconstructor\n",
    b"cultralytics.nn\ntasks.torch_load\n", b"cultralytics.nn.tasks\n__builtins__\n",
    b"X\x02\x00\x00\x00id", b"X\x07\x00\x00\x00forward", b"X\x0b\x00\x00\x00__globals__", b"U\x02id",
    b"X\x12\x00\x00\x00ultralytics.canary", b"X\x05\x00\x00\x00touch", b"X\x07\x00\x00\x00storage",
    b"(", b")", b"]", b"}", b"\x8f", b"N", b"K\x01", b"J\x00\x00\x00\x7f", b"G?\xf0\x00\x00\x00\x00\x00\x00",
    b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"R", b"o", b"\x81", b"\x92", b"\x93", b"b", b"s", b"u", b"a",
    b"e", b"\x90", b"\x91", b"0", b"1", b"2", b"q\x00", b"h\x00", b"\x94", b"r\x01\x00\x00\x00", b"j\x01\x00\x00\x00",
    b"Q", b"P0\n", b"ios\nsystem\n", b"icollections\nOrderedDict\n", b"\x82\x01", b"\x83\x01\x00", b"\x97", b"\x98",
    b"\x80\x02", b"\x95\x00\x00\x00\x00\x00\x00\x00\x00", b"\x8a\x01\x01", b"I01\n", b"L1L\n", b".",
]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_no_row_of_operations_runs_anything(fragments: list[bytes]) -> None:
    harmless(b"\x80\x02" + b"".join(fragments) + b".")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_run_anything(data: bytes) -> None:
    harmless(data)


def test_thousands_of_mutations_of_a_real_pickle_run_nothing(honest: Path) -> None:
    with zipfile.ZipFile(honest) as file:
        data = file.read(next(name for name in file.namelist() if name.endswith("data.pkl")))
    # Of the whole pickle little would be read after a change near its start: it is cut into pieces as well.
    starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    rng, refused = random.Random(0), 0
    for _ in range(3000):
        first = rng.choice(starts)
        piece = bytearray(data[first : first + rng.randrange(1, 600)])
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(piece))
            match rng.randrange(3):
                case 0:
                    piece[place] = rng.randrange(256)
                case 1:
                    piece[place:place] = rng.choice(FRAGMENTS)
                case _:
                    del piece[place : place + rng.randrange(1, 9)]
            piece = piece or bytearray(b".")
        refused += harmless(b"(" * 3 + bytes(piece) + b".") == "refused"
    assert refused < 3000


def test_mutated_checkpoints_run_nothing(honest: Path, tmp_path: Path) -> None:
    rng, path = random.Random(1), tmp_path / "mutant.pt"
    whole = honest.read_bytes()
    read_checkpoint(honest)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        with listening() as heard:
            try:
                read_checkpoint(path)
            except BadFile as error:
                assert str(error).startswith("mutant.pt is refused")  # noqa: PT017
        assert set(heard) <= {"open"}  # the file itself


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "builtins.__import__", "torch.load", "torch.hub.load", "numpy.load",
        "runpy.run_path",
        "ultralytics.nn.tasks.__builtins__", "ultralytics.__main__.main", "ultralytics.nn.tasks.os.system",
        "torch.nn.modules.module.torch.load", "dill._dill._eval_repr", "functools.partial", "operator.attrgetter",
        "torch.serialization.load", "pathlib.os", "sd_concord.core.errors.BadFile",
    ],
)  # fmt: skip
def test_names_that_could_do_something_are_not_permitted(name: str) -> None:
    module, _, last = name.rpartition(".")
    if name == "ultralytics.nn.tasks.os.system":
        module, last = "ultralytics.nn.tasks", "os.system"
    if name == "torch.nn.modules.module.torch.load":
        module, last = "torch.nn.modules.module", "torch.load"
    assert not permitted(Name(module, last))
