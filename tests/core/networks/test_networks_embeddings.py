"""Embedding files in every form, read into vectors by text encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sd_concord.core.errors import BadFile
from sd_concord.core.networks import file_hashes, load_embedding
from torch import Tensor

Write = Callable[..., Path]


def assert_holds(path: Path, vectors: dict[str, Tensor]) -> None:
    embedding = load_embedding(path)
    assert embedding.name == path.stem
    assert embedding.hashes == file_hashes(path)
    assert set(embedding.vectors) == set(vectors)
    for encoder, got in embedding.vectors.items():
        assert not got.requires_grad
        assert torch.equal(got, vectors[encoder])
    assert embedding.n == len(next(iter(vectors.values())))


@pytest.mark.parametrize(("width", "encoder"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g")])
def test_emb_params_belong_to_the_encoder_of_their_width(write: Write, width: int, encoder: str) -> None:
    vectors = torch.randn(3, width).half()
    assert_holds(write({"emb_params": vectors}, name="my style"), {encoder: vectors})


def test_sdxl_has_vectors_for_both_encoders(write: Write) -> None:
    vectors = {"clip_l": torch.randn(2, 768), "clip_g": torch.randn(2, 1280)}
    assert_holds(write(vectors), vectors)


@pytest.mark.parametrize("wrap", [dict, torch.nn.ParameterDict], ids=["dict", "ParameterDict"])
def test_string_to_param_of_a1111(tmp_path: Path, wrap: Any) -> None:
    vectors = torch.randn(4, 768)
    data = {
        "string_to_token": {"*": 265},
        "string_to_param": wrap({"*": torch.nn.Parameter(vectors)}),
        "name": "inside",
        "step": 500,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }
    torch.save(data, tmp_path / "outside.pt")
    assert_holds(tmp_path / "outside.pt", {"clip_l": vectors})


@pytest.mark.parametrize("shape", [(768,), (1, 768), (5, 768)])
@pytest.mark.parametrize("name", ["learned_embeds.bin", "learned_embeds.safetensors"])
def test_one_tensor_under_its_token_as_diffusers_writes_it(
    write: Write, name: str, shape: tuple[int, ...]
) -> None:
    vectors = torch.randn(shape)
    assert_holds(write({"<cat-toy>": vectors}, name=name), {"clip_l": vectors.reshape(-1, 768)})


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"emb_params": torch.ones(2, 64)}, "vectors of 64 values; known are 768"),
        ({"emb_params": torch.ones(1, 2, 768)}, "(1, 2, 768), not vectors (n, D)"),
        ({"emb_params": torch.ones(2, 768, dtype=torch.int64)}, "torch.int64"),
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)}, "clip_l (2, 768), clip_g (3, 1280)"),
        ({"a": torch.ones(768), "b": torch.ones(768)}, "no embedding: it holds 2 tensors"),
        ({}, "no embedding: it holds 0 tensors"),
    ],
    ids=["width", "axes", "integers", "numbers", "two", "none"],
)
def test_what_is_no_embedding_is_refused_in_one_line(
    write: Write, tensors: dict[str, Tensor], reason: str
) -> None:
    with pytest.raises(BadFile) as caught:
        load_embedding(write(tensors))
    assert reason in str(caught.value)
    assert str(caught.value).startswith("net.safetensors ")
    assert "\n" not in str(caught.value)


def test_a_truncated_embedding(write: Write) -> None:
    path = write({"emb_params": torch.ones(2, 768)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadFile, match="download it again"):
        load_embedding(path)
