"""Every form of network file against its formula, written out as loops over single values."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sd_concord.core.networks import delta_weight, load_network, match
from torch import Tensor

# Products of a few float32 values of size 1: far above their rounding, far below any wrong term.
Write = Callable[..., Path]
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
MODULE = "lora_unet_conv_in"


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7 * sum(shape) + len(shape)))


def deltas_of(
    write: Write, tensors: dict[str, Tensor], shape: tuple[int, ...], **file: Any
) -> dict[str, Any]:
    """Return the file's deltas by parameter, on a model that has the one module ``conv_in``."""
    prefix = file.pop("prefix", f"{MODULE}.")
    network = load_network(write({prefix + key: tensor for key, tensor in tensors.items()}, **file))
    matched = match(network, {"unet": {"conv_in.weight": shape, "conv_in.bias": (shape[0],)}})
    assert not matched.unmatched
    return dict(matched.deltas["unet"])


def weight_delta(
    write: Write, tensors: dict[str, Tensor], base: Tensor, strength: float = 1.0, **file: Any
) -> NDArray[np.float64]:
    delta = deltas_of(write, tensors, tuple(base.shape), **file)["conv_in.weight"]
    got = delta_weight(delta, base, strength)
    assert got.dtype == torch.float32
    assert got.shape == base.shape
    return got.double().numpy()


def matrix(up: Tensor, down: Tensor) -> NDArray[np.float64]:
    """``sum_r up[o, r] down[r, i]``, value by value."""
    out = np.zeros((up.shape[0], down.shape[1]))
    for o, i, r in itertools.product(range(up.shape[0]), range(down.shape[1]), range(down.shape[0])):
        out[o, i] += float(up[o, r]) * float(down[r, i])
    return out


def tucker(core: Tensor, a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """``sum_pq core[p, q, y, x] a[p, o] b[q, i]``, value by value."""
    ranks, (ky, kx) = core.shape[:2], core.shape[2:]
    out = np.zeros((a.shape[1], b.shape[1], ky, kx))
    for o, i, y, x in itertools.product(*map(range, out.shape)):
        for p, q in itertools.product(*map(range, ranks)):
            out[o, i, y, x] += float(core[p, q, y, x]) * float(a[p, o]) * float(b[q, i])
    return out


def kron(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """``out[a * B + b, c * D + d] = first[a, c] second[b, d]`` with the kernel of ``second`` along."""
    (a_n, c_n), (b_n, d_n) = first.shape, second.shape[:2]
    out = np.zeros((a_n * b_n, c_n * d_n, *second.shape[2:]))
    for a, b, c, d in itertools.product(range(a_n), range(b_n), range(c_n), range(d_n)):
        out[a * b_n + b, c * d_n + d] = first[a, c] * second[b, d]
    return out


# --- LoRA ---------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    out=st.integers(1, 5),
    inner=st.integers(1, 5),
    rank=st.integers(1, 3),
    alpha=st.floats(0.25, 16.0),
    strength=st.floats(-2.0, 2.0),
)
def test_lora_of_a_linear_layer(
    write: Write, out: int, inner: int, rank: int, alpha: float, strength: float
) -> None:
    up, down = rand(out, rank), rand(rank, inner)
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(alpha)}
    got = weight_delta(write, tensors, torch.zeros(out, inner), strength)
    np.testing.assert_allclose(got, strength * alpha / rank * matrix(up, down), **CLOSE)


def test_lora_of_a_convolution_equals_its_two_convolutions(write: Write) -> None:
    up, down = rand(6, 2, 1, 1), rand(2, 4, 3, 3)
    tensors = {"lora_up.weight": up, "lora_down.weight": down}
    got = torch.from_numpy(weight_delta(write, tensors, torch.zeros(6, 4, 3, 3))).float()
    x = rand(1, 4, 5, 5)
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(conv(x, got, padding=1), conv(conv(x, down, padding=1), up), **CLOSE)


def test_lora_of_a_convolution_with_mid_equals_its_three_convolutions(write: Write) -> None:
    up, mid, down = rand(6, 2, 1, 1), rand(2, 2, 3, 3), rand(2, 4, 1, 1)
    tensors = {
        "lora_up.weight": up,
        "lora_mid.weight": mid,
        "lora_down.weight": down,
        "alpha": torch.tensor(1.0),
    }
    got = torch.from_numpy(weight_delta(write, tensors, torch.zeros(6, 4, 3, 3))).float()
    x = rand(1, 4, 5, 5)
    conv = torch.nn.functional.conv2d
    three = conv(conv(conv(x, down), mid, padding=1), up)
    torch.testing.assert_close(conv(x, got, padding=1), three / 2, **CLOSE)


