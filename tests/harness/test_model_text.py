"""The text encoder's adapter: which layer is read, what is inserted, where the pooled vector is from."""

import dataclasses

import pytest
import torch
from clip import TinyClip
from miniatures import miniature, text_state
from sd_concord.core.errors import BadValue
from sd_concord.core.prompt.encoder import Insert
from sd_concord.harness.models import ClipEncoder

ACTS = {"clip_l": "quick_gelu", "clip_g": "gelu"}


@pytest.fixture(scope="module")
def encoders() -> dict[str, ClipEncoder]:
    found = {"sd15": miniature("sd15").text_encoders[0]}
    return found | {f"sdxl-{encoder.name}": encoder for encoder in miniature("sdxl").text_encoders}


def by_hand(encoder: ClipEncoder) -> TinyClip:
    """Return the same encoder in plain torch."""
    weights = {f"text_model.{name}": value for name, value in text_state(encoder.module).items()}
    projection = weights.pop("text_model.text_projection.weight", None)
    if projection is not None:
        weights["text_projection.weight"] = projection
    return TinyClip(
        weights=weights,
        heads=encoder.heads,
        act=ACTS[encoder.name],
        tokenizer=encoder.tokenizer,
        final_norm=encoder.final_norm,
        with_pooled=encoder.pools,
    )


def close(found: torch.Tensor, wanted: torch.Tensor | None) -> None:
    """Compare two float32 results whose sums were taken in another order."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-5)


def ids_of(encoder: ClipEncoder) -> torch.Tensor:
    """Return two chunks: the EOS in different places, then padding."""
    tokenizer = encoder.tokenizer
    rows = [[tokenizer.bos, *tokens, tokenizer.eos] for tokens in ([320, 2368, 525], [1125])]
    return torch.tensor([row + [tokenizer.pad] * (77 - len(row)) for row in rows])


@pytest.mark.parametrize("skip", [1, 2, 3])
@pytest.mark.parametrize("name", ["sd15", "sdxl-clip_l", "sdxl-clip_g"])
def test_each_layer_is_that_of_a_plain_clip(encoders, name, skip):
    encoder = dataclasses.replace(encoders[name], clip_skips=(1, 3))
    hidden, pooled = encoder(ids_of(encoder), skip)
    wanted, wanted_pooled = by_hand(encoder)(ids_of(encoder), skip)
    close(hidden, wanted)
    assert (pooled is None) == (name != "sdxl-clip_g")
    if pooled is not None:
        close(pooled, wanted_pooled)


@pytest.mark.parametrize(("asked", "read"), [(1, 2), (2, 2), (3, 3), (12, 3)])
def test_clip_skip_is_clamped(encoders, asked, read):
    encoder = encoders["sdxl-clip_l"]
    assert torch.equal(encoder(ids_of(encoder), asked)[0], encoder(ids_of(encoder), read)[0])


def test_clip_skip_never_exceeds_the_layers(encoders):
    encoder = dataclasses.replace(encoders["sd15"], clip_skips=(1, 12))
    assert torch.equal(encoder(ids_of(encoder), 12)[0], encoder(ids_of(encoder), 3)[0])


@pytest.mark.parametrize("name", ["sd15", "sdxl-clip_g"])
def test_inserted_vectors_stand_in_place_of_tokens(encoders, name):
    encoder = encoders[name]
    vectors = torch.randn(2, encoder.width, generator=torch.Generator().manual_seed(0))
    inserts = [Insert(row=1, position=3, vectors=vectors), Insert(row=0, position=1, vectors=vectors[:1])]
    hidden, _ = encoder(ids_of(encoder), 2, inserts)
    wanted, _ = by_hand(encoder)(ids_of(encoder), 2, inserts)
    close(hidden, wanted)
    assert not torch.equal(hidden, encoder(ids_of(encoder), 2)[0])


def test_inserts_leave_the_encoder_as_it_was(encoders):
    encoder = encoders["sd15"]
    before = encoder(ids_of(encoder), 1)[0]
    encoder(ids_of(encoder), 1, [Insert(row=0, position=1, vectors=torch.ones(1, encoder.width))])
    assert torch.equal(encoder(ids_of(encoder), 1)[0], before)


def test_a_vector_of_the_tables_own_changes_nothing(encoders):
    encoder = encoders["sd15"]
    ids = ids_of(encoder)
    own = Insert(row=0, position=1, vectors=encoder.token_embedding.weight[ids[0, 1:3]])
    changed = ids.clone()
    changed[0, 1:3] = 0
    assert torch.equal(encoder(changed, 1, [own])[0], encoder(ids, 1)[0])


def test_what_does_not_fit_is_refused(encoders):
    encoder = encoders["sd15"]
    with pytest.raises(BadValue, match=r"a chunk has 78 tokens, .* takes 77; .* at most 75 vectors"):
        encoder(torch.zeros(1, 78, dtype=torch.long), 1)
    with pytest.raises(BadValue, match="vectors of 768 numbers, the text encoder's have 64"):
        encoder(ids_of(encoder), 1, [Insert(row=0, position=1, vectors=torch.zeros(1, 768))])
