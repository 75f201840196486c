"""Checkpoints that are converted and rebuilt, those that are refused, and where conversions lie."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sd_concord.core.detailer.checkpoint import build_network, convert_detector, read_converted
from sd_concord.core.detailer.checkpoint.architecture import Architecture
from sd_concord.core.detailer.checkpoint.contents import read_checkpoint
from sd_concord.core.detailer.detector import load_detector
from sd_concord.core.errors import BadFile, BadValue
from torch import Tensor

PICTURE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(checkpoints.small(), tmp_path_factory.mktemp("honest") / "small.pt")


@pytest.fixture
def mine(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest checkpoint in a folder of its own."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "small.pt"
    path.write_bytes(honest.read_bytes())
    return path


def tensors(answer: Any) -> list[Tensor]:
    """Return every tensor in the answer of a network, in order."""
    if isinstance(answer, Tensor):
        return [answer]
    parts = answer.values() if isinstance(answer, dict) else answer
    return [tensor for part in parts for tensor in tensors(part)]


def worst(model: Any, path: Path) -> float:
    """Return the largest difference between ultralytics' answers and those of the network rebuilt from ``path``."""
    network = build_network(read_converted(convert_detector(path)))
    with torch.inference_mode():
        own, ours = tensors(model.float().eval()(PICTURE)), tensors(network(PICTURE))
    assert [one.shape for one in own] == [one.shape for one in ours]
    # relative to the size of the numbers: boxes are in pixels
    return max(((a - b).abs() / b.abs().clamp(min=1)).max().item() for a, b in zip(own, ours, strict=True))


TABLES = [
    "yolov8n", "yolov8n-seg", "yolov8n-pose", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolo26n-seg",
    "yolo26n-pose",
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_a_rebuilt_network_answers_as_ultralytics_own(table: str, tmp_path: Path) -> None:
    model = checkpoints.make(table)
    path = checkpoints.save(copy.deepcopy(model).half(), tmp_path / f"{table}.pt")
    assert worst(model.half(), path) < 1e-5


def test_a_head_that_was_set_to_answer_without_suppression_does(tmp_path: Path) -> None:
    model = checkpoints.make("yolo26n")
    model.end2end = True
    path = checkpoints.save(model, tmp_path / "one_to_one.pt")
    assert worst(model, path) < 1e-5
    assert load_detector(path).reading.ready  # pyright: ignore


@pytest.mark.parametrize("activation", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1, inplace=True)", None])
def test_an_activation_in_the_table_is_built(activation: str | None, tmp_path: Path) -> None:
    model = checkpoints.make({**checkpoints.SMALL, "activation": activation})
    assert worst(model, checkpoints.save(model, tmp_path / "small.pt")) < 1e-5
    assert type(checkpoints.tasks().Conv.default_act).__name__ == "SiLU"


def test_the_average_is_taken_where_training_kept_one(tmp_path: Path) -> None:
    average = checkpoints.small(1)
    path = checkpoints.save(
        checkpoints.small(0), tmp_path / "last.pt", ema=average, optimizer={"state": {0: {}}}
    )
    assert worst(average, path) < 1e-5


def test_an_old_checkpoint_with_all_that_those_mention_is_read(tmp_path: Path) -> None:
    """As 8.0 saved them: settings as an object of a package that is gone, a path, numbers of numpy, a method."""
    tasks, model = checkpoints.tasks(), checkpoints.small()
    settings = tasks.IterableSimpleNamespace(imgsz=320, project=Path("runs") / "train", gain=np.float32(7.5))
    model.args, model.best = settings, np.array([0.5, 0.25])
    model.model[-1].__dict__["forward_split"] = checkpoints.Calls(getattr, tasks.Detect, "forward")
    model.model[-1].__dict__["parsed"] = Namespace(verbose=False)
    fresh = checkpoints.save(model, tmp_path / "fresh.pt", train_args=settings, best_fitness=np.float64(0.5))
    old = checkpoints.rewritten(
        fresh,
        lambda data: data.replace(b"cultralytics.utils\nIter", b"cultralytics.yolo.utils\nIter"),
        tmp_path / "old.pt",
    )
    contents = read_checkpoint(old)
    assert contents.architecture.image_size == 320
    assert "ultralytics.yolo" not in sys.modules
    assert worst(checkpoints.small(), old) < 1e-5


def test_the_image_size_of_training_is_kept(mine: Path) -> None:
    assert read_checkpoint(mine).architecture.image_size == 64


def test_the_type_of_the_numbers_is_kept_in_the_file(tmp_path: Path) -> None:
    path = checkpoints.save(checkpoints.small().half(), tmp_path / "half.pt")
    assert load_file(convert_detector(path))["model.0.conv.weight"].dtype == torch.float16


# World models


def world(path: Path, table: str, names: int, length: float) -> tuple[Any, Path]:
    """Save a world model whose classes have text features of the ``length`` given."""
    model = checkpoints.make(table)
    features = torch.nn.functional.normalize(torch.randn(1, names, 512), dim=-1) * length
    model.txt_feats, model.model[-1].nc = features, names
    model.names = {number: f"thing {number}" for number in range(names)}
    return model, checkpoints.save(model, path)


@pytest.mark.parametrize("table", ["yolov8n-world", "yolov8n-worldv2"])
def test_a_world_model_with_its_classes_baked_in_is_rebuilt(table: str, tmp_path: Path) -> None:
    model, path = world(tmp_path / "world.pt", table, 3, 1.0)
    assert worst(model, path) < 1e-5
    with pytest.raises(BadValue, match=r"'cat'.*thing 0, thing 1, thing 2; a new class needs CLIP"):
        load_detector(path, classes="thing 1, cat")


def test_a_world_model_without_classes_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"not baked in.*set_classes"):
        convert_detector(world(tmp_path / "world.pt", "yolov8n-worldv2", 80, 22.6)[1])