@pytest.mark.parametrize(
    ("up", "down", "base"),
    [((6, 2, 1, 1), (2, 4, 1, 1), (6, 4)), ((6, 2), (2, 4), (6, 4, 1, 1))],
    ids=["convolution on linear", "linear on convolution"],
)
def test_lora_crosses_between_linear_and_1x1_convolution(
    write: Write, up: tuple[int, ...], down: tuple[int, ...], base: tuple[int, ...]
) -> None:
    tensors = {"lora_up.weight": rand(*up), "lora_down.weight": rand(*down)}
    got = weight_delta(write, tensors, torch.zeros(base))
    want = matrix(rand(*up).reshape(6, 2), rand(*down).reshape(2, 4))
    np.testing.assert_allclose(got.reshape(6, 4), want, **CLOSE)


@pytest.mark.parametrize(
    ("prefix", "up", "down"),
    [
        ("unet.conv_in.", "lora_B.weight", "lora_A.weight"),
        ("base_model.model.conv_in.", "lora_B.weight", "lora_A.weight"),
        ("unet.base_model.model.conv_in.", "lora_B.default_0.weight", "lora_A.default_0.weight"),
        ("unet.conv_in.", "lora_B", "lora_A"),
        ("unet.conv_in.", "lora.up.weight", "lora.down.weight"),
        ("unet.conv_in", "_lora.up.weight", "_lora.down.weight"),
        ("conv_in.", "lora_linear_layer.up.weight", "lora_linear_layer.down.weight"),
        ("diffusion_model.input_blocks.0.0.", "lora_up.weight", "lora_down.weight"),
        ("lycoris_conv_in.", "lora_up.weight", "lora_down.weight"),
    ],
)
def test_every_spelling_of_up_and_down(write: Write, prefix: str, up: str, down: str) -> None:
    tensors = {up: rand(6, 2), down: rand(2, 4)}
    got = weight_delta(write, tensors, torch.zeros(6, 4), prefix=prefix)
    np.testing.assert_allclose(got, matrix(rand(6, 2), rand(2, 4)), **CLOSE)


def test_half_precision_factors_are_multiplied_in_float32(write: Write) -> None:
    up, down = (rand(6, 8) * 300).half(), (rand(8, 4) * 300).half()
    got = weight_delta(write, {"lora_up.weight": up, "lora_down.weight": down}, torch.zeros(6, 4).half())
    assert np.abs(got).max() > 65504, "beyond what float16 holds"
    np.testing.assert_allclose(got, matrix(up, down), **CLOSE)


# --- alpha --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [(None, 1.0), (torch.tensor(0.0), 1.0), (torch.tensor(1.0), 0.25), (torch.tensor([8.0]), 2.0)],
    ids=["missing", "zero", "one", "twice the rank"],
)
def test_alpha_over_rank(write: Write, alpha: Tensor | None, scale: float) -> None:
    tensors = {"lora_up.weight": rand(3, 4), "lora_down.weight": rand(4, 5)}
    tensors |= {} if alpha is None else {"alpha": alpha}
    got = weight_delta(write, tensors, torch.zeros(3, 5))
    np.testing.assert_allclose(got, scale * matrix(rand(3, 4), rand(4, 5)), **CLOSE)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"unet.r": 4, "unet.lora_alpha": 2}, 0.5),
        ({"unet.r": 4, "unet.lora_alpha": 2, "unet.use_rslora": True}, 1.0),
        ({"unet.lora_alpha": 2, "unet.alpha_pattern": {"other": 1, "conv_in": 8}}, 2.0),
        ({"unet.lora_alpha": 2, "unet.alpha_pattern": {"^conv_in": 8}}, 2.0),
        ({"unet.lora_alpha": 2, "unet.alpha_pattern": {"v_in": 8, "(": 8}}, 0.5),
        ({"text_encoder.lora_alpha": 2}, 1.0),
        ([], 1.0),
    ],
    ids=["alpha", "rslora", "pattern", "anchored pattern", "patterns of others", "another part", "no table"],
)
def test_alpha_in_the_metadata_of_a_peft_file(write: Write, config: Any, scale: float) -> None:
    tensors = {"lora_B.weight": rand(3, 4), "lora_A.weight": rand(4, 5)}
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    got = weight_delta(write, tensors, torch.zeros(3, 5), prefix="unet.conv_in.", metadata=metadata)
    np.testing.assert_allclose(got, scale * matrix(rand(3, 4), rand(4, 5)), **CLOSE)


