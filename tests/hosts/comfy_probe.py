"""For tests alone: nodes that ComfyUI loads from this one file, to load small models and to save what others make.

ComfyUI knows models by the shapes of their weights.  The classes below add the miniatures and the embedded model
to those it knows, so that its own loader takes them; in all else they are its SD1.5 and SDXL.
"""

import functools
import json
import sys
from pathlib import Path
from typing import ClassVar

import comfy.diffusers_convert
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models
import comfy.utils
import folder_paths
import torch
from comfy.supported_models_base import ClipTarget
from safetensors.torch import load_file, save_file

SIGMAS = (14.6146, 8.0, 3.0, 1.0, 0.3, 0.0292)
"""Noise levels at which ``ConcordProbeDenoised`` asks the model."""
VAE_32 = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 1, 2, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def text_config(layers, heads, width, inner, act="quick_gelu"):
    return {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": width,
        "intermediate_size": inner,
        "hidden_act": act,
    }


def sized(kind, **configs):
    """Return a maker of the text model ``kind`` whose sizes are those of ``configs``."""

    def make(device="cpu", dtype=None, model_options=None):
        options = {**(model_options or {}), **configs}
        return kind(device=device, dtype=dtype, model_options=options)

    return make


class MiniSD15(comfy.supported_models.SD15):
    """The miniature of SD1.5."""

    unet_config: ClassVar = {
        **comfy.supported_models.SD15.unet_config,
        "context_dim": 64,
        "model_channels": 32,
    }
    text = text_config(3, 1, 64, 96)

    def clip_target(self, state_dict=None):
        tokenizer = functools.partial(comfy.sd1_clip.SDTokenizer, embedding_size=64)
        return ClipTarget(
            functools.partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=tokenizer),
            sized(comfy.sd1_clip.SD1ClipModel, clip_l_model_config=self.text),
        )


class Demo(MiniSD15):
    """The embedded model: one layer a level, three levels, four heads."""

    unet_config: ClassVar = {**MiniSD15.unet_config, "num_res_blocks": [1, 1, 1]}
    unet_extra_config: ClassVar = {"num_heads": 4, "num_head_channels": -1}
    text = text_config(2, 4, 64, 256)


class MiniSDXL(comfy.supported_models.SDXL):
    """The miniature of SDXL."""

    unet_config: ClassVar = {
        **comfy.supported_models.SDXL.unet_config,
        "context_dim": 64 + 128,
        "model_channels": 32,
        "transformer_depth": [0, 1, 2],
        "adm_in_channels": 6 * 256 + 128,
    }

    def clip_target(self, state_dict=None):
        model = sized(
            comfy.sdxl_clip.SDXLClipModel,
            clip_l_model_config=text_config(3, 1, 64, 96),
            clip_g_model_config=text_config(3, 2, 128, 96, "gelu"),
        )
        return ClipTarget(comfy.sdxl_clip.SDXLTokenizer, model)


class SmallVAE(comfy.sd.VAE):
    """ComfyUI's VAE, that of 32 channels included, whose size ComfyUI does not read from its weights."""

    def __init__(self, sd=None, device=None, config=None, **others):
        first = sd.get("encoder.conv_in.weight") if sd else None
        if config is None and first is not None and len(first) == VAE_32["ch"]:
            config = {"params": {"ddconfig": VAE_32, "embed_dim": 4}}
        super().__init__(sd=sd, device=device, config=config, **others)


comfy.supported_models.models[:0] = [Demo, MiniSD15, MiniSDXL]
comfy.sd.VAE = SmallVAE