# What is refused


def renamed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (b"cultralytics.nn.tasks\nClassificationModel\n", "whole pictures"),
        (b"cultralytics.nn.tasks\nOBBModel\n", "rotated"),
        (b"cultralytics.nn.tasks\nRTDETRDetectionModel\n", "RT-DETR; export it to ONNX"),
        (b"cultralytics.nn.tasks\nYOLOEModel\n", "YOLOE"),
        (b"cultralytics.nn.tasks\nSomeModel\n", "ultralytics.nn.tasks.SomeModel; DetectionModel"),
        (b"cmodels.yolo\nDetectionModel\n", "YOLOv5"),
        (b"ctorch.nn.modules.container\nSequential\n", "torch.nn.modules.container.Sequential"),
    ],
)
def test_a_network_of_another_kind_is_refused_with_the_reason(
    new: bytes, reason: str, mine: Path, tmp_path: Path
) -> None:
    change = renamed(b"cultralytics.nn.tasks\nDetectionModel\n", new)
    with pytest.raises(BadFile, match=f"other.pt is refused: .*{reason}"):
        read_checkpoint(checkpoints.rewritten(mine, change, tmp_path / "other.pt"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda model: setattr(model, "names", {0: "face"}), "2 classes and names for 1"),
        (lambda model: setattr(model, "names", {0: "face", 7: "hand"}), "not numbered from 0"),
        (lambda model: setattr(model, "names", {0: "face", 1: "a\nb"}), "no line of text"),
        (lambda model: setattr(model, "yaml", None), "no table"),
        (lambda model: model.yaml.update(width_multiple=1e9), "width are 1.0 and 1000000000.0"),
        (lambda model: model.fuse(verbose=False), "it was fused"),
        (lambda model: setattr(model.model[0].bn, "eps", 0.5), "differ in epsilon"),
    ],
    ids=["names", "numbers", "lines", "table", "width", "fused", "epsilon"],
)
def test_a_network_that_is_not_whole_is_refused(
    spoil: Callable[[Any], Any], reason: str, tmp_path: Path
) -> None:
    model = checkpoints.small()
    spoil(model)
    with pytest.raises(BadFile, match=reason):
        read_checkpoint(checkpoints.save(model, tmp_path / "spoilt.pt"))


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(checkpoints.small().state_dict(), path)
    with pytest.raises(BadFile, match="holds no network"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda held: held.pop("model.0.conv.weight"), "1 are missing"),
        (lambda held: held.update(more=torch.zeros(1)), "1 are too many"),
        (lambda held: held.update({"model.0.conv.weight": torch.zeros(8, 3, 1, 1)}), r"\(8, 3, 1, 1\)"),
    ],
    ids=["missing", "too many", "another shape"],
)
def test_tensors_must_be_those_of_the_architecture(
    change: Callable[[dict[str, Tensor]], Any], reason: str, mine: Path
) -> None:
    path = convert_detector(mine)
    held = load_file(path)
    change(held)
    save_file(held, path)
    note = json.loads(path.with_suffix(".json").read_text())
    note["tensors_sha256"] = __import__("hashlib").sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(note))
    with pytest.raises(BadFile, match=f"refused: .*{reason}"):
        load_detector(path)


