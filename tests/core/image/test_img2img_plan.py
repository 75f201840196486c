"""Steps of image to image."""

from __future__ import annotations

import gzip
import json

import pytest
from golden import golden_dir
from sd_concord.core.errors import BadValue
from sd_concord.core.image.img2img_plan import ImagePlan, img2img_plan
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.core.sigmas.plan import run_sigmas


@pytest.mark.golden
def test_steps_are_those_of_the_web_uis() -> None:
    with gzip.open(golden_dir("detailer") / "steps.jsonl.gz", "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    assert cases
    for case in cases:
        plan = img2img_plan(
            case["steps"], case["denoise"], exact=case["fix_steps"], requested=case["requested"]
        )
        assert [plan.steps, plan.start] == case["result"], case


@pytest.mark.parametrize("exact", [False, True], ids=["as laid out", "exact"])
def test_the_sigmas_of_a_run_are_as_many(exact: bool) -> None:
    for steps, strength in ((20, 0.4), (7, 0.99), (1, 1.0), (33, 0.05)):
        plan = img2img_plan(steps, strength, exact=exact)
        rule = "webui_exact" if exact else "webui"
        sigmas = run_sigmas("karras", steps, ModelSigmas.sd(), denoise=strength, rule=rule)
        assert len(sigmas) == plan.run + 1


def test_hires_runs_the_steps_asked_for() -> None:
    assert img2img_plan(20, 0.39, requested=22) == ImagePlan(steps=56, start=21)
    assert img2img_plan(20, 0.39, requested=22).run == 22
    assert img2img_plan(20, 0.5, requested=0) == img2img_plan(20, 0.5, exact=True)
    assert img2img_plan(20, 0.0, exact=True).run == 0


def test_what_cannot_be_is_refused() -> None:
    for arguments, message in (((0, 0.5), "steps is 0"), ((5, 1.5), "strength is 1.5"), ((5, -1), "is -1")):
        with pytest.raises(BadValue, match=message):
            img2img_plan(*arguments)
    with pytest.raises(BadValue, match="steps is -1"):
        img2img_plan(5, 0.5, requested=-1)
