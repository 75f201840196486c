"""A detector that `detector_training` trains on drawn scenes: from its checkpoint to what it finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_training import box_of, is_trained, scene_with_faces, trained_detector
from numpy.typing import NDArray
from sd_concord.core.detailer.detector import load_detector
from sd_concord.core.torchvision_stand_in import import_ultralytics

pytestmark = pytest.mark.skipif(
    not is_trained() and not os.environ.get("CI") and not os.environ.get("CONCORD_TRAIN"),
    reason="there is no trained detector yet; CONCORD_TRAIN=1 trains one, in two to five minutes",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained checkpoint, in a folder of its own."""
    path = tmp_path_factory.mktemp("trained") / "faces.pt"
    path.write_bytes(trained_detector().read_bytes())
    return path


def overlap(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_drawn_faces_are_found(checkpoint: Path) -> None:
    detector = load_detector(checkpoint, classes="face")
    there = found = false = 0
    for seed in range(60):
        picture, scene = scene_with_faces(seed)
        boxes = [box_of(item) for item in scene.items if item.kind == "face"]
        hits = [max(overlap(face, box) for box in boxes) for face in detector(picture).boxes]
        there, false = there + len(boxes), false + sum(hit < 0.5 for hit in hits)
        found += sum(
            max((overlap(box, face) for face in detector(picture).boxes), default=0) > 0.5 for box in boxes
        )
    assert found >= 0.95 * there
    assert false <= 0.05 * there


def test_a_larger_picture_gives_the_same_boxes_larger(checkpoint: Path) -> None:
    detector = load_detector(checkpoint, classes="face", confidence=0.5)
    picture, _ = scene_with_faces(0)
    large = np.asarray(picture.repeat(4, axis=0).repeat(4, axis=1))
    small, found = detector(picture), detector(large)
    assert len(found) == len(small) > 0
    assert np.abs(found.boxes / 4 - small.boxes).max() < 1


def own_predictions(path: Path, picture: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Return rows (box, confidence, class) as the parts of ultralytics give them, file and letterbox included."""
    augment, ops = import_ultralytics("ultralytics.data.augment"), import_ultralytics("ultralytics.utils.ops")
    suppress = import_ultralytics("ultralytics.utils.nms").non_max_suppression
    model: Any = torch.load(path, map_location="cpu", weights_only=False)["model"].float().eval()
    shaped = augment.LetterBox((size, size), auto=True, stride=16)(image=picture)
    batch = torch.from_numpy(np.ascontiguousarray(shaped.transpose(2, 0, 1)))[None].float() / 255
    with torch.no_grad():
        rows = suppress(model(batch), conf_thres=0.3, iou_thres=0.7)[0]
    rows[:, :4] = ops.scale_boxes(batch.shape[2:], rows[:, :4], picture.shape)
    return rows.numpy()


@pytest.mark.parametrize(
    ("shape", "pixels", "share"),
    [
        ((128, 128), 1e-5, 1e-5),
        ((100, 128), 1e-5, 1e-5),
        ((513, 300), 0.1, 0.005),
    ],  # theirs resizes in fixed point
    ids=["as trained", "with a border", "resized"],
)
def test_boxes_are_those_of_ultralytics_own_prediction(
    shape: tuple[int, int], pixels: float, share: float, checkpoint: Path
) -> None:
    detector, seen = load_detector(checkpoint), 0
    for seed in range(6):
        picture, _ = scene_with_faces(seed)
        factor = -(-max(shape) // 128)
        picture = np.ascontiguousarray(picture.repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]])
        ours, theirs = detector(picture), own_predictions(checkpoint, picture, 128)
        assert len(ours) == len(theirs)
        assert [detector.labels.index(label) for label in ours.labels] == theirs[:, 5].astype(int).tolist()
        assert np.abs(ours.boxes - theirs[:, :4]).max(initial=0) < pixels
        assert np.abs(ours.confidences - theirs[:, 4]).max(initial=0) < share
        seen += len(ours)
    assert seen > 5
