"""What the real web UIs answer of a prompt that is typed."""

import json
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.hosts
PATH = "/concord/explain"
ASKED = {
    "text": "a (red:1.3) [cat:dog:0.5] BREAK bird (open",
    "steps": 10,
    "dialect": "host",
    "sampler": "Euler",
}


def test_a_prompt_is_explained(webui):
    found = webui.post(PATH, {**ASKED, "picture": True})
    assert [one["tokens"] for one in found["chunks"]] == [3, 2]
    assert found["texts"] == 2
    assert found["weights"][0] == {"start": 3, "end": 6, "weight": 1.3}
    assert "open-bracket" in [one["code"] for one in found["warnings"]]
    assert found["picture"].startswith("data:image/png;base64,")


def test_what_is_wrong_is_one_line(webui):
    with pytest.raises(RuntimeError, match="text is 1; send the text"):
        webui.post(PATH, {"text": 1})


def test_another_site_cannot_ask(webui):
    request = urllib.request.Request(
        webui.url + PATH, json.dumps(ASKED).encode(), {"Content-Type": "text/plain"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 400


def test_both_panels_are_known_to_the_api(webui):
    found = webui.get("/sdapi/v1/scripts")
    assert {"concord prompt", "concord explain"} <= set(found["txt2img"]) & set(found["img2img"])


def test_the_pages_script_is_loaded(webui):
    with urllib.request.urlopen(webui.url, timeout=60) as answer:
        assert "javascript/concord_prompt.js" in answer.read().decode()
