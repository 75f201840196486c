"""A plan through a text encoder: how often it runs, what weights do, what is active when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from clip import FakeEncoder
from sd_concord.core.errors import BadValue
from sd_concord.core.prompt import (
    EMPHASIS,
    Conditioning,
    Dialect,
    NetworkTag,
    RunShape,
    clip_tokenizer,
    combine_denoised,
    encode,
    plan,
)
from sd_concord.core.prompt.padding import batch_for_call, pad_with_empty, pad_with_last
from sd_concord.core.prompt.size import size_embedding
from torch import Tensor


def fake(**options: Any) -> FakeEncoder:
    return FakeEncoder(tokenizer=clip_tokenizer(), **options)


def done(text: str, steps: int = 4, encoder: FakeEncoder | None = None, **options: Any) -> Conditioning:
    return encode(plan(text, steps), encoder or fake(), **options)


def hidden(text: str, call: int = 0, **options: Any) -> Tensor:
    return done(text, **options).for_call(call).hidden


OPTIONS = "|".join(f"word{i}" for i in range(12))


@pytest.mark.parametrize(
    ("text", "steps", "asked", "rows"),
    [
        (f"x BREAK y BREAK z BREAK [{OPTIONS}]", 12, 48, 15),
        ("x BREAK y BREAK z BREAK [a|b]", 28, 112, 5),
        ("same BREAK same BREAK same", 1, 3, 1),
        ("a AND a AND b", 1, 3, 2),
    ],
)
def test_each_distinct_chunk_is_encoded_once_and_in_one_batch(
    text: str, steps: int, asked: int, rows: int
) -> None:
    encoder = fake()
    conditioning = encode(plan(text, steps), encoder, emphasis="No norm")
    chunks = sum(len(part.lasts) * part.hidden.shape[1] // 77 for part in conditioning.parts)
    assert (chunks, encoder.rows, len(encoder.calls)) == (asked, rows, 1)


def test_many_chunks_go_in_batches_of_32() -> None:
    encoder = fake()
    encode(plan(" BREAK ".join(f"w{i}" for i in range(70)), 1), encoder)
    assert [len(ids) for ids in encoder.calls] == [32, 32, 6]


@pytest.mark.parametrize("emphasis", EMPHASIS)
def test_weights_of_one_change_nothing(emphasis: str) -> None:
    assert torch.equal(hidden("a cat, a dog", emphasis=emphasis), hidden("a cat, a dog", emphasis="Ignore"))


@pytest.mark.parametrize("emphasis", sorted(set(EMPHASIS) - {"None", "Ignore"}))
@pytest.mark.parametrize("weight", [0.5, 1.5])
def test_weights_change_what_is_encoded(emphasis: str, weight: float) -> None:
    assert not torch.allclose(hidden(f"a (cat:{weight}) dog", emphasis=emphasis), hidden("a cat dog"))


def test_no_norm_multiplies_each_token() -> None:
    plain = hidden("a cat dog")
    weighted = hidden("a (cat:1.5) dog", emphasis="No norm")
    factors = torch.ones(77)
    factors[2] = 1.5
    assert torch.equal(weighted, plain * factors[:, None])


def test_original_restores_the_mean_over_the_whole_batch() -> None:
    conditioning = done("(a:1.5) [b:c:2]", 3)
    plain = done("(a:1.5) [b:c:2]", 3, emphasis="Ignore")
    (part,), (before,) = conditioning.parts, plain.parts
    assert len(part.hidden) == 2
    torch.testing.assert_close(part.hidden.mean(), before.hidden.mean())
    assert not torch.allclose(part.hidden[0].mean(), before.hidden[0].mean())


def test_original_counts_a_text_as_often_as_it_is_in_the_schedule() -> None:
    (part,) = done("(a:1.5) [b|c]", 3).parts
    (before,) = done("(a:1.5) [b|c]", 3, emphasis="Ignore").parts
    # b, c, b: two of three segments have the first text
    times = torch.tensor([2.0, 1.0])[:, None, None]
    torch.testing.assert_close((part.hidden * times).mean(), (before.hidden * times).mean())


def test_an_edit_changes_the_conditioning_of_the_segment_without_it() -> None:
    alone, edited = hidden("(a:1.5) b"), hidden("(a:1.5) [b:c:2]")
    assert not torch.allclose(alone, edited)
    assert torch.allclose(alone / alone.mean(), edited / edited.mean(), atol=1e-4)


def test_comfyui_goes_from_the_empty_prompt() -> None:
    empty, plain = hidden("")[0], hidden("a cat dog")[0]
    weighted = hidden("a (cat:1.5) dog", emphasis="ComfyUI")[0]
    torch.testing.assert_close(weighted[2], empty[2] + 1.5 * (plain[2] - empty[2]))
    assert torch.equal(weighted[3], plain[3])


def without(words: str) -> Tensor:
    return hidden(words)[0]


def test_compel_lowers_by_mixing_in_the_prompt_without_the_words() -> None:
    # the mask is the token of "+"
    a, b, c = without("pears and apples"), without("+ and apples"), without("+ and +")
    mixed = hidden("(pears:.2) and (apples:.5)", emphasis="compel")[0]
    torch.testing.assert_close(mixed, 0.2 * a + 0.3 * b + 0.5 * c)


def test_comfy_plus_plus_raises_from_the_prompt_without_the_word() -> None:
    plain, masked = without("pears and apples"), without("+ and apples")
    raised = hidden("(pears:1.5) and apples", emphasis="comfy++")[0]
    want = plain.clone()
    want[1] += 0.5 * (plain - masked)[1]
    torch.testing.assert_close(raised, want)


def test_down_weight_makes_the_largest_weight_one() -> None:
    raised = hidden("(pears:2.0) and apples", emphasis="down_weight")[0]
    want = 0.5 * without("pears and apples") + 0.5 * without("pears + +")
    torch.testing.assert_close(raised, want)


def test_none_takes_brackets_as_text() -> None:
    assert torch.equal(hidden("(a:1.5)", emphasis="None"), hidden(r"\(a\:1.5\)", emphasis="Ignore"))


def test_an_unknown_emphasis_offers_the_known_ones() -> None:
    with pytest.raises(BadValue, match="did you mean Original"):
        done("a", emphasis="original")


@pytest.mark.parametrize(("asked", "obeyed"), [(1, 2), (2, 2), (9, 4)])
def test_clip_skip_is_clamped_to_what_the_encoder_obeys(asked: int, obeyed: int) -> None:
    encoder = fake(clip_skips=(2, 4))
    encode(plan("a", 1), encoder, clip_skip=asked)
    assert encoder.skips == [obeyed]


def test_two_encoders_join_their_channels_and_the_last_one_pools() -> None:
    first, second = fake(width=4), FakeEncoder(tokenizer=clip_tokenizer(pad=0), width=6, with_pooled=True)
    active = encode(plan("a BREAK b", 2), [first, second]).for_call(0)
    assert active.hidden.shape == (1, 154, 10)
    assert active.pooled is not None
    assert active.pooled.shape == (1, 2)
    assert second.calls[0][0].tolist()[:4] == [49406, 320, 49407, 0]


def test_pad_of_zero_follows_the_first_eos_even_a_typed_one() -> None:
    encoder = FakeEncoder(tokenizer=clip_tokenizer(pad=0))
    encode(plan("a<|endoftext|>b", 1), encoder)
    assert encoder.calls[0][0].tolist() == [49406, 320, 49407] + [0] * 74


def test_pooled_is_of_the_first_chunk_and_unweighted() -> None:
    encoder = fake(with_pooled=True)
    assert torch.equal(
        encode(plan("(a:1.5) BREAK b", 1), encoder).pooled, encode(plan("a BREAK c", 1), encoder).pooled
    )


@pytest.mark.parametrize(
    ("text", "zero"), [("", True), ("[::2]", True), (" ", False), ("[a::2]", False), ("[:a:2]", False)]
)
def test_only_texts_that_are_all_empty_become_zeros(text: str, zero: bool) -> None:
    laid = plan(text, 4, run=RunShape(negative=True))
    for_call = encode(laid, fake(with_pooled=True), zero_empty=True).for_call(4)
    assert (not for_call.hidden.any()) == zero
    assert for_call.pooled is not None
    assert (not for_call.pooled.any()) == zero


def test_without_zero_empty_the_empty_prompt_is_encoded() -> None:
    assert hidden("").any()


def test_calls_look_up_the_text_as_a1111_does() -> None:
    a, b = hidden("a"), hidden("b")
    conditioning = done("[a:b:2]", emphasis="Ignore")
    assert [torch.equal(conditioning.for_call(k).hidden, a) for k in range(6)] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
    assert torch.equal(conditioning.for_call(3).hidden, b)


def test_calls_past_the_end_keep_the_last_text_in_concord() -> None:
    conditioning = encode(plan("[a:b:2]", 4, dialect="concord"), fake(), emphasis="Ignore")
    assert torch.equal(conditioning.for_call(9).hidden, hidden("b"))


def test_comfy_plus_plus_encodes_nothing_more_without_raised_weights() -> None:
    encoder = fake()
    encode(plan("a cat", 1), encoder, emphasis="comfy++")
    assert encoder.rows == 1


def test_and_parts_keep_their_weights_and_share_one_length() -> None:
    long = " BREAK ".join(["x"] * 3)
    active = done(f"a :0.7 AND {long} :-0.8").for_call(0)
    assert active.weights == (0.7, -0.8)
    assert active.hidden.shape[1] == 231
    assert torch.equal(active.hidden[0, 77:], active.hidden[0, 76:77].expand(154, -1))


def test_a_fade_mixes_the_two_conditionings() -> None:
    laid = plan("[a:b:0.0-1.0]", 4, dialect=Dialect.concord())
    conditioning = encode(laid, fake(), emphasis="Ignore")
    a, b = hidden("a"), hidden("b")
    for call, share in enumerate([0.125, 0.375, 0.625, 0.875]):
        torch.testing.assert_close(conditioning.for_call(call).hidden, (1 - share) * a + share * b)


def test_embeddings_stand_in_their_place() -> None:
    vectors = torch.full((3, 4), 9.0)
    encoder = fake(embeddings={"my style": vectors})
    conditioning = encode(plan("a My Style b", 1), encoder)
    assert conditioning.embeddings == ("my style",)
    assert encoder.calls[0][0].tolist()[:6] == [49406, 320, 0, 0, 0, 321]
    got, plain = conditioning.for_call(0).hidden[0], hidden("a b")[0]
    assert torch.equal(got[:2], plain[:2])
    assert (got[2:5] > 6).all()


def test_an_oversized_embedding_is_cut_to_its_chunk() -> None:
    encoder = fake(embeddings={"huge": torch.full((80, 4), 9.0)})
    conditioning = encode(plan("huge", 1), encoder)
    # A1111 closes the chunk, empty as it is, before an embedding that does not fit
    assert conditioning.for_call(0).hidden.shape == (1, 154, 4)
    assert encoder.calls[0][1].tolist() == [49406] + [0] * 75 + [49407]


def test_an_embedding_that_only_one_encoder_has_is_words_in_sdxl() -> None:
    first, second = fake(embeddings={"only": torch.zeros(2, 4)}), fake()
    conditioning = encode(plan("only", 1), [first, second])
    assert conditioning.embeddings == ()
    assert torch.equal(first.calls[0], second.calls[0])


def test_in_comfyui_an_encoder_without_the_vectors_drops_their_place() -> None:
    first, second = (
        fake(embeddings={"only": torch.full((2, 4), 9.0)}),
        FakeEncoder(tokenizer=clip_tokenizer(pad=0)),
    )
    encode(plan("a embedding:only b", 1, dialect="comfyui"), [first, second], emphasis="ComfyUI")
    assert first.calls[0][0].tolist()[:6] == [49406, 320, 0, 0, 321, 49407]
    assert second.calls[0][0].tolist()[:6] == [49406, 320, 321, 49407, 0, 0]
    assert len(second.calls[0][0]) == 77


def test_in_comfyui_a_long_embedding_goes_on_in_the_next_chunk() -> None:
    encoder = fake(embeddings={"long": torch.arange(10.0)[:, None].expand(10, 4)})
    encode(plan("cat " * 70 + "embedding:long", 1, dialect="comfyui"), encoder)
    placed = [(one.row, one.position, one.vectors[:, 0].tolist()) for one in encoder.inserts]
    assert placed == [(0, 71, [0, 1, 2, 3, 4]), (1, 1, [5, 6, 7, 8, 9])]


def test_networks_are_applied_before_the_texts_that_have_them() -> None:
    seen: list[list[str]] = []
    encoder = fake()

    def apply(tags: Sequence[NetworkTag]) -> None:
        seen.append([tag.positional[0] for tag in tags])
        encoder.shift = 5.0 if tags else 0.5

    laid = plan("a [<lora:x:1>::2]", 4, dialect=Dialect.concord())
    conditioning = encode(laid, encoder, emphasis="Ignore", apply_networks=apply)
    assert seen == [["x"], []]
    assert conditioning.for_call(0).hidden.mean() > 5
    assert torch.equal(conditioning.for_call(3).hidden, hidden("a "))


def test_networks_that_are_always_active_are_applied_once() -> None:
    seen: list[list[str]] = []
    laid = plan("<lora:x:1> [a:b:2] AND c", 4)
    encode(laid, fake(), apply_networks=lambda tags: seen.append([tag.positional[0] for tag in tags]))
    assert seen == [["x"]]


@pytest.mark.parametrize("weights", [(0.7, 0.8), (1.0, -0.5), (1.0, -1.0), (0.0, 0.0)])
def test_and_combines_on_the_denoised_predictions(weights: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    denoised = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    uncond = torch.randn(4, 8, 8, generator=generator, dtype=torch.float64)
    got = combine_denoised(denoised, uncond, weights, 7.0)
    want = uncond * (1 - 7.0 * sum(weights)) + 7.0 * (weights[0] * denoised[0] + weights[1] * denoised[1])
    torch.testing.assert_close(got, want)


def test_and_with_parts_of_77_and_231_tokens_combines_per_call() -> None:
    """The repeated last vector is what a part brings along; each call combines what is active then."""
    conditioning = done("[a:b:1] :0.7 AND x BREAK y BREAK z :0.8", 3, emphasis="Ignore")

    def denoise(cond: Tensor) -> Tensor:
        return cond.mean(dim=1)

    uncond = denoise(hidden(""))[0]
    results = []
    for call in range(3):
        active = conditioning.for_call(call)
        assert active.hidden.shape == (2, 231, 4)
        results.append(combine_denoised(denoise(active.hidden), uncond, active.weights, 5.0))
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_combining_wants_a_weight_for_each_part() -> None:
    with pytest.raises(BadValue, match="2 weights for 3 predictions"):
        combine_denoised(torch.zeros(3, 1), torch.zeros(1), [1.0, 1.0], 7.0)


def test_a_batch_stacks_all_parts_of_all_images() -> None:
    batch = batch_for_call([done("a AND b :0.5"), done("c")], 0)
    assert batch.hidden.shape == (3, 77, 4)
    assert batch.images == (((0, 1.0), (1, 0.5)), ((2, 1.0),))
    assert batch.pooled is None


def test_padding_with_the_empty_prompt_fills_the_shorter_side() -> None:
    cond, uncond, empty = hidden("a BREAK b"), hidden("c"), hidden("")[0]
    same, padded = pad_with_empty(cond, uncond, empty)
    assert same is cond or torch.equal(same, cond)
    assert torch.equal(padded[0], torch.cat([uncond[0], empty]))
    assert torch.equal(pad_with_empty(uncond, cond, empty)[0], padded)


def test_padding_with_the_last_vector_fits_the_negative_only() -> None:
    cond, uncond = hidden("a BREAK b"), hidden("c")
    assert torch.equal(pad_with_last(cond, uncond)[1][0, 77:], uncond[0, -1:].expand(77, -1))
    assert torch.equal(pad_with_last(uncond, cond)[1], cond[:, :77])


def test_the_size_embedding_has_cosines_before_sines() -> None:
    got = size_embedding([0.0, 1.0])
    assert got.shape == (512,)
    assert torch.equal(got[:256], torch.cat([torch.ones(128), torch.zeros(128)]))
    torch.testing.assert_close(got[256], torch.tensor(1.0).cos())
    torch.testing.assert_close(got[384], torch.tensor(1.0).sin())


def test_half_precision_keeps_its_dtype() -> None:
    class Half(FakeEncoder):
        def __call__(
            self, ids: Tensor, clip_skip: int, inserts: Sequence[Any] = ()
        ) -> tuple[Tensor, Tensor | None]:
            states, pooled = super().__call__(ids, clip_skip, inserts)
            return states.half(), pooled

    for emphasis in EMPHASIS:
        encoder = Half(tokenizer=clip_tokenizer())
        assert (
            encode(plan("a (b:1.5) (c:.5)", 1), encoder, emphasis=emphasis).for_call(0).hidden.dtype
            == torch.float16
        )
