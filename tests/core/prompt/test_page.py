"""What a page is answered of a prompt that is typed: the run it is for, a picture, and the front's own settings."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image
from sd_concord.core.errors import BadValue, ConcordError
from sd_concord.core.prompt import Known
from sd_concord.core.prompt.page import MOST_BYTES, asked_in, explained

EDIT = "[red:blue:0.5] circle"


def codes(found):
    return [one["code"] for one in found["warnings"]]


def test_the_answer_is_of_the_run_that_is_asked_for():
    """At a third of the strength A1111 never comes to the edit; a number above 1 is for the hires pass."""
    assert "never-switches" not in codes(explained({"text": EDIT, "steps": 10}))
    assert "never-switches" in codes(explained({"text": EDIT, "steps": 10, "denoise": 0.3}))
    later = {"text": "[red:blue:1.5]", "steps": 10}
    assert "never-switches" in codes(explained(later))
    assert "never-switches" not in codes(explained(later | {"hires_steps": 10}))


def width_of(found):
    image = Image.open(io.BytesIO(base64.b64decode(found["picture"].partition(",")[2])))
    assert found["picture"].startswith("data:image/png;base64,")
    return image.size


def test_the_timeline_is_a_picture_of_every_pass():
    one = width_of(explained({"text": EDIT, "steps": 10, "picture": True}))
    two = width_of(explained({"text": EDIT, "steps": 10, "hires_steps": 5, "picture": True}))
    assert two[1] > one[1]


def test_a_text_that_holds_all_the_time_has_no_picture():
    assert explained({"text": "a circle", "picture": True})["picture"] is None
    assert "picture" not in explained({"text": EDIT})


def test_a_picture_that_would_take_long_is_left_out():
    text = "[a|b] " + "c" * 60_000
    assert explained({"text": text, "steps": 1000, "picture": True})["picture"] is None


def test_calls_of_a_step_count():
    tall = width_of(explained({"text": "[a|b|c|d]", "steps": 3, "picture": True, "calls_per_step": 2}))[1]
    flat = width_of(explained({"text": "[a|b|c|d]", "steps": 3, "picture": True}))[1]
    assert tall > flat


def test_names_and_settings_are_the_fronts():
    found = explained({"text": "easynegative"}, lambda text: Known(embeddings={"easynegative": 8}))
    assert found["tokens"] == 8
    text = "a, " + "b " * 74
    near = explained({"text": text}, settings=lambda dialect: replace(dialect, comma_backtrack=0))
    far = explained({"text": text}, settings=lambda dialect: replace(dialect, comma_backtrack=74))
    assert [one["tokens"] for one in near["chunks"]] != [one["tokens"] for one in far["chunks"]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"denoise": 0}, "denoise is 0"),
        ({"denoise": True}, "denoise is True"),
        ({"denoise": "1"}, "denoise is 1"),
        ({"hires_steps": 0}, "hires_steps is 0"),
        ({"hires_steps": 1001}, "hires_steps is 1001"),
        ({"calls_per_step": 33}, "calls_per_step is 33"),
        ({"picture": 1}, "picture is 1"),
    ],
)
def test_what_is_wrong_is_named(asked, said):
    with pytest.raises(ConcordError, match=said):
        explained({"text": "a", **asked})


def test_a_content_type_may_name_its_charset():
    assert asked_in("application/json; charset=utf-8", b'{"text": "a"}') == {"text": "a"}
    with pytest.raises(BadValue, match="send application/json"):
        asked_in("text/plain; application/json", b'{"text": "a"}')


def test_a_body_that_is_too_long_is_refused():
    with pytest.raises(BadValue, match="more than"):
        asked_in("application/json", b" " * (MOST_BYTES + 1))
