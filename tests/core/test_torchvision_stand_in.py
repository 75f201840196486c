"""The stand-in for torchvision: there within its block, nowhere else; ultralytics imported without a trace."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sd_concord.core.errors import Missing
from sd_concord.core.torchvision_stand_in import batched_nms, nms, torchvision_stand_in

ABSENT = importlib.util.find_spec("torchvision") is None
without = pytest.mark.skipif(not ABSENT, reason="the real torchvision is installed")


@without
def test_it_is_there_within_the_block_and_nowhere_else() -> None:
    with torchvision_stand_in():
        importlib.import_module("torchvision.transforms.functional")
        assert importlib.metadata.version("torchvision")
        assert importlib.import_module("torchvision").ops.nms is nms
    assert not [name for name in sys.modules if name.partition(".")[0] == "torchvision"]
    assert importlib.util.find_spec("torchvision") is None
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("torchvision")
    assert importlib.metadata.version("torch")


@without
def test_it_is_gone_after_an_error_and_after_blocks_within_blocks() -> None:
    def nested() -> None:
        with torchvision_stand_in(), torchvision_stand_in():
            importlib.import_module("torchvision")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        nested()
    assert importlib.util.find_spec("torchvision") is None


@without
def test_what_it_cannot_do_can_be_imported_and_not_called() -> None:
    with torchvision_stand_in():
        rotate = importlib.import_module("torchvision.transforms.functional").rotate
    with pytest.raises(Missing, match=r"torchvision\.transforms\.functional\.rotate is needed"):
        rotate(1)


def test_the_real_one_is_used_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType, SimpleNamespace

    real = ModuleType("torchvision")
    real.__dict__["ops"] = SimpleNamespace(nms=lambda boxes, scores, threshold: torch.zeros(1))
    monkeypatch.setitem(sys.modules, "torchvision", real)
    with torchvision_stand_in():
        assert importlib.import_module("torchvision") is real
    assert sys.modules["torchvision"] is real


def test_one_that_is_broken_is_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with torchvision_stand_in():
        assert importlib.import_module("torchvision").ops.nms is nms
    assert "torchvision" not in sys.modules


IMPORT = """
import importlib.util, os, sys
import PIL.Image, cv2, numpy, torch
from sd_concord.core.torchvision_stand_in import import_ultralytics

def state():
    number = torch.tensor([1 / 3, 1e-9])
    return PIL.Image.open, torch.save, cv2.imread, dict(os.environ), numpy.get_printoptions(), str(number)

before = state()
import_ultralytics("ultralytics.nn.tasks")
after = state()
assert before == after, [pair for pair in zip(before, after) if pair[0] != pair[1]]
assert "torchvision" not in sys.modules
utils = sys.modules["ultralytics.utils"]
print(utils.ONLINE, utils.AUTOINSTALL, importlib.util.find_spec("torchvision"))
"""


@without
def test_ultralytics_changes_nothing_for_others(tmp_path: Path) -> None:
    import os

    environ = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "APPDATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], check=False, capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == ["False", "False", "None"]
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from sd_concord.core.torchvision_stand_in import import_ultralytics

    with pytest.raises(Missing, match="pip install --no-deps ultralytics"):
        import_ultralytics("ultralytics.nn.there_is_none")


def slow_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """The definition, one pair at a time."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i)):
        for j in kept:
            a, b = boxes[i].tolist(), boxes[j].tolist()
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            common = max(width, 0) * max(height, 0)
            areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            if common > threshold * (areas - common):
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_what_its_definition_says(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(60, 2, generator=generator, dtype=torch.float64) * 50
    boxes = torch.cat(
        [corner, corner + torch.rand(60, 2, generator=generator, dtype=torch.float64) * 40 + 1], dim=1
    )
    scores = torch.rand(60, generator=generator)
    assert nms(boxes, scores, 0.4).tolist() == slow_nms(boxes, scores, 0.4)
    groups = torch.randint(0, 3, (60,), generator=generator)
    kept = batched_nms(boxes, scores, groups, 0.4).tolist()
    by_group = [[i for i in kept if groups[i] == group] for group in range(3)]
    for group, found in enumerate(by_group):
        members = (groups == group).nonzero()[:, 0]
        wanted = [int(members[i]) for i in slow_nms(boxes[members], scores[members], 0.4)]
        assert found == wanted
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)


def test_suppression_of_nothing_is_nothing() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).shape == (0,)
