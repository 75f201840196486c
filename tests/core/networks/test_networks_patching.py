"""Networks on a live model: the sum is right, switching does not drift, and taking off leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sd_concord.core.errors import BadValue
from sd_concord.core.networks import (
    Matched,
    Patched,
    Use,
    delta_weight,
    load_network,
    match,
    parameter_shapes,
)
from torch import Tensor, nn

Write = Callable[..., Path]


class Toy(nn.Module):
    """Two linear layers and a convolution under names of a UNet."""

    def __init__(self) -> None:
        """Make the layers from one seed."""
        super().__init__()
        torch.manual_seed(0)
        self.conv_in = nn.Conv2d(3, 6, 3)
        self.conv_out = nn.Linear(4, 5)
        self.conv_norm_out = nn.LayerNorm(4)


def toys(dtype: torch.dtype = torch.float32) -> dict[Any, nn.Module]:
    return {"unet": Toy().to(dtype), "te1": nn.ModuleDict({"text_projection": nn.Linear(3, 3).to(dtype)})}


def network(
    write: Write, parts: dict[Any, nn.Module], seed: int = 0, more: dict[str, Tensor] | None = None
) -> Matched:
    g = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    tensors = {
        "lora_unet_conv_in.lora_up.weight": rand(6, 2, 1, 1),
        "lora_unet_conv_in.lora_down.weight": rand(2, 3, 3, 3),
        "lora_unet_conv_out.lokr_w1": rand(1, 2),
        "lora_unet_conv_out.lokr_w2": rand(5, 2),
        "lora_unet_conv_out.diff_b": rand(5),
        "lora_te_text_projection.hada_w1_a": rand(3, 1),
        "lora_te_text_projection.hada_w1_b": rand(1, 3),
        "lora_te_text_projection.hada_w2_a": rand(3, 1),
        "lora_te_text_projection.hada_w2_b": rand(1, 3),
    }
    shapes = {part: parameter_shapes(module) for part, module in parts.items()}
    matched = match(load_network(write(tensors | (more or {}), name=f"net{seed}")), shapes)
    assert not matched.unmatched
    return matched


def snapshot(parts: dict[Any, nn.Module]) -> dict[tuple[str, str], Tensor]:
    return {(p, n): t.detach().clone() for p, module in parts.items() for n, t in module.named_parameters()}


def assert_same_bits(parts: dict[Any, nn.Module], before: dict[tuple[str, str], Tensor]) -> None:
    for key, tensor in snapshot(parts).items():
        assert tensor.dtype == before[key].dtype
        assert torch.equal(tensor.view(torch.uint8), before[key].view(torch.uint8)), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_become_the_base_plus_the_scaled_deltas(write: Write, dtype: torch.dtype) -> None:
    parts = toys(dtype)
    before, matched = snapshot(parts), network(write, parts)
    Patched(parts).set([Use(network=matched, unet=0.7, te=-0.4)])
    after = snapshot(parts)
    touched = {
        (part, name): delta for part, deltas in matched.deltas.items() for name, delta in deltas.items()
    }
    assert len(touched) == 4
    for key, base in before.items():
        want = base
        if key in touched:
            strength = 0.7 if key[0] == "unet" else -0.4
            want = (base.float() + delta_weight(touched[key], base, strength)).to(dtype)
        # One rounding to the weight's dtype at most; float32 sums may differ in their order.
        torch.testing.assert_close(after[key], want, rtol=1e-5 if dtype == torch.float32 else 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_restoring_gives_back_every_bit(write: Write, dtype: torch.dtype) -> None:
    parts = toys(dtype)
    before = snapshot(parts)
    with Patched(parts) as patched:
        patched.set([Use(network=network(write, parts))])
        assert not torch.equal(snapshot(parts)["unet", "conv_in.weight"], before["unet", "conv_in.weight"])
    assert_same_bits(parts, before)


ONE_USE = st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.3, 1.0, -1.5]), st.sampled_from([0.0, 1.0]))
STATES = st.lists(st.lists(ONE_USE, max_size=3), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=STATES)
def test_any_sequence_of_states_ends_as_the_last_state_alone(
    write: Write, states: list[list[tuple[int, float, float]]]
) -> None:
    parts, fresh = toys(), toys()
    fresh["te1"].load_state_dict(parts["te1"].state_dict())
    before = snapshot(parts)
    networks = [network(write, parts), network(write, parts, 1)]
    patched = Patched(parts)
    for state in states:
        patched.set([Use(network=networks[i], unet=unet, te=te) for i, unet, te in state])
    Patched(fresh).set([Use(network=networks[i], unet=unet, te=te) for i, unet, te in states[-1]])
    assert_same_bits(parts, snapshot(fresh))
    patched.restore()
    assert_same_bits(parts, before)


def test_a_state_can_be_set_again_after_restoring(write: Write) -> None:
    parts = toys()
    matched, patched = network(write, parts), Patched(parts)
    patched.set([Use(network=matched)])
    after = snapshot(parts)
    patched.restore()
    patched.set([Use(network=matched)])
    assert_same_bits(parts, after)


def test_a_network_at_strength_zero_touches_nothing(write: Write) -> None:
    parts = toys()
    patched, versions = Patched(parts), [p._version for m in parts.values() for p in m.parameters()]
    patched.set([Use(network=network(write, parts), unet=0.0, te=0.0)])
    assert [p._version for m in parts.values() for p in m.parameters()] == versions


def test_only_weights_whose_sum_changes_are_written(write: Write) -> None:
    parts = toys()
    matched, patched = network(write, parts), Patched(parts)
    patched.set([Use(network=matched)])
    versions = {name: p._version for name, p in parts["unet"].named_parameters()}
    encoder = parts["te1"].get_parameter("text_projection.weight")
    version = encoder._version
    patched.set([Use(network=matched, te=0.5)])
    assert {name: p._version for name, p in parts["unet"].named_parameters()} == versions
    assert encoder._version > version


def test_the_parameters_stay_the_same_objects_in_the_same_memory(write: Write) -> None:
    parts = toys(torch.float16)
    places = [p.data_ptr() for module in parts.values() for p in module.parameters()]
    with Patched(parts) as patched:
        patched.set([Use(network=network(write, parts))])
        assert places == [p.data_ptr() for module in parts.values() for p in module.parameters()]


def test_weights_in_channels_last_memory(write: Write) -> None:
    plain, parts = toys(), toys()
    parts["te1"].load_state_dict(plain["te1"].state_dict())
    parts["unet"].to(memory_format=torch.channels_last)  # pyright: ignore
    matched = network(write, parts)
    Patched(plain).set([Use(network=matched)])
    Patched(parts).set([Use(network=matched)])
    weight = parts["unet"].get_parameter("conv_in.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weight, plain["unet"].get_parameter("conv_in.weight"))


def test_dora_reads_the_untouched_weight_whatever_else_is_on(write: Write) -> None:
    parts = toys()
    before = snapshot(parts)["unet", "conv_in.weight"]
    plain = network(write, parts)
    dora = network(write, parts, 1, {"lora_unet_conv_in.dora_scale": torch.full((6, 1, 1, 1), 2.0)})
    deltas = [m.deltas["unet"]["conv_in.weight"] for m in (plain, dora)]
    want = before + sum(delta_weight(delta, before) for delta in deltas)
    for order in ((plain, dora), (dora, plain)):
        with Patched(parts) as patched:
            patched.set([Use(network=m) for m in order])
            torch.testing.assert_close(parts["unet"].get_parameter("conv_in.weight"), want)


def test_the_same_network_twice_adds_up(write: Write) -> None:
    parts, single = toys(), toys()
    single["te1"].load_state_dict(parts["te1"].state_dict())
    matched = network(write, parts)
    Patched(parts).set([Use(network=matched, unet=0.5), Use(network=matched, unet=0.25, te=0.0)])
    Patched(single).set([Use(network=matched, unet=0.75)])
    for key, tensor in snapshot(single).items():
        torch.testing.assert_close(snapshot(parts)[key], tensor)


def test_weights_are_restored_after_an_error_inside(write: Write) -> None:
    parts = toys()
    before = snapshot(parts)
    matched = network(write, parts)

    def run() -> None:
        with Patched(parts) as patched:
            patched.set([Use(network=matched)])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run()
    assert_same_bits(parts, before)


def test_weights_are_restored_when_adding_fails_half_way(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = toys()
    before, matched, patched = snapshot(parts), network(write, parts), Patched(parts)
    patching = __import__("sd_concord.core.networks.patching", fromlist=["add_delta"])
    real, calls = patching.add_delta, []

    def fail_at_third(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(patching, "add_delta", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        patched.set([Use(network=matched)])
    assert_same_bits(parts, before)


def test_a_network_matched_with_another_model_is_refused_and_everything_restored(write: Write) -> None:
    parts = toys()
    before, matched, patched = snapshot(parts), network(write, parts), Patched({"unet": parts["unet"]})
    patched.set([Use(network=matched, te=0.0)])
    with pytest.raises(BadValue, match=r"no te1\.text_projection\.weight; match the network"):
        patched.set([Use(network=matched)])
    assert_same_bits(parts, before)


def test_moving_a_match_keeps_its_deltas_and_what_was_not_matched(write: Write) -> None:
    parts = toys()
    matched = network(write, parts, more={"lora_unet_conv_out.dora_scale": torch.ones(5, 1)})
    moved = matched.to("meta")
    assert moved.unmatched == matched.unmatched
    for part, deltas in matched.deltas.items():
        assert moved.deltas[part].keys() == deltas.keys()
        assert all(moved.deltas[part][name].shape == delta.shape for name, delta in deltas.items())
    magnitude = moved.deltas["unet"]["conv_out.weight"].magnitude
    assert magnitude is not None
    assert magnitude.is_meta


def test_a_unet_with_a_lora_runs_as_with_the_branch_beside_every_layer(write: Write, sd15_unet: Any) -> None:
    """The picture of the paper: ``W x + scale * up(down(x))``, built with hooks, gives the same output."""
    tensors: dict[str, Tensor] = {}
    hooks: list[Any] = []
    g = torch.Generator().manual_seed(0)
    for name, layer in sd15_unet.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        out, inner, *kernel = layer.weight.shape
        down = 0.1 * torch.randn(2, inner, *kernel, generator=g)
        up = 0.1 * torch.randn(out, 2, *(1 for _ in kernel), generator=g)
        flat = "lora_unet_" + name.replace(".", "_")
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}

        def beside(layer: Any, args: Any, output: Tensor, up: Tensor = up, down: Tensor = down) -> Tensor:
            if isinstance(layer, nn.Linear):
                return output + 0.8 * (args[0] @ down.T @ up.T)
            low = nn.functional.conv2d(args[0], down, stride=layer.stride, padding=layer.padding)  # pyright: ignore
            return output + 0.8 * nn.functional.conv2d(low, up)

        hooks.append(layer.register_forward_hook(beside))
    inputs = (torch.randn(1, 4, 8, 8, generator=g), 500, torch.randn(1, 5, 12, generator=g))
    with torch.no_grad():
        want = sd15_unet(*inputs).sample
        for hook in hooks:
            hook.remove()
        plain = sd15_unet(*inputs).sample
        matched = match(load_network(write(tensors)), {"unet": parameter_shapes(sd15_unet)})
        with Patched({"unet": sd15_unet}) as patched:
            patched.set([Use(network=matched, unet=0.8)])
            got = sd15_unet(*inputs).sample
        assert torch.equal(sd15_unet(*inputs).sample, plain)
    # Both are float32 through some forty layers; the change itself is thousands of times larger.
    assert (want - plain).abs().max() > 0.05
    torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)