def demo_state(folder):
    """Return the weights of the embedded model under the names of a checkpoint."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    shape = {
        "num_res_blocks": [1, 1, 1],
        "channel_mult": [1, 2, 3],
        "transformer_depth": [0, 1, 1],
        "transformer_depth_output": [0, 0, 1, 1, 1, 1],
        "transformer_depth_middle": 1,
    }
    names = comfy.utils.unet_to_diffusers(shape)
    table = "text_model.embeddings.token_embedding.weight"
    rows = text.pop("token_rows")
    full = text[table][-1].repeat(49408, 1)  # the last row stands for all tokens that have none
    full[rows] = text[table][:-1]
    text[table] = full
    vae = comfy.diffusers_convert.convert_vae_state_dict(vae)
    return {
        **{f"model.diffusion_model.{names[name]}": value for name, value in unet.items()},
        **{f"first_stage_model.{name}": value for name, value in vae.items()},
        **{f"cond_stage_model.transformer.{name}": value for name, value in text.items()},
    }


def save(name, **tensors):
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    save_file(tensors, Path(folder_paths.get_output_directory()) / f"{name}.safetensors")
    return {}


class DemoLoader:
    """Load the embedded model from its folder."""

    CATEGORY = "concord/test"
    FUNCTION = "run"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"folder": ("STRING", {})}}

    def run(self, folder):
        folder = Path(folder)
        model, clip, vae, _ = comfy.sd.load_state_dict_guess_config(demo_state(folder))
        config = json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))
        model.model.latent_format.scale_factor = config["scaling_factor"]
        return model, clip, vae


class Probe:
    """An output node that runs each time, whatever ComfyUI has cached."""

    CATEGORY = "concord/test"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def IS_CHANGED(cls, **inputs):  # noqa: N802
        return float("nan")


class SaveConditioning(Probe):
    """Save the hidden states and the pooled vector of a conditioning."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"conditioning": ("CONDITIONING",), "name": ("STRING", {})}}

    def run(self, conditioning, name):
        [(hidden, more)] = conditioning
        found = {"hidden": hidden, "pooled": more.get("pooled_output")}
        return save(name, **{key: value for key, value in found.items() if value is not None})


class SaveDenoised(Probe):
    """Save what the guided model makes of noise at ``SIGMAS``: (x, sigma, denoised), a row for each."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        given = {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}
        return {"required": {**given, "cfg": ("FLOAT", {}), "name": ("STRING", {})}}

    def run(self, model, positive, negative, cfg, name):
        seen = []

        def ask(denoise, x, sigmas, extra_args=None, callback=None, disable=None):
            for sigma in sigmas:
                noisy = x / sigmas[0] * sigma
                clean = denoise(noisy, sigma.expand(len(x)), **extra_args)
                seen.append((noisy[0], sigma, clean[0]))
            return x

        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        comfy.sample.sample_custom(
            model,
            noise,
            cfg,
            comfy.samplers.KSAMPLER(ask),
            torch.tensor(SIGMAS),
            positive,
            negative,
            torch.zeros_like(noise),
            seed=0,
        )
        x, sigma, denoised = (torch.stack(column) for column in zip(*seen, strict=True))
        return save(name, x=x, sigma=sigma, denoised=denoised)


class SaveStart(Probe):
    """Save what ``KSampler`` begins with: the noise for a latent, of unit variance, and its sigmas, unless given.

    ``settings``: its seed, steps, denoise, sampler and scheduler, as JSON.
    """

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        texts = {"settings": ("STRING", {}), "name": ("STRING", {})}
        given = {"model": ("MODEL",), "latent": ("LATENT",), **texts}
        return {"required": given, "optional": {"sigmas": ("SIGMAS",)}}

    def run(self, model, latent, settings, name, sigmas=None):
        settings = json.loads(settings)
        noise = comfy.sample.prepare_noise(latent["samples"], settings.pop("seed"))
        if sigmas is None:
            sigmas = comfy.samplers.KSampler(model, device="cpu", **settings).sigmas
        return save(name, noise=noise, sigmas=sigmas)


class Modules(Probe):
    """Show the names of all modules that are loaded."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def run(self):
        return {"ui": {"text": sorted(sys.modules)}}


class Record(Probe):
    """Show the infotext of a record, made by the pack that the record is of."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"record": ("CONCORD_RECORD",)}}

    def run(self, record):
        image = type(record).__module__.rpartition(".")[0]
        return {"ui": {"text": [sys.modules[f"{image}.infotext"].format_infotext(record)]}}


class Boxes:
    """A detector that finds what it is told, for Concord's nodes."""

    CATEGORY = "concord/test"
    FUNCTION = "run"
    RETURN_TYPES = ("CONCORD_DETECTOR",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"boxes": ("STRING", {})}}

    def run(self, boxes):
        [name] = (name for name in sys.modules if name.endswith("Concord.core.detailer.detections"))
        kind = sys.modules[name].Detections

        class Told:
            name, labels = "told", ("thing",)

            def __call__(self, image):
                found = json.loads(boxes)
                return kind.of(found, size=(image.shape[1], image.shape[0]), labels=["thing"] * len(found))

        return (Told(),)


NODE_CLASS_MAPPINGS = {
    "ConcordProbeBoxes": Boxes,
    "ConcordProbeRecord": Record,
    "ConcordProbeDemoLoader": DemoLoader,
    "ConcordProbeConditioning": SaveConditioning,
    "ConcordProbeDenoised": SaveDenoised,
    "ConcordProbeModules": Modules,
    "ConcordProbeStart": SaveStart,
}
