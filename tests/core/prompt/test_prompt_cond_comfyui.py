"""Tokens and conditioning tensors of ComfyUI, text to tensor."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch
from clip import TinyClip, load_script, tensors
from golden import golden_dir
from sd_concord.core.prompt import Chunk, Dialect, Tokenizer, clip_tokenizer, encode, plan
from sd_concord.core.prompt.chunks import Names
from sd_concord.core.prompt.reading import read_chunks

pytestmark = pytest.mark.golden

FIELDS = {"id", "kind", "text", "tokens", "cond", "log", "other_tokenizers"}
COND_FIELDS = {"model", "clip_layer", "shape", "key", "pooled"}
VECTORS = {"tiny_sd1": 3, "tiny_xl": 2}


@lru_cache(maxsize=1)
def script() -> Any:
    return load_script(golden_dir("cond") / "make_tiny_clip.py")


@lru_cache(maxsize=1)
def record() -> dict[str, Any]:
    found = json.loads((golden_dir("cond") / "comfyui.json").read_text(encoding="utf-8"))
    assert found["prompts"]
    return found


@lru_cache(maxsize=1)
def arrays() -> dict[str, np.ndarray]:
    with np.load(golden_dir("cond") / "comfyui.npz") as file:
        return {key: file[key] for key in file.files}


@lru_cache(maxsize=2)
def encoders(model: str) -> list[TinyClip]:
    vectors = script().make_tiny_embeddings()
    known = {
        "l": {"tiny_sd1": vectors["tiny_sd1"]["emb_params"], "tiny_xl": vectors["tiny_xl"]["clip_l"]},
        "g": {"tiny_xl": vectors["tiny_xl"]["clip_g"]},
    }
    made: list[TinyClip] = []
    for which in ("l", "g") if model == "sdxl" else ("l",):
        weights = tensors(script().make_tiny_clip(which))
        if which == "l":
            del weights["text_projection.weight"]
        config = script().CONFIG[which]
        made.append(
            TinyClip(
                weights=weights,
                heads=config["num_attention_heads"],
                act=config["hidden_act"],
                tokenizer=tokenizer(which),
                final_norm=model == "sd1",
                embeddings=tensors(known[which]),
                with_pooled=model == "sd1" or which == "g",
            )
        )
    return made


def tokenizer(which: str) -> Tokenizer:
    return clip_tokenizer("rust", pad=0 if which == "g" else None)


def as_recorded(chunk: Chunk, pad: int) -> dict[str, Any]:
    ids = list(chunk.ids)
    while len(ids) > 1 and ids[-1] == pad:
        ids.pop()
    runs = [[weight, len(list(same))] for weight, same in groupby(chunk.weights)]
    return {"ids": ids, "pad": pad, "length": len(chunk.ids), "weights": runs}


def test_tokens_are_those_of_comfyui() -> None:
    cases = 0
    for prompt in record()["prompts"]:
        assert set(prompt) <= FIELDS, set(prompt) - FIELDS
        pieces = plan(prompt["text"], 1, dialect=Dialect.comfyui()).parts[0].segments[0].pieces
        for by_encoder in prompt["tokens"].values():
            for which, want in by_encoder.items():
                names = Names(VECTORS, tokenizer(which))
                got = read_chunks(pieces, Dialect.comfyui(), tokenizer(which), names)
                plain = [{**c, "ids": [0 if isinstance(i, str) else i for i in c["ids"]]} for c in want]
                assert [as_recorded(c, w["pad"]) for c, w in zip(got, want, strict=True)] == plain, prompt[
                    "text"
                ]
                cases += 1
        for host, want in prompt.get("other_tokenizers", {}).items():
            other = clip_tokenizer("no-ftfy" if "no ftfy" in host else "a1111")
            got = read_chunks(pieces, Dialect.comfyui(), other, Names(VECTORS, other))
            assert [as_recorded(c, w["pad"]) for c, w in zip(got, want, strict=True)] == want, prompt["text"]
            cases += 1
    print(f"comfyui.json: {cases} token lists of {len(record()['prompts'])} prompts")


def test_conditionings_are_those_of_comfyui() -> None:
    torch.set_num_threads(1)
    cases = 0
    for prompt in record()["prompts"]:
        laid = plan(prompt["text"], 1, dialect=Dialect.comfyui())
        pieces = laid.parts[0].segments[0].pieces
        tolerance = 1e-5 * max(1.0, *(abs(weight) for _, weight in pieces))
        for want in prompt["cond"]:
            assert set(want) == COND_FIELDS, set(want) ^ COND_FIELDS
            default = 2 if want["model"] == "sdxl" else 1
            skip = default if want["clip_layer"] is None else -want["clip_layer"]
            got = encode(laid, encoders(want["model"]), emphasis="ComfyUI", clip_skip=skip).for_call(0)
            assert list(got.hidden.shape[1:]) == want["shape"]
            assert got.pooled is not None
            for tensor, key in ((got.hidden, "key"), (got.pooled, "pooled")):
                expected = arrays()[want[key]].reshape(tensor.shape)
                np.testing.assert_allclose(
                    tensor, expected, rtol=0, atol=tolerance, err_msg=repr(prompt["text"])
                )
            cases += 1
    assert cases
    print(f"comfyui.npz: {cases} conditionings of {len(record()['prompts'])} prompts")
