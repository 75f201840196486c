"""Detectors by name and file, and the way from a picture to the input and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_files import write_onnx
from sd_concord.core.detailer import detector as detectors
from sd_concord.core.detailer import faces, load_detector, unload_detectors
from sd_concord.core.detailer.decode import Reading, decode
from sd_concord.core.detailer.letterbox import letterbox, letterbox_into
from sd_concord.core.errors import BadFile, BadType, BadValue, Missing

sides = st.integers(1, 3000)


@pytest.fixture(autouse=True)
def _no_models_are_kept() -> Iterator[None]:
    unload_detectors()
    yield
    unload_detectors()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(checkpoints.small(), tmp_path_factory.mktemp("small") / "small.pt")


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    data: Any = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut())


# To the input and back


@given(sides, sides, st.sampled_from([32, 128, 160, 320, 640, 1024]), st.sampled_from([16, 32, 64]))
def test_the_input_is_as_small_as_it_can_be(width: int, height: int, largest: int, stride: int) -> None:
    place = letterbox((width, height), largest, stride)
    assert all(side % stride == 0 for side in place.outer)
    assert all(0 <= outer - inner < stride for outer, inner in zip(place.outer, place.inner, strict=True))
    assert max(place.outer) == math.ceil(largest / stride) * stride


@given(sides, sides, st.data())
def test_a_box_returns_to_where_it_was(width: int, height: int, data: st.DataObject) -> None:
    place = letterbox((width, height), 640, 32)
    xs = sorted(data.draw(st.floats(0, width)) for _ in range(2))
    ys = sorted(data.draw(st.floats(0, height)) for _ in range(2))
    box = np.array([[xs[0], ys[0], xs[1], ys[1]]])
    scale = np.array([*place.scale, *place.scale])
    there = box * scale + [place.left, place.top, place.left, place.top]
    # float32 holds a coordinate of 3000 to 0.0002
    assert np.abs(place.boxes(there) - box).max() < 1e-3


@pytest.mark.parametrize("size", [(640, 400), (400, 640), (333, 517), (1024, 1536), (97, 61)], ids=str)
@pytest.mark.parametrize("fixed", [False, True], ids=["least", "fixed"])
def test_what_is_drawn_is_found_where_it_was_drawn(size: tuple[int, int], fixed: bool) -> None:
    """The centre of a white box in the input, taken back, is its centre in the picture, to half a pixel."""
    width, height = size
    place = letterbox_into(size, (320, 320)) if fixed else letterbox(size, 320, 32)
    x1, y1, x2, y2 = width // 5, height // 3, width // 5 + width // 3, height // 3 + height // 4
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y1:y2, x1:x2] = 255
    seen = place.image(picture)[0, 0].double()
    seen[: place.top] = seen[place.top + place.inner[1] :] = 0
    seen[:, : place.left] = seen[:, place.left + place.inner[0] :] = 0
    x = float((seen.sum(0) * (torch.arange(place.outer[0]) + 0.5)).sum() / seen.sum())
    y = float((seen.sum(1) * (torch.arange(place.outer[1]) + 0.5)).sum() / seen.sum())
    back = place.boxes(np.array([[x, y, x, y]]))[0]
    pixel = max(1 / place.scale[0], 1 / place.scale[1], 1)  # no picture is finer than its input
    assert abs(back[0] - (x1 + x2) / 2) < 0.5 * pixel
    assert abs(back[1] - (y1 + y2) / 2) < 0.5 * pixel


def test_the_border_is_gray_and_the_picture_whole() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 32, 3)).astype(np.uint8)
    place = letterbox((32, 64), 64, 64)
    seen = place.image(picture)[0]
    assert (place.left, place.top) == (16, 0)
    assert torch.equal((seen[:, :, 16:48] * 255).round().byte(), torch.from_numpy(picture).permute(2, 0, 1))
    assert torch.equal((seen[:, :, :16] * 255).round(), torch.full((3, 64, 16), 114.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 900), st.integers(40, 900), st.floats(0.25, 0.75), st.booleans())
@example(233, 42, 0.25, False)
def test_an_edge_of_a_mask_lies_where_it_was_to_half_a_pixel(
    width: int, height: int, part: float, upright: bool
) -> None:
    """Logits that rise evenly and are zero on a line of the picture give a mask whose edge is that line."""
    place, axis = letterbox((width, height), 640, 32), 0 if upright else 1
    edge = part * (width, height)[axis]
    there = edge * place.scale[axis] + (place.left, place.top)[axis]
    shape = (place.outer[1] // 4, place.outer[0] // 4)
    centres = (torch.arange(shape[1 - axis]) + 0.5) * 4
    ramp = (there - centres).expand(shape) if upright else (there - centres)[:, None].expand(shape)
    mask = place.mask(ramp, np.array([0, 0, width, height], np.float32))
    assert mask.shape == (height, width)
    lengths = mask.sum(
        axis=1 if upright else 0
    )  # of each row or column; a centre on the line may go either way
    assert np.abs(lengths - edge).max() < 0.5 + 1e-3
    from_the_edge = mask if upright else mask.T
    assert (np.sort(from_the_edge, axis=1)[:, ::-1] == from_the_edge).all()


def test_a_mask_stays_within_its_box() -> None:
    place = letterbox((200, 100), 640, 32)
    mask = place.mask(torch.ones(80, 160), np.array([10.4, 20.6, 50.5, 300.0], np.float32))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (10, 50, 21, 100)
    assert not place.mask(torch.ones(80, 160), np.array([10.0, 20.0, 10.2, 20.2], np.float32)).any()


# Answers


def answers(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).T


def test_rows_become_boxes_best_first() -> None:
    said = answers([50, 40, 20, 10, 0.2, 0.6], [150, 40, 20, 10, 0.9, 0.1], [250, 40, 20, 10, 0.1, 0.25])
    found = decode(said, None, Reading(classes=2, confidence=0.3))
    assert found.boxes.tolist() == [[140, 35, 160, 45], [40, 35, 60, 45]]
    assert found.classes.tolist() == [0, 1]
    assert found.confidences.tolist() == pytest.approx([0.9, 0.6])


def test_boxes_of_a_class_that_overlap_give_way_to_the_best() -> None:
    said = answers(
        [50, 40, 20, 20, 0.8, 0], [51, 40, 20, 20, 0.9, 0], [50, 41, 20, 20, 0, 0.7], [58, 40, 20, 20, 0.7, 0]
    )
    found = decode(said, None, Reading(classes=2, confidence=0.3))
    assert found.confidences.tolist() == pytest.approx([0.9, 0.7, 0.7])
    assert sorted(found.classes.tolist()) == [0, 0, 1]


def test_a_ready_answer_is_taken_as_it_is() -> None:
    said = torch.tensor([[1.0, 2, 3, 4, 0.9, 1], [1, 2, 3, 4, 0.8, 1], [1, 2, 3, 4, 0.1, 0]])
    found = decode(said, None, Reading(classes=2, confidence=0.3, ready=True))
    assert found.boxes.tolist() == [[1, 2, 3, 4]] * 2
    assert found.classes.tolist() == [1, 1]


def test_masks_are_weighed_prototypes() -> None:
    prototypes = torch.stack([torch.ones(4, 4), torch.eye(4)])
    said = answers([50, 40, 20, 10, 0.6, 2.0, -3.0])
    found = decode(said, prototypes, Reading(classes=1, confidence=0.3))
    assert found.masks is not None
    assert torch.equal(found.masks[0], 2 - 3 * torch.eye(4))


def test_there_are_at_most_300() -> None:
    said = torch.rand(1000, 5, generator=torch.Generator().manual_seed(0)) * 1e4
    said[:, 2:4], said[:, 4] = 1.0, 0.9
    assert len(decode(said.T, None, Reading(classes=1, confidence=0.3)).boxes) == 300


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (torch.zeros(5, 10), "not with boxes of 2 classes"),
        (torch.full((6, 10), math.nan), "not finite"),
    ],
)
def test_an_answer_that_is_none_is_told(rows: torch.Tensor, words: str) -> None:
    with pytest.raises(BadFile, match=words):
        decode(rows, None, Reading(classes=2, confidence=0.3))


# By file


def test_a_checkpoint_becomes_a_detector(small: Path, astronaut: NDArray[np.uint8]) -> None:
    found = load_detector(small, confidence=0.0)(astronaut)
    assert found.size == (512, 512)
    assert set(found.labels) <= {"face", "hand"}
    assert len(found) > 20  # random weights see a little of everything
    assert (np.diff(found.confidences) <= 0).all()
    assert found.boxes.dtype == np.float32
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 512
    assert len(load_detector(small, confidence=1.0)(astronaut)) == 0


def test_only_the_classes_that_are_asked_for_count(small: Path, astronaut: NDArray[np.uint8]) -> None:
    for classes in ("hand", "hand, ", ["hand"]):
        assert set(load_detector(small, classes, 0.0)(astronaut).labels) == {"hand"}
    with pytest.raises(
        BadValue, match=r"unknown class of small.pt 'hnad'; did you mean hand.*Known: face, hand"
    ):
        load_detector(small, "hnad")


def test_a_segmenting_network_gives_masks(tmp_path: Path) -> None:
    path = checkpoints.save(checkpoints.make("yolov8n-seg"), tmp_path / "seg.pt")
    picture = np.random.default_rng(0).integers(0, 256, (90, 150, 3)).astype(np.uint8)
    found = load_detector(path, confidence=0.0)(picture)
    assert found.masks is not None
    assert found.masks.shape == (len(found), 90, 150)
    columns, rows = np.arange(150) + 0.5, np.arange(90)[:, None] + 0.5
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.boxes, strict=True):
        assert not (mask & ~((columns >= x1) & (columns <= x2) & (rows >= y1) & (rows <= y2))).any()
    none = load_detector(path, confidence=1.0)(picture)
    assert none.masks is not None
    assert none.masks.shape == (0, 90, 150)


def test_a_model_is_loaded_once_for_its_content(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    build = detectors.build_network
    monkeypatch.setattr(detectors, "build_network", lambda contents: built.append(1) or build(contents))
    twin, other = tmp_path / "twin.pt", checkpoints.save(checkpoints.small(3), tmp_path / "other.pt")
    twin.write_bytes(small.read_bytes())
    for path in (small, small, twin):
        load_detector(path)
    assert len(built) == 1
    twin.write_bytes(other.read_bytes())
    load_detector(twin, confidence=0.5)
    load_detector(other)
    assert len(built) == 2


def test_few_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    monkeypatch.setattr(detectors, "load_onnx", lambda path: built.append(path) or model)
    model = detectors.load_onnx
    rows = np.zeros((1, 5, 3), np.float32)
    paths = [tmp_path / f"{number}.onnx" for number in range(6)]
    monkeypatch.setattr(detectors, "_reading", lambda *args, **kwargs: None)
    monkeypatch.setattr(detectors, "onnx_detector", lambda *args: None)
    model = type("Model", (), {"names": ("face",)})()
    for number, path in enumerate(paths):
        write_onnx(path, rows + number, rows, size=None, notes={})
        load_detector(path)
    load_detector(paths[-1])
    assert len(built) == 6
    load_detector(paths[0])
    assert len(built) == 7


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("fase", BadValue, "unknown detector 'fase'; did you mean face.*Known: face, face-lbp, face-mtcnn"),
        ("models/nothing.pt", BadFile, "there is no detector models.nothing.pt"),
        ("nothing.onnx", BadFile, "there is no detector nothing.onnx"),
        (__file__, BadFile, r"test_detectors\.py is no detector that can be read"),
    ],
)
def test_what_is_not_there_is_told(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_detector(name)


@pytest.mark.parametrize("confidence", [-0.1, 1.5, math.nan])
def test_a_confidence_outside_its_range_is_told(confidence: float) -> None:
    with pytest.raises(BadValue, match=f"confidence is {confidence}; pass 0 to 1"):
        load_detector("face", confidence=confidence)


@pytest.mark.parametrize("name", ["face-lbp", "face-mtcnn", "small"])
@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((8, 8), np.uint8), BadValue),
        (np.zeros((8, 8, 4), np.uint8), BadValue),
        (np.zeros((8, 8, 3), np.float32), BadValue),
        (np.zeros((0, 8, 3), np.uint8), BadValue),
        ([[0]], BadType),
    ],
    ids=["gray", "alpha", "float", "empty", "list"],
)
def test_an_image_of_another_form_is_told(name: str, image: Any, error: type[Exception], small: Path) -> None:
    with pytest.raises(error, match=r"pass .*uint8 \(H, W, 3\)"):
        load_detector(small if name == "small" else name)(image)


# ONNX

pytest_onnx = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("onnxruntime"), reason="onnxruntime is not installed"
)
LIT = np.array([[[0.0]] * 4 + [[1.0]] * 2], np.float32)  # the scores depend on the picture


@pytest_onnx
def test_an_onnx_file_is_a_detector(tmp_path: Path) -> None:
    rows = np.array([[50, 40, 20, 10, 0.2, 0.6], [150, 40, 20, 10, 0.9, 0.1]], np.float32).T[None]
    notes = {"names": "{0: 'face', 1: 'hand'}", "task": "detect", "imgsz": "[320, 320]", "stride": "32"}
    path = write_onnx(tmp_path / "two.onnx", rows, np.repeat(LIT, 2, axis=2), size=None, notes=notes)
    detector = load_detector(path)
    white = np.full((160, 320, 3), 255, np.uint8)
    found = detector(white)
    assert found.labels == ("face", "hand")
    assert found.boxes.tolist() == [[140, 35, 160, 45], [40, 35, 60, 45]]
    assert len(detector(white // 4)) == 0
    assert load_detector(path, classes="hand")(white).labels == ("hand",)


@pytest_onnx
def test_an_onnx_file_of_a_fixed_size_gets_it(tmp_path: Path) -> None:
    rows = np.array([[[32.0], [32], [16], [16], [0.9], [0.0]]], np.float32)
    notes = {"names": "['face', 'hand']"}
    path = write_onnx(tmp_path / "fixed.onnx", rows, LIT, size=(64, 64), notes=notes)
    found = load_detector(path)(np.full((100, 200, 3), 255, np.uint8))
    scale = 200 / 64
    assert found.boxes == pytest.approx(np.array([[24 * scale, 8 * scale, 40 * scale, 24 * scale]]), abs=1e-3)


@pytest_onnx
@pytest.mark.parametrize(
    "notes", [{"end2end": "True"}, {"args": "{'nms': True}"}, {}], ids=["said", "nms", "by shape"]
)
def test_an_onnx_file_that_suppresses_by_itself_is_believed(notes: dict[str, str], tmp_path: Path) -> None:
    rows = np.array([[[1, 2, 30, 40, 0.9, 1], [1, 2, 30, 40, 0.8, 1]]], np.float32)
    path = write_onnx(
        tmp_path / "ready.onnx", rows, rows * 0, size=(64, 64), notes={"names": "['face', 'hand']", **notes}
    )
    found = load_detector(path)(np.zeros((64, 64, 3), np.uint8))
    assert found.labels == ("hand", "hand")
    assert found.boxes.tolist() == [[1, 2, 30, 40]] * 2


@pytest_onnx
def test_an_onnx_file_that_segments_gives_masks(tmp_path: Path) -> None:
    rows = np.array([[[32.0], [32], [32], [32], [0.9], [1.0]]], np.float32)
    prototypes = np.full((1, 1, 16, 16), -1, np.float32)
    prototypes[:, :, 8:] = 1
    path = write_onnx(
        tmp_path / "seg.onnx",
        rows,
        rows * 0,
        size=(64, 64),
        notes={"names": "['face']", "task": "segment"},
        prototypes=prototypes,
    )
    found = load_detector(path)(np.zeros((64, 64, 3), np.uint8))
    assert found.masks is not None
    expected = np.zeros((64, 64), np.bool_)
    expected[32:48, 16:48] = True
    assert (found.masks[0] == expected).all()


@pytest_onnx
def test_an_onnx_file_that_is_no_detector_is_told(tmp_path: Path) -> None:
    rows = np.zeros((1, 6, 1), np.float32)
    with pytest.raises(BadFile, match=r"gray.onnx takes \[\[1, 1, .*export it with ultralytics"):
        load_detector(write_onnx(tmp_path / "gray.onnx", rows, LIT, size=None, notes={}, channels=1))
    with pytest.raises(BadFile, match="task 'classify'"):
        load_detector(write_onnx(tmp_path / "cls.onnx", rows, LIT, size=None, notes={"task": "classify"}))
    with pytest.raises(BadFile, match="does not name its classes"):
        load_detector(
            write_onnx(tmp_path / "nameless.onnx", rows.transpose(0, 2, 1), rows, size=None, notes={})
        )
    (tmp_path / "bad.onnx").write_bytes(b"what is this")
    with pytest.raises(BadFile, match=r"bad.onnx is no ONNX model"):
        load_detector(tmp_path / "bad.onnx")


@pytest_onnx
def test_an_onnx_file_without_names_numbers_its_classes(tmp_path: Path) -> None:
    notes = {"names": "__import__('os').abort()"}  # metadata is read as a literal, and this is none
    path = write_onnx(
        tmp_path / "old.onnx",
        np.zeros((1, 7, 2), np.float32),
        np.zeros((1, 7, 2), np.float32),
        size=None,
        notes=notes,
    )
    assert load_detector(path).labels == ("0", "1", "2")


# Faces


@pytest.mark.parametrize("name", ["face", "face-lbp", "face-mtcnn"])
def test_the_astronaut_has_one_face(name: str, astronaut: NDArray[np.uint8]) -> None:
    if name == "face-mtcnn" and not faces.has_mtcnn():
        pytest.skip("facenet-pytorch is not installed")
    found = load_detector(name)(astronaut)
    assert found.labels == ("face",)
    x1, y1, x2, y2 = found.boxes[0]
    assert x1 < 200  # eyes, nose and mouth are within
    assert x2 > 250
    assert y1 < 90
    assert y2 > 140
    assert max(x2 - x1, y2 - y1) < 150
    assert found.confidences[0] > 0.5


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea"])
def test_pictures_without_faces_have_none(name: str) -> None:
    data: Any = pytest.importorskip("skimage.data")
    assert len(load_detector("face-lbp")(np.asarray(getattr(data, name)()))) == 0


def test_faces_of_several_sizes_are_found(astronaut: NDArray[np.uint8]) -> None:
    from PIL import Image

    face = Image.fromarray(astronaut[30:220, 130:300])
    canvas = np.full((500, 800, 3), 120, np.uint8)
    for factor, x, y in ((0.6, 20, 20), (1.2, 200, 40), (1.6, 480, 100)):
        copy = np.asarray(face.resize((round(170 * factor), round(190 * factor))))
        canvas[y : y + copy.shape[0], x : x + copy.shape[1]] = copy
    found = load_detector("face-lbp")(canvas)
    assert sorted(np.searchsorted([150, 440], (found.boxes[:, 0] + found.boxes[:, 2]) / 2)) == [0, 1, 2]


def test_small_pictures_have_no_faces_and_raise_nothing() -> None:
    for name in ("face-lbp", *(["face-mtcnn"] if faces.has_mtcnn() else [])):
        for shape in ((1, 1, 3), (19, 300, 3), (40, 30, 3)):
            assert len(load_detector(name)(np.zeros(shape, np.uint8))) == 0


def test_windows_on_one_face_become_one_box() -> None:
    windows = np.array([[10, 10, 50, 50], [12, 12, 52, 52], [11, 11, 51, 51], [200, 200, 240, 240]])
    boxes, counts = faces.grouped(windows)
    assert boxes.tolist() == [[11, 11, 51, 51], [200, 200, 240, 240]]
    assert counts.tolist() == [3, 1]


def test_the_face_detector_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", nothing)
    faces._cascade.cache_clear()  # pyright: ignore
    with pytest.raises(Missing, match="pip install scikit-image"):
        load_detector("face-lbp")(np.zeros((64, 64, 3), np.uint8))


def test_without_mtcnn_a_face_is_found_by_the_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "has_mtcnn", lambda: False)
    assert load_detector("face").name == "face-lbp"


def test_a_face_detector_knows_one_class() -> None:
    with pytest.raises(BadValue, match=r"unknown class of face 'hand'.*Known: face"):
        load_detector("face", classes="hand")
