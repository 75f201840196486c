"""The script "Concord Compare": pictures of one seed side by side, above how they differ."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from webui_requests import Drawing, request


@pytest.fixture
def drawing(webui_fake):
    return Drawing(webui_fake)


@pytest.fixture
def compare(drawing):
    """Return a function that runs the script; its modules are imported against the fake host."""
    for part in ("samplers", "schedulers"):
        drawing.webui.part(part).register()
    [script] = drawing.webui.part("compare").register()

    def run(p, *arguments):
        return script().run(p, *arguments)

    run.script = script
    return run


def level(picture):
    return np.asarray(picture)[0, 0].astype(int)


def test_the_script_has_its_controls_on_both_tabs(compare, drawing):
    ids = []
    for img2img in (False, True):
        made, controls = drawing.webui.make_ui(compare.script, img2img=img2img)
        assert made.title() == "Concord Compare"
        assert made.show(img2img) is True
        ids += [control.elem_id for control in controls]
    assert len(set(ids)) == len(ids) == 8


def test_every_value_is_drawn_with_one_seed_and_compared_with_the_first(compare, drawing):
    answer = compare(request(drawing.webui, seed=-1), "Sampler", "Euler, dpmpp_2m, heun", 4)
    assert [one.sampler_name for one in drawing.requests] == ["Euler", "DPM++ 2M", "Heun"]
    assert {one.seed for one in drawing.requests} == {1234}
    sheet, *apart = answer.images[:3]
    pictures = answer.images[3:]
    assert len(pictures) == 3
    for found, other in zip(apart, pictures[1:], strict=True):
        wanted = np.minimum(np.abs(level(other) - level(pictures[0])) * 4, 255)
        assert level(found).tolist() == wanted.tolist()
    flat = np.asarray(sheet).reshape(-1, 3)
    for one in (*apart, *pictures):
        assert (flat == level(one)).all(-1).sum() >= 16 * 16


def test_pictures_are_above_their_differences(compare, drawing):
    answer = compare(request(drawing.webui, width=64, height=64), "Steps", "1, 2", 1)
    sheet = np.asarray(answer.images[0])
    middles = [np.median(np.nonzero((sheet == level(one)).all(-1))[0]) for one in answer.images[1:]]
    assert middles[0] > sheet.shape[0] / 2 > middles[1] == middles[2]


def test_equal_pictures_do_not_differ(compare, drawing):
    answer = compare(request(drawing.webui), "CFG scale", "7, 7.0")
    assert not np.asarray(answer.images[1]).any()


def test_the_sheet_alone_can_be_asked_for(compare, drawing):
    answer = compare(request(drawing.webui), "Steps", "1, 2", 8, False)
    assert len(answer.images) == len(answer.infotexts) == 1


def test_the_infotext_says_what_was_compared(compare, drawing):
    answer = compare(request(drawing.webui), "Steps", "1, 2", 3)
    assert answer.infotexts[0].endswith(
        'Script: Concord Compare, Concord compare: Steps, Concord compare values: "1, 2", Concord compare amplify: 3'
    )
    assert len(answer.infotexts) == len(answer.images)
    script, _ = drawing.webui.make_ui(compare.script)
    assert {key for _, key in script.infotext_fields} == {
        *("Concord compare", "Concord compare values", "Concord compare amplify"),
    }


def test_dialects_are_compared_through_the_panel(compare, drawing):
    compare(request(drawing.webui), "Concord prompt dialect", "a1111, concord")
    assert [one.concord_dialect for one in drawing.requests] == ["a1111", "concord"]


def test_pictures_of_other_sizes_are_shown_but_not_compared(compare, drawing):
    answer = compare(request(drawing.webui), "Size", "16x16, 16x32")
    assert [picture.size for picture in answer.images[1:]] == [(16, 16), (16, 32)]


def test_one_that_fails_is_left_out_of_the_comparison(compare, drawing):
    drawing.fail_at = {0}
    answer = compare(request(drawing.webui), "Steps", "1, 2, 3")
    assert len(answer.images) == 1 + 1 + 2
    assert all(isinstance(one, Image.Image) for one in answer.images)


def test_stopped_before_anything_was_drawn_is_an_empty_answer(compare, drawing):
    drawing.webui.shared.state.interrupted = True
    assert compare(request(drawing.webui), "Steps", "1, 2").images == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Sampler", "Euler"), "Compare got 1 value; write two or more"),
        (("Nothing", ""), "Compare got 1 value"),
        (("Sampler", "Euler, eulr"), "unknown sampler 'eulr'"),
        (("Hires steps", "1, 2"), "hires is off"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_runs(compare, drawing, arguments, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the pack's own class is imported anew with each fake)
        compare(request(drawing.webui), *arguments)
    assert said in str(error.value)
    assert drawing.requests == []