# --- LoHa ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "convolution"])
def test_loha_multiplies_two_low_rank_matrices(write: Write, kernel: tuple[int, ...]) -> None:
    columns = 4 * math.prod(kernel)
    parts = {"w1_a": rand(6, 2), "w1_b": rand(2, columns, seed=1)}
    parts |= {"w2_a": rand(6, 2, seed=2), "w2_b": rand(2, columns, seed=3)}
    tensors = {f"hada_{name}": part for name, part in parts.items()} | {"alpha": torch.tensor(1.0)}
    got = weight_delta(write, tensors, torch.zeros(6, 4, *kernel), 0.5)
    want = matrix(parts["w1_a"], parts["w1_b"]) * matrix(parts["w2_a"], parts["w2_b"])
    np.testing.assert_allclose(got, 0.5 * 0.5 * want.reshape(6, 4, *kernel), **CLOSE)


def test_loha_in_tucker_form(write: Write) -> None:
    t1, w1_a, w1_b = rand(2, 2, 3, 3), rand(2, 6), rand(2, 4, seed=1)
    t2, w2_a, w2_b = rand(2, 2, 3, 3, seed=4), rand(2, 6, seed=2), rand(2, 4, seed=3)
    tensors = {"hada_t1": t1, "hada_w1_a": w1_a, "hada_w1_b": w1_b, "alpha": torch.tensor(3.0)}
    tensors |= {"hada_t2": t2, "hada_w2_a": w2_a, "hada_w2_b": w2_b}
    got = weight_delta(write, tensors, torch.zeros(6, 4, 3, 3))
    np.testing.assert_allclose(got, 1.5 * tucker(t1, w1_a, w1_b) * tucker(t2, w2_a, w2_b), **CLOSE)


# --- LoKr ---------------------------------------------------------------------------------------------------


def test_lokr_of_whole_factors_ignores_alpha(write: Write) -> None:
    w1, w2 = rand(2, 3), rand(3, 2, seed=1)
    got = weight_delta(write, {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(5.0)}, torch.zeros(6, 6))
    np.testing.assert_allclose(got, kron(w1.double().numpy(), w2.double().numpy()), **CLOSE)


@pytest.mark.parametrize("kernel", [(), (3, 3)], ids=["linear", "convolution"])
@pytest.mark.parametrize("low_rank", ["first", "second", "both"])
def test_lokr_of_low_rank_factors(write: Write, low_rank: str, kernel: tuple[int, ...]) -> None:
    w1_a, w1_b, w2_a, w2_b = rand(2, 2), rand(2, 3), rand(4, 2), rand(2, 5 * math.prod(kernel))
    w1, w2 = matrix(w1_a, w1_b), matrix(w2_a, w2_b).reshape(4, 5, *kernel)
    tensors = {"alpha": torch.tensor(1.0)}
    whole1, whole2 = torch.from_numpy(w1).float(), torch.from_numpy(w2).float()
    tensors |= {"lokr_w1": whole1} if low_rank == "second" else {"lokr_w1_a": w1_a, "lokr_w1_b": w1_b}
    tensors |= {"lokr_w2": whole2} if low_rank == "first" else {"lokr_w2_a": w2_a, "lokr_w2_b": w2_b}
    got = weight_delta(write, tensors, torch.zeros(8, 15, *kernel))
    np.testing.assert_allclose(got, 0.5 * kron(w1, w2), **CLOSE)


def test_lokr_in_tucker_form_takes_the_rank_from_the_core(write: Write) -> None:
    w1, t2, w2_a, w2_b = rand(2, 3), rand(2, 2, 3, 3), rand(2, 4), rand(2, 5)
    tensors = {"lokr_w1": w1, "lokr_t2": t2, "lokr_w2_a": w2_a, "lokr_w2_b": w2_b, "alpha": torch.tensor(1.0)}
    got = weight_delta(write, tensors, torch.zeros(8, 15, 3, 3))
    np.testing.assert_allclose(got, 0.5 * kron(w1.double().numpy(), tucker(t2, w2_a, w2_b)), **CLOSE)


# --- full differences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "bias"), [("diff", "diff_b"), ("w_norm", "b_norm")])
def test_full_differences_of_weight_and_bias(write: Write, weight: str, bias: str) -> None:
    tensors = {weight: rand(6, 4), bias: rand(6), "alpha": torch.tensor(3.0)}
    prefix = f"{MODULE}."
    network = load_network(write({prefix + key: tensor for key, tensor in tensors.items()}))
    matched = match(network, {"unet": {"conv_in.weight": (6, 4), "conv_in.bias": (6,)}})
    deltas = matched.deltas["unet"]
    torch.testing.assert_close(delta_weight(deltas["conv_in.weight"], torch.zeros(6, 4), 0.5), rand(6, 4) / 2)
    torch.testing.assert_close(delta_weight(deltas["conv_in.bias"], torch.zeros(6), 0.5), rand(6) / 2)


