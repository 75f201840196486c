"""AND on Forge and its kin: what the host makes of our entries is what A1111 makes of the parts."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_concord.a1111_scripts.prompt_combine import Parts, combined
from webui_text import install, request, run


@dataclass(frozen=True)
class Cond:
    """The host's holder of a conditioning."""

    cond: Any


def hosts_cond(hidden, images, scale):
    """Return the host's own entries: the n-th part of every image, at the weight of the last image."""
    found = []
    for parts in zip(*images, strict=False):
        rows = [row for row, _ in parts]
        entry = {"cross_attn": hidden[rows], "model_conds": {"c_crossattn": Cond(hidden[rows])}}
        found.append(entry | {"strength": parts[-1][1], "control": "kept"})
    return found


def hosts_answer(entries, negative, x, scale):
    """Return the host's guided latent; its model answers with the mean of what it is told, and x."""

    def asked(one):
        return one.mean(dim=(1, 2))[:, None, None, None] + x

    total, count = torch.zeros_like(x), torch.full_like(x, 1e-37)
    for one in entries:
        mult = torch.as_tensor(one["strength"]).to(x) * one.get("mask", torch.ones_like(x[:, 0]))[:, None]
        total += asked(one["model_conds"]["c_crossattn"].cond) * mult
        count += mult
    cond = total / count
    away = torch.zeros_like(x) if abs(scale - 1) < 1e-9 or negative is None else asked(negative)
    strength = sum(one["strength"] for one in entries)
    return away + (cond - away) * scale * strength, [one.get("control") for one in entries]


def a1111s_answer(hidden, negative, images, x, scale):
    def asked(row):
        return row.mean() + x

    found = torch.stack([negative[i].mean() + x[i] for i in range(len(x))])
    base = found.clone()
    for i, parts in enumerate(images):
        for row, weight in parts:
            found[i] += (hidden[row].mean() + x[i] - base[i]) * weight * scale
    return found


WEIGHTS = st.floats(-2, 2).map(lambda weight: round(weight, 2))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(WEIGHTS, min_size=1, max_size=3), min_size=1, max_size=3),
    st.sampled_from([1.0, 4.0, 7.5]),
)
def test_any_weights_of_any_batch(weights, scale):
    generator = torch.Generator().manual_seed(len(weights))
    rows = iter(range(99))
    images = [[(next(rows), weight) for weight in one] for one in weights]
    hidden = torch.randn(next(rows), 5, 4, generator=generator, dtype=torch.float64)
    negative = torch.randn(len(images), 5, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(len(images), 4, 3, 2, generator=generator, dtype=torch.float64)
    parts = Parts(positive=hidden, negative=negative, images=images)
    host = hosts_cond(hidden, images, scale)
    entries = combined(parts, host, [{}], x, scale)
    found, controls = hosts_answer(entries, negative, x, scale)
    torch.testing.assert_close(found, a1111s_answer(hidden, negative, images, x, scale), rtol=1e-5, atol=1e-5)
    assert set(controls) == {"kept"}


@pytest.mark.parametrize(
    ("weights", "same"),
    [
        ([[1.0], [1.0]], True),
        ([[1.0, 0.5], [1.0, 0.5]], True),
        ([[1.0, 0.5], [1.0, 0.6]], False),
        ([[1.0, 0.5], [1.0]], False),
        ([[1.0, -1.0]], False),
    ],
)
def test_the_hosts_entries_stay_where_they_are_right(weights, same):
    """It costs another row of the model only where it must."""
    rows = iter(range(9))
    images = [[(next(rows), weight) for weight in one] for one in weights]
    hidden, x = torch.randn(9, 5, 4), torch.zeros(len(images), 4, 2, 2)
    host = hosts_cond(hidden, images, 7.0)
    parts = Parts(positive=hidden, negative=hidden[: len(images)], images=images)
    assert (combined(parts, host, [{}], x, 7.0) is host) == same


def test_sdxl_takes_its_vectors_along():
    hidden, vector = torch.randn(3, 5, 4), torch.randn(3, 6)
    feed = {"crossattn": hidden, "vector": vector}
    parts = Parts(
        positive=feed,
        negative={name: one[:2] for name, one in feed.items()},
        images=[[(0, 1.0), (1, 0.5)], [(2, 1.0)]],
    )
    template = {
        "cross_attn": 0,
        "pooled_output": 0,
        "strength": 1.0,
        "model_conds": {"c_crossattn": Cond(0), "y": Cond(0), "c_concat": Cond("image")},
    }
    entries = combined(parts, [template], [{}], torch.zeros(2, 4, 2, 2), 7.0)
    assert len(entries) == 3
    torch.testing.assert_close(entries[0]["model_conds"]["y"].cond, vector[[0, 2]])
    torch.testing.assert_close(entries[2]["pooled_output"], vector[:2])
    assert all(one["model_conds"]["c_concat"].cond == "image" for one in entries)
    assert template["model_conds"]["y"].cond == 0


@pytest.mark.parametrize("shape", ["forge", "reforge", "classic"])
def test_each_pass_has_a_patcher_of_its_own(make_webui, monkeypatch, shape):
    """The host's own stays as it was, and however often the host asks, the modifier is there once."""
    webui = make_webui(shape)
    install(webui, monkeypatch)
    [kind] = webui.part("prompt_panel").register()
    script, _ = webui.make_ui(kind)
    p = request(webui, ["a AND b :-1", "c"])
    own = webui.shared.sd_model.forge_objects_after_applying_lora.unet
    [params, *_] = run(webui, script, p, "a1111")
    script.process_before_every_sampling(p, "a1111")
    unet = webui.shared.sd_model.forge_objects.unet
    [modifier] = unet.model_options["conditioning_modifiers"]
    assert not own.model_options
    images = [[(0, 1.0), (1, -1.0)], [(2, 1.0)]]
    host = hosts_cond(params.text_cond, images, 7.0)
    given = ("model", params.x, "sigma", [{}], host, 7.0, {"x": 1}, 3)
    model, x, sigma, uncond, cond, scale, options, seed = modifier(*given)
    assert (model, x is params.x, sigma, uncond, scale, options, seed) == (
        "model",
        True,
        "sigma",
        [{}],
        7.0,
        {"x": 1},
        3,
    )
    found, _ = hosts_answer(cond, params.text_uncond, x, 7.0)
    torch.testing.assert_close(found, a1111s_answer(params.text_cond, params.text_uncond, images, x, 7.0))


def test_without_a_dialect_there_is_none(make_webui, monkeypatch):
    webui = make_webui("forge")
    install(webui, monkeypatch)
    [kind] = webui.part("prompt_panel").register()
    script, _ = webui.make_ui(kind)
    run(webui, script, request(webui, ["a AND b :-1", "c"]), "host")
    assert not webui.shared.sd_model.forge_objects.unet.model_options
