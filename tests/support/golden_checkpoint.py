"""The checkpoint behind the golden pictures, written anew: random weights, the same bytes on every machine.

Every weight is a function of its tensor's name and its place there: Philox numbers, in each 64 bits four of 16,
summed, so that the only rounding is the last one, to float16.  What is not random is set in `_carry` and
around it: a few channels carry the UNet's input to its output, so that it predicts mostly the noise.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

SHA256 = "3508f2d5c6e03a8a97a93d9d45368c681ad680cef96f8c7261117d1d9306ac80"
NAME = "concord-golden-sd15.safetensors"
Values = NDArray[np.float64]
Edit = Callable[[Values, Values], None]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
WIDTH, TIME, CONTEXT = 320, 1280, 768
CARRIED = 10
"""Channels of the UNet's first norm group: eight carry the latent, as +x and -x, two are empty."""
SILU_POWER = 0.356
"""The mean square of silu of a standard normal number."""
LOG_VARIANCE = -30.0
"""Of the VAE's posterior: the least that hosts keep."""

CONFIG = {
    "model": {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "num_timesteps_cond": 1,
            "timesteps": 1000,
            "first_stage_key": "jpg",
            "cond_stage_key": "txt",
            "image_size": 64,
            "channels": 4,
            "cond_stage_trainable": False,
            "conditioning_key": "crossattn",
            "scale_factor": 0.18215,
            "use_ema": False,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": 32,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": WIDTH,
                    "attention_resolutions": [1],
                    "num_res_blocks": 1,
                    "channel_mult": [1],
                    "num_heads": 8,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": CONTEXT,
                    "use_checkpoint": False,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": 256,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 128,
                        "ch_mult": [1, 2, 4, 4],
                        "num_res_blocks": 2,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "torch.nn.Identity"},
                },
            },
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
        },
    }
}
"""What stands beside the file as YAML, which JSON is a part of: the architecture, for programs that ask for it."""


def golden_checkpoint() -> Path:
    """Return the checkpoint in the temporary folder, written there on first use."""
    path = Path(tempfile.gettempdir()) / "concord-golden" / NAME
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}.safetensors")
        digest = write_checkpoint(part)
        assert digest == SHA256, f"{part} has the sha256 {digest}; wanted {SHA256}"
        path.with_suffix(".yaml").write_text(json.dumps(CONFIG, indent=1), encoding="utf-8")
        part.replace(path)
    return path


def write_checkpoint(path: Path) -> str:
    """Write the file, 465 MB, and return its sha256."""
    weights = _Weights()
    _unet(weights)
    _vae(weights)
    _text(weights)
    save_file({name: weights.made[name] for name in sorted(weights.made)}, path, metadata={"format": "pt"})
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _draw(name: str, *shape: int) -> Values:
    """Return numbers of mean 0 and variance 1 for the tensor ``name``."""
    seed = hashlib.sha256(f"concord-golden-1:{name}".encode()).digest()[:16]
    words = np.random.Philox(key=int.from_bytes(seed, "little")).random_raw(math.prod(shape))
    quarters = words.astype("<u8").view("<u2").reshape(-1, 4)
    centred = quarters.sum(axis=1, dtype=np.int32) - 2 * 65535
    return (centred * (1.0 / np.sqrt(4 * (65536.0**2 - 1) / 12))).reshape(shape)


def _plain(fan: int, gain: float = 1.0) -> float:
    """Return the deviation of weights whose sum over ``fan`` unit inputs has the deviation ``gain``."""
    return gain / np.sqrt(fan)


def _after_silu(fan: int, gain: float = 1.0) -> float:
    """Return the same over ``fan`` outputs of silu."""
    return gain / np.sqrt(fan * SILU_POWER)


class _Weights:
    """The tensors so far, by name."""

    def __init__(self) -> None:
        self.made: dict[str, NDArray[np.float16]] = {}

    def put(self, name: str, values: Values) -> None:
        self.made[name] = np.ascontiguousarray(values, dtype=np.float16)

    def linear(self, name: str, out: int, into: int, scale: float, *, bias: float | None = 0.02) -> None:
        self.put(f"{name}.weight", _draw(f"{name}.weight", out, into) * scale)
        if bias is not None:
            self.put(f"{name}.bias", _draw(f"{name}.bias", out) * bias)

    def conv(
        self,
        name: str,
        shape: tuple[int, int, int],
        scale: float,
        *,
        bias: float = 0.02,
        edit: Edit | None = None,
    ) -> None:
        """``shape``: channels out and in, and the side of the kernel."""
        out, into, side = shape
        weight = _draw(f"{name}.weight", out, into, side, side) * scale
        shift = _draw(f"{name}.bias", out) * bias
        if edit:
            edit(weight, shift)
        self.put(f"{name}.weight", weight)
        self.put(f"{name}.bias", shift)

    def norm(self, name: str, channels: int, mean: float = 0.0, spread: float = 0.05) -> None:
        self.put(f"{name}.weight", 1 + _draw(f"{name}.weight", channels) * spread)
        self.put(f"{name}.bias", mean + _draw(f"{name}.bias", channels) * (spread + mean))


