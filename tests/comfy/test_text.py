"""Prompts as CONDITIONING: what it carries, and what each denoiser call gets of it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy_fake import WIDTH, FakeClip, FakeComfy, FakeGuider, HookGroup, TransformerOptionsHook, WeightHook
from safetensors.torch import save_file
from sd_concord.core.errors import BadType, BadValue
from sd_concord.core.prompt import DIALECTS, RunShape, encode, plan
from sd_concord.core.prompt.constant_tags import constant_tags

DEFAULTS = {"negative": False, "dialect": "a1111", "emphasis": "Original", "clip_skip": 0}


def encoded(comfy: FakeComfy, text: str, clip: Any = None, **given: Any) -> list[Any]:
    settings = {**DEFAULTS, "zero_empty_negative": True, **given}
    return (
        comfy.module("text")
        .ConcordTextEncode.execute(clip=clip or FakeClip(), text=text, **settings)
        .result[0]
    )


def sampler(name: str) -> Any:
    run = lambda: None  # noqa: E731
    run.__name__ = name
    return SimpleNamespace(sampler_function=run)


def texts(guider: FakeGuider, kind: str = "positive") -> list[list[torch.Tensor]]:
    return [[entry["cross_attn"] for entry in seen[kind]] for seen in guider.seen]


def core(comfy: FakeComfy, text: str, steps: int, clip: Any = None, calls: int = 1, **run: Any) -> Any:
    """Return what the core makes of a prompt with the same encoders."""
    own = comfy.module("clip").host_clip(clip or FakeClip())
    laid = plan(text, steps, dialect="a1111", run=RunShape(calls_per_step=calls, **run))
    return encode(laid, own.encoders, clip_skip=own.clip_skip)


def test_a_plain_prompt_is_plain_conditioning(fake_comfy: FakeComfy) -> None:
    [(hidden, more)] = encoded(fake_comfy, "a (cat:1.2)")
    assert hidden.shape == (1, 77, WIDTH)
    assert set(more) == {"pooled_output"}
    assert torch.equal(hidden[0], core(fake_comfy, "a (cat:1.2)", 20).for_call(0).hidden[0])


def test_break_makes_chunks_of_77(fake_comfy: FakeComfy) -> None:
    [(hidden, _)] = encoded(fake_comfy, "a cat BREAK a dog")
    assert hidden.shape == (1, 154, WIDTH)


def test_sdxl_joins_l_and_g(fake_comfy: FakeComfy) -> None:
    clip = FakeClip(sdxl=True)
    [(hidden, more)] = encoded(fake_comfy, "a cat", clip)
    wanted = core(fake_comfy, "a cat", 20, clip).for_call(0)
    assert hidden.shape == (1, 77, 3 * WIDTH)
    assert torch.equal(hidden, wanted.hidden)
    assert torch.equal(more["pooled_output"], wanted.pooled)


@pytest.mark.parametrize(
    ("sdxl", "text", "negative", "zero"),
    [(True, "", True, True), (True, "", False, False), (True, "ugly", True, False), (False, "", True, False)],
)
def test_only_sdxls_empty_negative_becomes_zeros(
    fake_comfy: FakeComfy, sdxl: bool, text: str, negative: bool, zero: bool
) -> None:
    [(hidden, more)] = encoded(fake_comfy, text, FakeClip(sdxl), negative=negative)
    assert (not hidden.any()) == zero
    assert (not more["pooled_output"].any()) == zero
    [(hidden, _)] = encoded(fake_comfy, text, FakeClip(sdxl), negative=negative, zero_empty_negative=False)
    assert hidden.any()


@pytest.mark.parametrize(
    ("sdxl", "set_to", "asked", "layer"),
    [
        (False, None, 0, 1),
        (False, None, 2, 2),
        (False, -2, 0, 2),
        (False, -2, 1, 1),
        (True, None, 0, 2),
        (True, None, 1, 2),
        (True, -3, 0, 3),
    ],
)
def test_clip_skip(fake_comfy: FakeComfy, sdxl: bool, set_to: int | None, asked: int, layer: int) -> None:
    clip, plain = FakeClip(sdxl), FakeClip(sdxl)
    clip.layer_idx = set_to
    [(hidden, _)] = encoded(fake_comfy, "a cat", clip, clip_skip=asked)
    ramp = torch.linspace(0, 1, 77)[:, None]
    [(usual, _)] = encoded(fake_comfy, "a cat", plain)
    assert torch.allclose((hidden - ramp) / layer, (usual - ramp) / (2 if sdxl else 1), atol=1e-6)


def test_a_clip_skip_beyond_the_layers_is_refused(fake_comfy: FakeComfy) -> None:
    with pytest.raises(BadValue, match="clip_skip is 9; pass 1 to 3"):
        encoded(fake_comfy, "a cat", clip_skip=9)


def test_another_kind_of_text_encoder_is_named(fake_comfy: FakeComfy) -> None:
    clip = FakeClip()
    clip.cond_stage_model.t5xxl = torch.nn.Linear(1, 1)
    with pytest.raises(BadType, match="t5xxl"):
        encoded(fake_comfy, "a cat", clip)


def test_sizes_are_passed_on_where_they_are_given(fake_comfy: FakeComfy) -> None:
    [(_, more)] = encoded(fake_comfy, "a cat", FakeClip(sdxl=True), width=512, height=0, crop_w=8)
    assert {key: more[key] for key in ("width", "crop_w")} == {"width": 512, "crop_w": 8}
    assert "height" not in more


def test_emphasis_and_dialect_reach_the_core(fake_comfy: FakeComfy) -> None:
    [(plain, _)], [(other, _)] = (
        encoded(fake_comfy, "a (cat:1.5)", emphasis=mode) for mode in ("Original", "ComfyUI")
    )
    assert not torch.equal(plain, other)
    [(words, _)] = encoded(fake_comfy, "a BREAK b", dialect="comfyui")
    assert words.shape[1] == 77


def test_an_embedding_is_found_by_its_name_and_others_are_not_read(fake_comfy: FakeComfy) -> None:
    folder = fake_comfy.folder / "embeddings"
    (folder / "more").mkdir()
    save_file({"clip_l": torch.full((2, WIDTH), 9.0)}, folder / "more" / "EasyNeg.safetensors")
    (folder / "broken.pt").write_bytes(b"no")
    [(hidden, _)] = encoded(fake_comfy, "a easyneg, cat")
    assert (hidden[0, 2:4] > 8).all()
    [(without, _)] = encoded(fake_comfy, "a cat")
    assert not (without > 8).any()


def test_a_broken_embedding_that_is_named_is_left_out_with_a_warning(
    fake_comfy: FakeComfy, caplog: pytest.LogCaptureFixture
) -> None:
    (fake_comfy.folder / "embeddings" / "broken.pt").write_bytes(b"no")
    with caplog.at_level(logging.WARNING):
        encoded(fake_comfy, "a broken cat")
    assert "broken" in caplog.text


PROMPT = "a [cat|dog], [red:blue:0.5] hat"


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("sample_euler", 1),
        ("sample_heun", 2),
        ("sample_dpmpp_sde_gpu", 2),
        ("dpm_fast_function", 1),
        ("other", 1),
    ],
)
@pytest.mark.parametrize("steps", [3, 20, 55])
def test_each_call_gets_what_the_core_gives_it(
    fake_comfy: FakeComfy, name: str, calls: int, steps: int
) -> None:
    guider = FakeGuider(encoded(fake_comfy, PROMPT), encoded(fake_comfy, "[ugly:bad:3]", negative=True))
    count = steps * calls + 2
    guider.run(count, steps, sampler(name))
    both = (
        core(fake_comfy, PROMPT, steps, calls=calls),
        core(fake_comfy, "[ugly:bad:3]", steps, calls=calls, negative=True),
    )
    for kind, wanted in zip(("positive", "negative"), both, strict=True):
        for call, found in enumerate(texts(guider, kind)):
            [hidden] = found
            assert torch.equal(hidden, wanted.for_call(call).hidden)


def test_pooled_goes_with_its_text(fake_comfy: FakeComfy) -> None:
    clip = FakeClip(sdxl=True)
    guider = FakeGuider(encoded(fake_comfy, "[cat:dog:0.5]", clip))
    guider.run(4, 4, sampler("sample_euler"))
    wanted = core(fake_comfy, "[cat:dog:0.5]", 4, clip)
    for call, seen in enumerate(guider.seen):
        assert torch.equal(seen["positive"][0]["pooled_output"], wanted.for_call(call).pooled)


def test_our_own_sampler_tells_its_calls(fake_comfy: FakeComfy) -> None:
    from sd_concord.core.sampling import SAMPLERS

    schedule, rules = fake_comfy.module("schedule"), DIALECTS["a1111"]
    run = fake_comfy.module("denoiser").sampler_function(SAMPLERS["seeds_3"])
    assert schedule.calls_of(SimpleNamespace(sampler_function=run), rules) == 2
    assert schedule.calls_of(SimpleNamespace(sampler_function=run), DIALECTS["concord"]) == 3
    assert schedule.calls_of(SimpleNamespace(), rules) == 1


def test_the_counter_begins_anew_with_each_run(fake_comfy: FakeComfy) -> None:
    conditioning = encoded(fake_comfy, "[cat|dog]")
    first, second = FakeGuider(conditioning), FakeGuider(conditioning)
    for guider in (first, second):
        guider.run(5, 5, sampler("sample_euler"))
    assert all(torch.equal(one, other) for [one], [other] in zip(texts(first), texts(second), strict=True))


def test_the_guider_has_its_entries_back_after_each_call_and_our_hook_is_off(fake_comfy: FakeComfy) -> None:
    guider = FakeGuider(encoded(fake_comfy, PROMPT), encoded(fake_comfy, "bad"))
    guider.run(1, 10, sampler("sample_euler"))
    assert len(guider.conds["positive"]) == 4
    assert not any("hooks" in entry for entries in guider.conds.values() for entry in entries)


def test_what_others_put_on_an_entry_stays_on_all_its_texts(fake_comfy: FakeComfy) -> None:
    conditioning = encoded(fake_comfy, PROMPT)
    own, foreign = HookGroup(), TransformerOptionsHook({"wrappers": {}})
    own.add(foreign)
    for _, values in conditioning:
        values["hooks"] = HookGroup.combine_all_hooks([values["hooks"], own])
        values["strength"] = 0.7
    guider = FakeGuider(conditioning)
    guider.run(3, 10, sampler("sample_euler"))
    seen = [entry for each in guider.seen for entry in each["positive"]]
    assert {entry["strength"] for entry in seen} == {0.7}
    assert {id(entry["hooks"]) for entry in seen} == {id(seen[0]["hooks"])}
    assert seen[0]["hooks"].hooks == [foreign]


def test_a_conditioning_that_is_not_ours_is_always_active(fake_comfy: FakeComfy) -> None:
    other = [[torch.ones(1, 77, WIDTH), {"pooled_output": None}]]
    guider = FakeGuider([*encoded(fake_comfy, "[cat:dog:0.5]"), *other])
    guider.run(4, 4, sampler("sample_euler"))
    assert [len(found) for found in texts(guider)] == [2, 2, 2, 2]


@pytest.mark.parametrize(("name", "calls"), [("sample_euler", 1), ("sample_heun", 2)])
def test_a_part_of_a_run_gets_its_part_of_the_schedule(fake_comfy: FakeComfy, name: str, calls: int) -> None:
    guider = FakeGuider(encoded(fake_comfy, PROMPT, total_steps=20, start_step=8))
    guider.run(5 * calls, 5, sampler(name))
    wanted = core(fake_comfy, PROMPT, 20, calls=calls)
    for call, [hidden] in enumerate(texts(guider)):
        assert torch.equal(hidden, wanted.for_call(call + 8 * calls).hidden)


def test_loras_keep_to_their_part_of_a_run(fake_comfy: FakeComfy) -> None:
    lora(fake_comfy, "x.safetensors")
    text = "a [<lora:x:0.5>::0.5]"
    guider = FakeGuider(encoded(fake_comfy, text, dialect="concord", total_steps=8, start_step=2))
    guider.run(4, 4, sampler("sample_euler"))
    assert hooks_of(guider) == [[0.5], [0.5], [], []]


def test_texts_are_encoded_before_a_sampler_asks(fake_comfy: FakeComfy) -> None:
    clip = FakeClip()
    guider = FakeGuider(encoded(fake_comfy, "[a:b:7] [c:d:0.5]", clip))
    before = clip.cond_stage_model.clip_l.encoded
    guider.run(3, 10, sampler("sample_euler"))  # fewer steps turn the order of the two round
    assert clip.cond_stage_model.clip_l.encoded == before


def altered(conditioning: list[Any], change: Any) -> list[Any]:
    return [[change(hidden), {**values}] for hidden, values in conditioning]


def test_what_is_joined_behind_goes_behind_each_text(fake_comfy: FakeComfy) -> None:
    tail = torch.full((1, 77, WIDTH), 5.0)
    guider = FakeGuider(
        altered(encoded(fake_comfy, "[cat:dog:2]"), lambda hidden: torch.cat([hidden, tail], 1))
    )
    guider.run(4, 4, sampler("sample_euler"))
    found = [one for [one] in texts(guider)]
    assert all(torch.equal(one[:, 77:], tail) for one in found)
    assert not torch.equal(found[0][:, :77], found[3][:, :77])


def test_zeroed_out_it_stays_zero(fake_comfy: FakeComfy) -> None:
    guider = FakeGuider(altered(encoded(fake_comfy, "[cat|dog]"), torch.zeros_like))
    guider.run(4, 4, sampler("sample_euler"))
    assert all(len(found) == 1 and not found[0].any() for found in texts(guider))


def test_an_average_is_refused(fake_comfy: FakeComfy) -> None:
    guider = FakeGuider(altered(encoded(fake_comfy, "[cat|dog]"), lambda hidden: hidden * 0.5))
    with pytest.raises(BadValue, match="averaged"):
        guider.run(4, 4, sampler("sample_euler"))


def and_run(comfy: FakeComfy, text: str, cfg1: bool = False) -> tuple[torch.Tensor, list[Any]]:
    """Return what AND parts become that predict 1, 2, … over a negative that predicts 10, and what was asked."""
    guider = FakeGuider(encoded(comfy, text), encoded(comfy, "bad", negative=True))
    guider.run(1, 4, sampler("sample_euler"))
    asked: list[Any] = []

    def predict(model: Any, conds: Any, x: Any, timestep: Any, options: Any) -> list[torch.Tensor]:
        asked.extend(conds)
        return [torch.full((1,), 10.0 if i == len(conds) - 1 else i + 1.0) for i in range(len(conds))]

    seen = guider.seen[0]
    wrapper = guider.wrappers["calc_cond_batch"][0]
    joined, _ = wrapper(predict, None, [seen["positive"], None if cfg1 else seen["negative"]], None, None, {})
    return joined, [guider.options[0], asked]


def test_and_parts_are_joined_as_in_a1111(fake_comfy: FakeComfy) -> None:
    joined, (options, asked) = and_run(fake_comfy, "a :0.5 AND b :-0.25")
    assert joined == pytest.approx(10 + 0.5 * (1 - 10) - 0.25 * (2 - 10))
    assert len(asked) == 3
    assert options == {"disable_cfg1_optimization": True}


def test_and_parts_whose_weights_sum_to_one_need_no_negative(fake_comfy: FakeComfy) -> None:
    joined, (options, _) = and_run(fake_comfy, "a :0.75 AND b :0.25", cfg1=True)
    assert joined == pytest.approx(0.75 * 1 + 0.25 * 2)
    assert options == {}


def test_without_a_negative_and_parts_are_averaged_by_weight(fake_comfy: FakeComfy) -> None:
    joined, _ = and_run(fake_comfy, "a :3 AND b :1", cfg1=True)
    assert joined == pytest.approx((3 * 1 + 1 * 2) / 4)


def test_and_in_the_third_place_of_a_guider_is_joined_around_the_second(fake_comfy: FakeComfy) -> None:
    guider = FakeGuider(encoded(fake_comfy, "a :0.5 AND b :2"))
    guider.run(1, 4, sampler("sample_euler"))

    def predict(model: Any, conds: Any, x: Any, timestep: Any, options: Any) -> list[torch.Tensor]:
        return [torch.full((1,), i + 1.0) for i in range(len(conds))]

    wrapper = guider.wrappers["calc_cond_batch"][0]
    out = wrapper(predict, None, [[{}], [{}], guider.seen[0]["positive"]], None, None, {})
    assert [float(one) for one in out] == [1, 2, 2 + 0.5 * (3 - 2) + 2 * (4 - 2)]


def test_and_beside_another_conditioning_is_refused(fake_comfy: FakeComfy) -> None:
    guider = FakeGuider([*encoded(fake_comfy, "a AND b"), *encoded(fake_comfy, "[c:d:0.5]")])
    with pytest.raises(BadValue, match="AND"):
        guider.run(1, 4, sampler("sample_euler"))


def lora(comfy: FakeComfy, name: str) -> None:
    (comfy.folder / "loras" / name).write_bytes(b"")


def hooks_of(guider: FakeGuider) -> list[list[float]]:
    """Return the strengths of the LoRAs on the positive and on the negative at each call."""
    found: list[list[float]] = []
    for seen in guider.seen:
        groups = [entry.get("hooks") for entries in seen.values() for entry in entries]
        assert len(set(map(id, groups))) == 1
        found.append(
            [hook.strength for hook in groups[0].hooks if isinstance(hook, WeightHook)] if groups[0] else []
        )
    return found


@pytest.mark.parametrize(
    ("text", "dialect", "wanted"),
    [
        ("a [<lora:x:0.5>::0.5]", "concord", [[0.5], [0.5], [], []]),
        ("a [<lora:x:0.5>|b]", "concord", [[0.5], [], [0.5], []]),
        ("a <lora:x:0.3:0.7>", "concord", [[0.7]] * 4),
        ("a [<lora:x:0.5>::0.5]", "a1111", [[0.5]] * 4),
        ("a <lora:x:0.5> [<lora:Y:te=0.1:unet=0.2>::0.5]", "concord", [[0.5, 0.2], [0.5, 0.2], [0.5], [0.5]]),
    ],
)
def test_loras_are_on_both_prompts_at_their_calls(
    fake_comfy: FakeComfy, text: str, dialect: str, wanted: list[list[float]]
) -> None:
    lora(fake_comfy, "x.safetensors")
    lora(fake_comfy, "y.pt")
    guider = FakeGuider(encoded(fake_comfy, text, dialect=dialect), encoded(fake_comfy, "bad", negative=True))
    guider.run(4, 4, sampler("sample_euler"))
    assert [sorted(each) for each in hooks_of(guider)] == [sorted(each) for each in wanted]
    assert guider.model_patcher.hook_patches == {}


def test_the_text_is_encoded_with_the_loras_that_are_on(fake_comfy: FakeComfy) -> None:
    lora(fake_comfy, "x.safetensors")
    guider = FakeGuider(encoded(fake_comfy, "cat [<lora:x:0.5>::0.5]", dialect="concord"))
    guider.run(4, 4, sampler("sample_euler"))
    first, last = texts(guider)[0][0], texts(guider)[3][0]
    assert torch.allclose(first - last, torch.tensor(0.5), atol=1e-5)


def test_a_lora_that_is_missing_is_left_out_with_a_warning(
    fake_comfy: FakeComfy, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        guider = FakeGuider(encoded(fake_comfy, "a <lora:nothere:1> <hypernet:z:1> <lora:x:heavy>"))
        guider.run(2, 2, sampler("sample_euler"))
    assert hooks_of(guider) == [[], []]
    assert all(word in caplog.text for word in ("nothere", "hypernet", "heavy"))


def test_lora_prompt_applies_the_constant_tags_and_leaves_the_others(fake_comfy: FakeComfy) -> None:
    lora(fake_comfy, "x.safetensors")
    model, clip, rest = (
        fake_comfy.module("text")
        .ConcordLoraPrompt.execute(
            model=[], clip=[], text="a <lora:x:0.3:0.7>b [<lora:x:1>::3]", dialect="concord"
        )
        .result
    )
    assert (model, clip, rest) == ([0.7], [0.3], "a b [<lora:x:1>::3]")


@pytest.mark.parametrize(
    ("text", "dialect", "rest", "count"),
    [
        ("<lora:x:1>a", "a1111", "a", 1),
        ("[<lora:x:1>::3] b", "a1111", "[::3] b", 1),
        ("[<lora:x:1>::3] b", "concord", "[<lora:x:1>::3] b", 0),
        ("[a|<lora:x:1>] <lora:y:1>AND <lora:z:1>b", "concord", "[a|<lora:x:1>] AND b", 2),
        ("(a <lora:x:1>:1.2)", "concord", "(a :1.2)", 1),
        ("a <lora:x:1># <lora:y:1>", "concord", "a ", 1),
        ("a [x|b <lora:x:1>", "comfyui", "a [x|b ", 1),
        ("no tag < >", "concord", "no tag < >", 0),
    ],
)
def test_constant_tags(text: str, dialect: str, rest: str, count: int) -> None:
    found, tags = constant_tags(text, DIALECTS[dialect])
    assert (found.rstrip("\n"), len(tags)) == (rest, count)


def test_explain_shows_the_timeline_and_the_warnings(fake_comfy: FakeComfy) -> None:
    lora(fake_comfy, "x.safetensors")
    save_file({"clip_l": torch.ones(3, WIDTH)}, fake_comfy.folder / "embeddings" / "easyneg.safetensors")
    node = fake_comfy.module("text").ConcordExplain
    given = {"steps": 10, "dialect": "a1111", "sampler": "heun", "negative": False}
    out = node.execute(text="[cat:dog:0.5] easyneg <lora:x:1> <lora:nothere:1> (a", **given)
    picture, words = out.result
    assert picture.shape[0] == 1
    assert picture.shape[3] == 3
    for part in (
        "10 steps, 20 model calls",
        "<easyneg>",
        "of 75 tokens",
        "open-bracket",
        "nothere",
        "lora x 1",
    ):
        assert part in words
    assert "network file is called 'x'" not in words
    assert out.ui["text"] == (words,)
    assert out.ui["images"]
    assert "hires pass" in node.execute(text="a", hires_steps=5, **given).result[1]