def test_an_architecture_survives_json(mine: Path) -> None:
    architecture = read_checkpoint(mine).architecture
    assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(activation="__import__('os').abort()"), "activation"),
        (lambda a: a["layers"][0].update(module="eval"), "layer 0 is 'eval'"),
        (lambda a: a["layers"][0].update(args=["__import__('os').abort()"]), "argument"),
        (lambda a: a.update(more=1), "damaged"),
        (lambda a: a.pop("task"), "damaged"),
        (lambda a: a.update(task="pose"), "not for the task pose"),
        (lambda a: a.update(layers=7), "damaged"),
        (lambda a: a.update(names=["face"]), "2 classes and names for 1"),
        (lambda a: a.update(reg_max="16"), "reg_max"),
        (lambda a: a.update(depth=float("nan")), "depth"),
        (lambda a: a.update(image_size=10**9), "image size"),
    ],
)
def test_a_description_from_a_stranger_is_checked_like_a_checkpoint(
    change: Callable[[dict[str, Any]], Any], reason: str, mine: Path
) -> None:
    path = convert_detector(mine)
    beside = path.with_suffix(".json")
    note = json.loads(beside.read_text())
    change(note["architecture"])
    beside.write_text(json.dumps(note))
    with pytest.raises(BadFile, match=reason):
        read_converted(path)


# Where conversions lie


def test_a_conversion_lies_beside_the_checkpoint_under_its_hash(mine: Path) -> None:
    path = convert_detector(mine)
    note = json.loads(path.with_suffix(".json").read_text())
    assert path.parent == mine.parent
    assert path.name == f"small.{note['source_sha256'][:12]}.safetensors"
    assert sorted(one.name for one in mine.parent.iterdir()) == [
        path.with_suffix(".json").name,
        path.name,
        "small.pt",
    ]


def test_a_conversion_is_made_once(mine: Path) -> None:
    path = convert_detector(mine)
    before = path.stat().st_mtime_ns
    assert convert_detector(mine) == path
    assert path.stat().st_mtime_ns == before


def test_a_changed_checkpoint_is_converted_anew(mine: Path) -> None:
    first = convert_detector(mine)
    checkpoints.save(checkpoints.small(5), mine)
    second = convert_detector(mine)
    assert first != second
    assert worst(checkpoints.small(5), mine) < 1e-5


@pytest.mark.parametrize("spoil", ["safetensors", "json"])
def test_a_damaged_conversion_is_made_anew(spoil: str, mine: Path) -> None:
    path = convert_detector(mine)
    path.with_suffix(f".{spoil}").write_bytes(b"{}")
    with pytest.raises(BadFile):
        read_converted(path)
    assert read_converted(convert_detector(mine)).architecture.names == ("face", "hand")


def test_a_folder_that_cannot_be_written_is_left_for_the_cache(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    real = tempfile.mkstemp

    def mkstemp(*args: Any, **kwargs: Any) -> Any:
        if Path(kwargs["dir"]) == mine.parent:
            raise PermissionError(13, "Permission denied")
        return real(*args, **kwargs)

    monkeypatch.setattr(
        tempfile, "mkstemp", mkstemp
    )  # root may write anywhere, so the folder's mode would not do
    path = convert_detector(mine, cache=tmp_path / "cache")
    assert path.parent == tmp_path / "cache"
    assert convert_detector(mine, cache=tmp_path / "cache") == path
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "own"))
    assert convert_detector(mine).parent == tmp_path / "own" / "detectors"
    (tmp_path / "a file").touch()
    with pytest.raises(BadValue, match=r"cannot write .* --out"):
        convert_detector(mine, cache=tmp_path / "a file" / "below")


def test_out_names_the_file(mine: Path, tmp_path: Path) -> None:
    path = convert_detector(mine, tmp_path / "deep" / "face.safetensors")
    assert path == tmp_path / "deep" / "face.safetensors"
    assert read_converted(path).architecture.task == "detect"
    with pytest.raises(BadValue, match=r"ends in \.safetensors"):
        convert_detector(mine, tmp_path / "face.bin")


def test_a_safetensors_file_without_its_json_says_what_is_missing(mine: Path) -> None:
    path = convert_detector(mine)
    path.with_suffix(".json").unlink()
    with pytest.raises(BadFile, match=re.escape(f"it belongs to {path.name}")):
        load_detector(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"cannot read .*nothing.pt"):
        convert_detector(tmp_path / "nothing.pt")


def test_no_part_of_ultralytics_that_loads_files_is_called(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a file was unpickled")

    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr("pickle.load", never)
    monkeypatch.setattr("pickle.loads", never)
    monkeypatch.setattr("pickle.Unpickler", never)
    monkeypatch.setattr(checkpoints.tasks(), "torch_load", never)
    assert load_detector(mine).labels == ("face", "hand")


@pytest.mark.skipif(os.name == "nt", reason="there a file in use cannot be replaced")
def test_no_part_of_a_file_is_left_when_writing_fails(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadValue, match="No space left"):
        convert_detector(mine, mine.parent / "face.safetensors")
    assert [one.name for one in mine.parent.iterdir()] == ["small.pt"]