def test_a_bias_difference_beside_a_lora(write: Write) -> None:
    tensors = {"lora_up.weight": rand(6, 2), "lora_down.weight": rand(2, 4), "diff_b": rand(6)}
    deltas = deltas_of(write, tensors, (6, 4))
    assert sorted(deltas) == ["conv_in.bias", "conv_in.weight"]
    torch.testing.assert_close(delta_weight(deltas["conv_in.bias"], torch.zeros(6)), rand(6))


# --- DoRA ---------------------------------------------------------------------------------------------------

FORMS: dict[str, dict[str, Tensor]] = {
    "LoRA": {"lora_up.weight": rand(6, 2, 1, 1), "lora_down.weight": rand(2, 4, 3, 3)},
    "LoHa": {
        "hada_w1_a": rand(6, 2),
        "hada_w1_b": rand(2, 36),
        "hada_w2_a": rand(6, 2),
        "hada_w2_b": rand(2, 36),
    },
    "LoKr": {"lokr_w1": rand(2, 2), "lokr_w2": rand(3, 2, 3, 3)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", ["output", "input"])
def test_dora_gives_every_row_or_column_its_magnitude(write: Write, form: str, by: str) -> None:
    base = rand(6, 4, 3, 3)
    axis = 0 if by == "output" else 1
    magnitude = rand(6, 1, 1, 1).abs() if by == "output" else rand(1, 4, 1, 1).abs()
    plain = weight_delta(write, FORMS[form], base)
    got = weight_delta(write, {**FORMS[form], "dora_scale": magnitude}, base)
    summed = base.double().numpy() + plain
    for index in range(base.shape[axis]):
        row = np.take(summed, index, axis)
        want = row * float(magnitude.flatten()[index]) / np.sqrt((row**2).sum())
        np.testing.assert_allclose(np.take(base.double().numpy() + got, index, axis), want, **CLOSE)


def test_dora_of_a_linear_layer_scales_the_factors_by_alpha_first(write: Write) -> None:
    up, down, base, magnitude = rand(6, 2), rand(2, 4), rand(6, 4, seed=1), rand(6, 1).abs()
    tensors = {
        "lora_up.weight": up,
        "lora_down.weight": down,
        "alpha": torch.tensor(1.0),
        "dora_scale": magnitude,
    }
    got = weight_delta(write, tensors, base)
    summed = base.double().numpy() + 0.5 * matrix(up, down)
    for row in range(6):
        want = summed[row] * float(magnitude[row]) / math.sqrt(sum(v * v for v in summed[row]))
        np.testing.assert_allclose(got[row], want - base[row].double().numpy(), **CLOSE)


def test_dora_whose_magnitude_is_the_norm_is_the_plain_delta(write: Write) -> None:
    base = rand(6, 4, 3, 3)
    plain = weight_delta(write, FORMS["LoRA"], base)
    norm = (base + torch.from_numpy(plain).float()).flatten(1).norm(dim=1).reshape(6, 1, 1, 1)
    got = weight_delta(write, {**FORMS["LoRA"], "dora_scale": norm}, base)
    np.testing.assert_allclose(got, plain, **CLOSE)


def test_dora_is_linear_in_the_strength(write: Write) -> None:
    base, tensors = rand(6, 4, 3, 3), {**FORMS["LoRA"], "dora_scale": rand(6, 1, 1, 1).abs()}
    full = weight_delta(write, tensors, base)
    np.testing.assert_allclose(weight_delta(write, tensors, base, 0.25), full / 4, **CLOSE)
    assert not weight_delta(write, tensors, base, 0.0).any()


def test_dora_leaves_a_row_of_zeros_at_zero(write: Write) -> None:
    base = rand(6, 4)
    base[2] = 0
    up = rand(6, 2)
    up[2] = 0
    tensors = {"lora_up.weight": up, "lora_down.weight": rand(2, 4), "dora_scale": torch.ones(6, 1)}
    got = weight_delta(write, tensors, base)
    assert np.isfinite(got).all()
    assert not got[2].any()


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "lora_magnitude_vector.default.weight"])
def test_peft_magnitudes_are_by_output_row_in_any_shape(write: Write, name: str) -> None:
    base, magnitude = rand(4, 4, 3, 3), rand(4).abs()
    factors = {"lora_B.weight": rand(4, 2, 1, 1), "lora_A.weight": rand(2, 4, 3, 3)}
    got = weight_delta(write, {**factors, name: magnitude.reshape(1, 4, 1, 1)}, base, prefix="unet.conv_in.")
    norms = np.sqrt(((base.double().numpy() + got) ** 2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(norms, magnitude.numpy(), **CLOSE)
