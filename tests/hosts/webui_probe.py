"""For tests alone: a script of A1111, Forge and reForge that shows what the host gives to its model.

``GET /concord-probe/calls`` answers with the model calls since ``POST /concord-probe/forget``, as a safetensors
file: ``<call>/x`` (B, 4, h, w), ``<call>/sigma`` (B,), ``<call>/cond`` and ``<call>/uncond`` (rows, tokens, width),
``<call>/denoised`` (B, 4, h, w), what guidance made of the call; ``0/noise`` (B, 4, h, w), what the host's own
generator of the request begins with.  The script ``Concord Probe`` takes prompts and
negative prompts of a batch, an image each, as two JSON lists.
``GET /concord-probe/modules`` names the modules of the package ``sd_concord`` that are loaded.

Forge knows a model by the shapes of its UNet and takes the rest from a folder of configurations; the class below
adds the embedded model, whose folder lies beside ``scripts``, to those it knows.
"""

import json
import sys
from pathlib import Path

import gradio as gr
import safetensors.torch
import torch
from fastapi import Response
from modules import script_callbacks, scripts

DEMO = Path(__file__).resolve().parents[1] / "demo"
MOST_CALLS = 200
calls: list[dict[str, torch.Tensor]] = []
pending: list = []
noise: list = []


def know_the_embedded_model() -> None:
    try:
        from huggingface_guess import model_list
    except ImportError:
        return  # A1111 and reForge read a .yaml beside the checkpoint instead

    unet = json.loads((DEMO / "unet" / "config.json").read_text(encoding="utf-8"))

    class Embedded(model_list.SD15):
        huggingface_repo = str(DEMO)  # the host joins it to its own folder, and an absolute path wins
        unet_config = {  # noqa: RUF012 (the host's own form)
            **model_list.SD15.unet_config,
            "context_dim": unet["cross_attention_dim"],
            "model_channels": unet["block_out_channels"][0],
        }
        unet_extra_config = {"num_heads": unet["attention_head_dim"], "num_head_channels": -1}  # noqa: RUF012

    others = [known for known in model_list.models if known.__name__ != Embedded.__name__]
    model_list.models[:] = [Embedded, *others]


def begin(params) -> None:
    pending[:] = [params, params.x.clone(), params.sigma.clone()]
    if not calls:
        noise[:] = [start_noise(params.denoiser.p)]


def start_noise(p):
    """Draw the first noise of a request once more by the host's own generator, and leave all generators as they are."""
    own = getattr(p, "rng", None)
    if own is None:
        return None
    again = type(own)(own.shape, own.seeds, own.subseeds, own.subseed_strength)
    state = torch.get_rng_state()
    drawn = again.next()
    torch.set_rng_state(state)
    return drawn


def note(after) -> None:
    """Take what a call was made with when it is over, and every extension's callback has been."""
    if not pending or len(calls) >= MOST_CALLS:
        return
    params, x, sigma = pending
    pending.clear()
    call = {"x": x, "sigma": sigma, "denoised": after.x}
    if not calls:
        call["noise"] = noise.pop()
    call |= {"cond": hidden(params.text_cond), "uncond": hidden(params.text_uncond)}
    calls.append({name: value for name, value in call.items() if value is not None})


class PromptsPerImage(scripts.Script):
    def title(self):
        return "Concord Probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox(value="[]", visible=False), gr.Textbox(value="[]", visible=False)]

    def process(self, p, prompts, negatives):
        for name, given in (("all_prompts", prompts), ("all_negative_prompts", negatives)):
            if texts := json.loads(given):
                setattr(p, name, texts)


def hidden(cond):
    """Return what cross-attention sees; Forge and SDXL keep it in a dictionary."""
    return cond["crossattn"] if isinstance(cond, dict) else cond


def add_routes(_demo, app) -> None:
    def forget() -> None:
        calls.clear()
        pending.clear()

    def called() -> Response:
        flat = {
            f"{i}/{name}": value.detach().float().cpu().contiguous().clone()
            for i, call in enumerate(calls)
            for name, value in call.items()
        }
        return Response(safetensors.torch.save(flat), media_type="application/octet-stream")

    def modules() -> list[str]:
        return sorted(name for name in sys.modules if name.partition(".")[0] == "sd_concord")

    app.add_api_route("/concord-probe/forget", forget, methods=["POST"])
    app.add_api_route("/concord-probe/calls", called, methods=["GET"])
    app.add_api_route("/concord-probe/modules", modules, methods=["GET"])


know_the_embedded_model()
script_callbacks.on_cfg_denoiser(begin)
script_callbacks.on_cfg_after_cfg(note)
script_callbacks.on_app_started(add_routes)
