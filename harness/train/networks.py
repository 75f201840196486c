"""The three networks of the embedded model, as diffusers and transformers configurations.

Every width is a multiple of 32 and an integer multiple of the first, and the norms have 32 groups, because the
original Stable Diffusion code, ComfyUI, A1111 and Forge fix both.
"""

from __future__ import annotations

from typing import Any

CONTEXT = 64

UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64, 96),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
}

VAE: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "norm_num_groups": 32,
}

TEXT: dict[str, Any] = {
    "hidden_size": CONTEXT,
    "intermediate_size": 256,
    "projection_dim": CONTEXT,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def make_unet() -> Any:
    """Return the UNet (2.7 M parameters), freshly initialised."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def make_vae() -> Any:
    """Return the VAE (1.0 M parameters, 8x8 pixels to a latent cell of 4 channels), freshly initialised."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(**VAE)


def make_text_encoder(rows: int, bos: int, eos: int) -> Any:
    """Return the CLIP text encoder with an embedding table of ``rows``; ``bos``, ``eos`` are rows of it."""
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    return CLIPTextModel(CLIPTextConfig(vocab_size=rows, **ids, **TEXT))