def _clear(weight: Values, bias: Values) -> None:
    weight[:CARRIED] = 0
    bias[:CARRIED] = 0


def _carry(weight: Values, bias: Values) -> None:
    """Hand the carried channels on from the skip connection, which stands behind the block's own."""
    _clear(weight, bias)
    for i in range(8):
        weight[i, WIDTH + i] = 1


def _enter(weight: Values, bias: Values) -> None:
    _clear(weight, bias)
    for i in range(4):
        weight[2 * i, i, 1, 1], weight[2 * i + 1, i, 1, 1] = 1, -1


def _leave(weight: Values, bias: Values) -> None:
    del bias
    weight[:, :CARRIED] = 0
    gain = 0.97 * np.sqrt(0.8)  # two of the group's ten channels are empty
    for i in range(4):
        weight[i, 2 * i, 1, 1], weight[i, 2 * i + 1, 1, 1] = gain, -gain


def _unet(w: _Weights) -> None:
    """Make a UNet of one level and one block, with attention at every place."""
    first = _draw(f"{UNET}time_embed.0.weight", TIME, WIDTH) * _plain(WIDTH, 2.0)
    damping = np.array([min(1.0, 0.2 * 2.0 ** (i // 12)) for i in range(WIDTH // 2)])
    w.put(f"{UNET}time_embed.0.weight", first * np.concatenate([damping, damping]))
    w.put(f"{UNET}time_embed.0.bias", _draw(f"{UNET}time_embed.0.bias", TIME) * 0.1)
    w.linear(f"{UNET}time_embed.2", TIME, TIME, _after_silu(TIME))
    w.conv(f"{UNET}input_blocks.0.0", (WIDTH, 4, 3), _plain(36), edit=_enter)
    for name, into, attends, carries in (
        ("input_blocks.1", WIDTH, True, False),
        ("middle_block", WIDTH, True, False),
        ("output_blocks.0", 2 * WIDTH, True, False),
        ("output_blocks.1", 2 * WIDTH, True, True),
    ):
        _unet_block(w, f"{UNET}{name}.0", into, carries=carries)
        if attends:
            _unet_attention(w, f"{UNET}{name}.1", carries=carries)
    _unet_block(w, f"{UNET}middle_block.2", WIDTH, carries=False)
    w.put(f"{UNET}out.0.weight", np.ones(WIDTH))
    w.put(f"{UNET}out.0.bias", np.zeros(WIDTH))
    w.conv(f"{UNET}out.2", (4, WIDTH, 3), _after_silu(WIDTH * 9, 0.12), bias=0.01, edit=_leave)


def _unet_block(w: _Weights, name: str, into: int, *, carries: bool) -> None:
    w.norm(f"{name}.in_layers.0", into)
    w.conv(f"{name}.in_layers.2", (WIDTH, into, 3), _after_silu(into * 9))
    w.linear(f"{name}.emb_layers.1", WIDTH, TIME, _after_silu(TIME, 0.7))
    w.norm(f"{name}.out_layers.0", WIDTH)
    last = _clear if carries else None
    w.conv(f"{name}.out_layers.3", (WIDTH, WIDTH, 3), _after_silu(WIDTH * 9, 0.7), edit=last)
    if into != WIDTH:
        skip = _carry if carries else None
        w.conv(f"{name}.skip_connection", (WIDTH, into, 1), _plain(into), edit=skip)


def _unet_attention(w: _Weights, name: str, *, carries: bool) -> None:
    w.norm(f"{name}.norm", WIDTH)
    w.conv(f"{name}.proj_in", (WIDTH, WIDTH, 1), _plain(WIDTH))
    inner = f"{name}.transformer_blocks.0"
    for kind, context, gain, out in (("attn1", WIDTH, 1.0, 0.7), ("attn2", CONTEXT, 1.6, 3.0)):
        w.linear(f"{inner}.{kind}.to_q", WIDTH, WIDTH, _plain(WIDTH, gain), bias=None)
        w.linear(f"{inner}.{kind}.to_k", WIDTH, context, _plain(context, gain), bias=None)
        w.linear(f"{inner}.{kind}.to_v", WIDTH, context, _plain(context), bias=None)
        w.linear(f"{inner}.{kind}.to_out.0", WIDTH, WIDTH, _plain(WIDTH, out))
    w.linear(f"{inner}.ff.net.0.proj", 8 * WIDTH, WIDTH, _plain(WIDTH))
    w.linear(f"{inner}.ff.net.2", WIDTH, 4 * WIDTH, _plain(4 * WIDTH, 0.7))
    for i in (1, 2, 3):
        w.norm(f"{inner}.norm{i}", WIDTH)
    last = _clear if carries else None
    w.conv(f"{name}.proj_out", (WIDTH, WIDTH, 1), _plain(WIDTH, 0.7), edit=last)


def _vae(w: _Weights) -> None:
    """Make a VAE of the usual size; hosts know no other."""
    inward, outward = f"{VAE}encoder.", f"{VAE}decoder."
    widths = (128, 256, 512, 512)
    w.conv(f"{inward}conv_in", (128, 3, 3), _plain(27, 2.0))
    width = 128
    for level, out in enumerate(widths):
        for i in range(2):
            _vae_block(w, f"{inward}down.{level}.block.{i}", width, out)
            width = out
        if level < 3:
            w.conv(f"{inward}down.{level}.downsample.conv", (width, width, 3), _plain(width * 9))
    _vae_middle(w, f"{inward}mid")
    w.norm(f"{inward}norm_out", 512)
    w.conv(f"{inward}conv_out", (8, 512, 3), _after_silu(512 * 9, 5.5))
    w.conv(f"{VAE}quant_conv", (8, 8, 1), _plain(8), edit=_posterior)
    w.conv(f"{VAE}post_quant_conv", (4, 4, 1), _plain(4), edit=_near_identity)
    w.conv(f"{outward}conv_in", (512, 4, 3), _plain(36, 1 / 5.5))
    _vae_middle(w, f"{outward}mid")
    width = 512
    for level in (3, 2, 1, 0):
        for i in range(3):
            _vae_block(w, f"{outward}up.{level}.block.{i}", width, widths[level])
            width = widths[level]
        if level:
            w.conv(f"{outward}up.{level}.upsample.conv", (width, width, 3), _plain(width * 9))
    w.norm(f"{outward}norm_out", 128)
    w.conv(f"{outward}conv_out", (3, 128, 3), _after_silu(128 * 9, 0.45))


def _posterior(weight: Values, bias: Values) -> None:
    """Let the mean through nearly as it is, and make the log variance a constant."""
    weight *= 0.1
    for i in range(4):
        weight[i, i] = 1
    weight[4:], bias[4:] = 0, LOG_VARIANCE


def _near_identity(weight: Values, bias: Values) -> None:
    del bias
    weight *= 0.3
    for i in range(4):
        weight[i, i] += 1


def _vae_block(w: _Weights, name: str, into: int, out: int) -> None:
    w.norm(f"{name}.norm1", into)
    w.conv(f"{name}.conv1", (out, into, 3), _after_silu(into * 9))
    w.norm(f"{name}.norm2", out)
    w.conv(f"{name}.conv2", (out, out, 3), _after_silu(out * 9, 0.5))
    if into != out:
        w.conv(f"{name}.nin_shortcut", (out, into, 1), _plain(into))


def _vae_middle(w: _Weights, name: str) -> None:
    _vae_block(w, f"{name}.block_1", 512, 512)
    w.norm(f"{name}.attn_1.norm", 512)
    for part, gain in (("q", 1.0), ("k", 1.0), ("v", 1.0), ("proj_out", 0.5)):
        w.conv(f"{name}.attn_1.{part}", (512, 512, 1), _plain(512, gain))
    _vae_block(w, f"{name}.block_2", 512, 512)


def _text(w: _Weights) -> None:
    """Make a text encoder of CLIP-L's size, whose last norm has a mean that is not 0."""
    width, inner = CONTEXT, 3072
    for name, rows, gain in (("token", 49408, 1.0), ("position", 77, 0.3)):
        table = f"{TEXT}embeddings.{name}_embedding.weight"
        w.put(table, _draw(table, rows, width) * gain)
    for i in range(12):
        layer = f"{TEXT}encoder.layers.{i}."
        for part, gain in (("q", 1.2), ("k", 1.2), ("v", 1.0), ("out", 0.8)):
            w.linear(f"{layer}self_attn.{part}_proj", width, width, _plain(width, gain))
        w.norm(f"{layer}layer_norm1", width)
        w.norm(f"{layer}layer_norm2", width)
        w.linear(f"{layer}mlp.fc1", inner, width, _plain(width))
        w.linear(f"{layer}mlp.fc2", width, inner, _after_silu(inner, 0.4))
    w.norm(f"{TEXT}final_layer_norm", width, mean=0.3, spread=0.1)
