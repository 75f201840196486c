"""LoRAs that come and go with an edit: the host has the others, and each call its own."""

import pytest
from sd_concord.core.prompt import extract_networks
from webui_text import install, request, run

TEXT = "a <lora:glow:0.5>[<lora:ink:1>b:c:2]"


@pytest.fixture
def host(webui_fake, monkeypatch):
    webui_fake.inside = install(webui_fake, monkeypatch)
    [kind] = webui_fake.part("prompt_panel").register()
    webui_fake.script, _ = webui_fake.make_ui(kind)
    return webui_fake


def unet(logged):
    """Return what the UNet was last told, as name → strength."""
    found = {
        name: strengths[0] if isinstance(strengths, list) else strengths
        for name, strengths in logged[-1].items()
    }
    return {name: strength for name, (_, strength) in found.items()}


def test_the_host_has_the_constant_ones_alone(host):
    p = request(host, [TEXT])
    host.script.process(p, "concord")
    host.script.before_process_batch(p, "concord", batch_number=0)
    text, tags = extract_networks(p.prompts[0])
    assert [(tag.kind, tag.positional) for tag in tags] == [("lora", ["glow", "0.5"])]
    assert "ink" not in text


def test_each_call_has_those_of_its_edit(host):
    called = run(host, host.script, request(host, [TEXT]), "concord")
    assert unet(called[0].loras) == {"glow": 0.5, "ink": 1}
    assert len(called[1].loras) == len(called[0].loras)
    assert unet(called[2].loras) == {"glow": 0.5}
    assert called[3].loras == called[2].loras


def test_afterwards_the_constant_ones_are_on(host):
    text = "a <lora:glow:0.5>[b:<lora:ink:1>c:2]"
    called = run(host, host.script, request(host, [text]), "concord")
    assert unet(called[-1].loras) == {"glow": 0.5, "ink": 1}
    assert unet(host.inside.loras.log) == {"glow": 0.5}


def test_the_text_encoders_have_them_too_and_give_them_back(host):
    seen = []
    encoder = host.inside.encoders[0]
    plain = type(encoder).__call__

    def watched(self, ids, skip, inserts=()):
        seen.append((dict(host.inside.loras.on), len(ids)))
        return plain(self, ids, skip, inserts)

    type(encoder).__call__, kept = watched, plain
    try:
        run(host, host.script, request(host, [TEXT], ["n"]), "concord")
    finally:
        type(encoder).__call__ = kept
    assert [on for on, _ in seen] == [
        {"glow": (0.5, 0.5), "ink": (1, 1)},
        {"glow": (0.5, 0.5)},
        {"glow": (0.5, 0.5)},
    ]


def test_a_name_in_both_is_on_with_the_sum(host):
    called = run(host, host.script, request(host, ["<lora:ink:0.5:0.25>[<lora:ink:1>b::2]"]), "concord")
    assert unet(called[0].loras) == {"ink": 1.25}
    assert unet(called[2].loras) == {"ink": 0.25}


def test_a_fade_has_its_share(host):
    called = run(host, host.script, request(host, ["[a:<lora:ink:2>b:0.0-1.0]"]), "concord")
    shares = [unet(params.loras).get("ink", 0) for params in called]
    assert shares == pytest.approx([0.25, 0.75, 1.25, 1.75])


def test_every_one_is_in_the_infotext(host):
    p = request(host, ["<lora:glow:0.5>[a:<lora:ink:1>b:2]"])
    run(host, host.script, p, "concord")
    assert p.extra_generation_params["Lora hashes"] == "glow: hash of glow, ink: hash of ink"


def test_one_that_is_not_there_is_left_out_and_named(host, caplog):
    called = run(host, host.script, request(host, ["[<lora:nix:1>b:c:2]"]), "concord")
    assert not any(params.loras and unet(params.loras) for params in called)
    assert "LoRA 'nix' is not in the host's Lora folder" in caplog.text


def test_the_hires_pass_has_its_own(host):
    p = request(
        host,
        ["a"],
        enable_hr=True,
        hr_second_pass_steps=4,
        all_hr_prompts=["[<lora:ink:1>:1.5] <lora:glow:1>"],
    )
    called = run(host, host.script, p, "concord", passes=2)
    assert not any(params.loras for params in called[:4])
    assert [one.positional for one in p.hr_extra_network_data["lora"]] == [["glow", "1"]]
    assert "ink" in unet(called[-1].loras)


def test_without_any_the_hosts_are_left_alone(host):
    called = run(host, host.script, request(host, ["a <lora:glow:0.5>[b:c:2]"]), "concord")
    assert not any(params.loras for params in called)


def test_in_the_exact_dialect_all_are_on_all_the_time(host):
    p = request(host, [TEXT])
    called = run(host, host.script, p, "a1111")
    assert not any(params.loras for params in called)
    assert {one.positional[0] for one in p.extra_network_data["lora"]} == {"glow", "ink"}
