"""For tests alone: run by ComfyUI's interpreter inside its checkout; loads the pack as ComfyUI does and reports.

Arguments: the folder of the pack, the probe that knows the miniatures, and a folder with ``sd15.safetensors``,
``sdxl.safetensors``, a ``loras`` and an ``embeddings`` folder; ``report.json`` and ``report.safetensors`` are written
there.
"""

import asyncio
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

PACK, PROBE, FOLDER = (Path(word) for word in sys.argv[1:4])
sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention", "--base-directory", str(FOLDER)]
sys.path.insert(0, str(Path.cwd()))

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.k_diffusion.sampling  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy_extras.nodes_custom_sampler as custom  # noqa: E402
import comfy_extras.nodes_model_advanced as advanced  # noqa: E402
import comfy_extras.nodes_perpneg as perpneg  # noqa: E402
import nodes  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

REPORT, TENSORS = {}, {}
STEPS = 6
TWO_CALLS = ("heun", "dpm_2", "dpmpp_sde", "dpmpp_2s_ancestral")
SAMPLERS = (
    *TWO_CALLS,
    *("euler", "dpmpp_2m", "euler_ancestral", "dpm_fast", "uni_pc", "euler_cfg_pp", "lms", "dpmpp_2m_sde"),
    *("concord_heun", "concord_dpmpp_2m", "concord_euler_cfg_pp", "concord_seeds_3"),
)
POSITIVE, NEGATIVE = "a [cat|dog], [red:blue:0.5] hat", "[ugly:bad:3] picture"
ALIKE = ("euler", "heun", "dpm_2", "lms", "dpmpp_2m", "euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde")
ALIKE = (*ALIKE, "dpmpp_2m_sde", "dpmpp_3m_sde", "euler_cfg_pp", "lcm", "ddpm", "uni_pc")


def tables():
    return {
        "samplers": list(comfy.samplers.KSampler.SAMPLERS),
        "schedulers": list(comfy.samplers.KSampler.SCHEDULERS),
        "sampler_names": list(comfy.samplers.SAMPLER_NAMES),
        "scheduler_names": list(comfy.samplers.SCHEDULER_NAMES),
        "handlers": sorted(comfy.samplers.SCHEDULER_HANDLERS),
        "functions": sorted(name for name in vars(comfy.k_diffusion.sampling) if name.startswith("sample_")),
        "discards": sorted(comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS),
    }


def menus():
    def options(kind, name):
        return list(kind.INPUT_TYPES()["required"][name][0])

    return {
        "KSampler": options(nodes.KSampler, "sampler_name"),
        "KSampler.scheduler": options(nodes.KSampler, "scheduler"),
        "KSamplerAdvanced": options(nodes.KSamplerAdvanced, "sampler_name"),
        "KSamplerAdvanced.scheduler": options(nodes.KSamplerAdvanced, "scheduler"),
        "KSamplerSelect": options(custom.KSamplerSelect, "sampler_name"),
        "BasicScheduler": options(custom.BasicScheduler, "scheduler"),
    }


def load_pack():
    before = set(sys.modules)
    start = time.process_time()  # of this process alone, however busy the machine is
    assert asyncio.run(nodes.load_custom_node(str(PACK)))
    REPORT.setdefault("seconds", time.process_time() - start)
    new = sorted(name for name in set(sys.modules) - before if name.endswith(".comfy_nodes"))
    return sys.modules[new[0]] if new else loaded()


def loaded():
    return next(module for name, module in list(sys.modules.items()) if name.endswith(".comfy_nodes"))


def registration():
    return importlib.import_module(loaded().__name__ + ".registration")


def rebind():
    """Do to the menus what some packs do."""
    mine = comfy.samplers.KSampler
    mine.SAMPLERS = [*mine.SAMPLERS, "other_sampler"]
    mine.SCHEDULERS = [*mine.SCHEDULERS, "ays"]


def unbind(saved):
    comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS = saved


def load(name):
    return comfy.sd.load_checkpoint_guess_config(str(FOLDER / name), output_vae=False)[:2]


def encode(clip, text, **settings):
    given = {"negative": False, "dialect": "a1111", "emphasis": "Original", "clip_skip": 0}
    kind = nodes.NODE_CLASS_MAPPINGS["ConcordTextEncode"]
    return kind.execute(clip=clip, text=text, **{**given, "zero_empty_negative": True, **settings}).result[0]


def sample(model, positive, negative, sampler, *, steps=STEPS, cfg=4.0, scheduler="normal"):
    latent, seed = {"samples": torch.zeros(1, 4, 8, 8)}, 3
    return nodes.common_ksampler(model, seed, steps, cfg, sampler, scheduler, positive, negative, latent)[0][
        "samples"
    ]


def watched(model, seen):
    """Return a clone of ``model`` that notes what each call is given."""
    clone = model.clone()

    def call(apply, given):
        weight = model.model.diffusion_model.middle_block[1].transformer_blocks[0].attn1.to_q.weight
        seen.append(
            (given["cond_or_uncond"], given["c"]["c_crossattn"].clone(), float(weight.double().sum()))
        )
        return apply(given["input"], given["timestep"], **given["c"])

    clone.set_model_unet_function_wrapper(call)
    return clone


def rows(seen, kind):
    found = []
    for kinds, cond, _ in seen:
        parts = cond.chunk(len(kinds))
        found += [part[0] for which, part in zip(kinds, parts, strict=True) if which == kind]
    return torch.stack(found)


def schedules(model, clip):
    positive, negative = encode(clip, POSITIVE), encode(clip, NEGATIVE, negative=True)
    clean = dict(model.hook_patches), dict(model.wrappers)
    for name in SAMPLERS:
        for scheduler in ("normal", "exponential", "beta") if name in ("euler", "heun") else ("normal",):
            seen = []
            sample(watched(model, seen), positive, negative, name, scheduler=scheduler, cfg=1.5)
            key = f"calls/{name}/{scheduler}"
            TENSORS[f"{key}/positive"], TENSORS[f"{key}/negative"] = rows(seen, 0), rows(seen, 1)
            REPORT[key] = [sorted(kinds) for kinds, _, _ in seen]
    REPORT["stays clean"] = (dict(model.hook_patches), dict(model.wrappers)) == clean


def constants(model, clip):
    plain, schedule = encode(clip, "a cat"), encode(clip, "a cat[::0.5]")
    empty = encode(clip, "", negative=True)
    REPORT["constant has hooks"] = ["hooks" in one[0][1] for one in (plain, schedule)]
    for name in ("euler", "dpmpp_2m_sde", "concord_dpmpp_2m"):
        one, other = (sample(model, each, empty, name) for each in (plain, schedule))
        again = sample(model, schedule, empty, name)
        REPORT[f"constant/{name}"] = [torch.equal(one, other), torch.equal(other, again)]


def conds(clips):
    for kind, clip in clips.items():
        for i, (text, settings) in enumerate(CONDS):
            hidden, more = encode(clip, text, **settings)[0]
            TENSORS[f"cond/{kind}/{i}"] = hidden.clone().contiguous()
            if kind == "sdxl":
                TENSORS[f"pooled/{kind}/{i}"] = more["pooled_output"].clone().contiguous()


CONDS = json.loads((FOLDER / "conds.json").read_text())


def golden():
    """The recorded prompts of A1111 through ComfyUI's classes, with the weights that they were recorded with."""
    file = FOLDER / "golden.json"
    if not file.is_file():
        return
    encoder = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 128}
    sizes = {"clip_l_model_config": encoder, "clip_g_model_config": {**encoder, "hidden_act": "gelu"}}
    clips = {}
    for kind, model, tokenizer in (
        ("sd1", comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer),
        ("sdxl", comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer),
    ):
        target = comfy.supported_models_base.ClipTarget(tokenizer, model)
        clips[kind] = comfy.sd.CLIP(target, model_options={**sizes, "dtype": torch.float32})
        for name in ("l", "g") if kind == "sdxl" else ("l",):
            state = load_file(FOLDER / f"golden-{name}.safetensors")
            missing, unexpected = getattr(
                clips[kind].cond_stage_model, f"clip_{name}"
            ).transformer.load_state_dict(state, strict=False)
            assert not unexpected, unexpected
            assert set(missing) <= {"text_projection.weight"}, missing
    prompts = importlib.import_module(loaded().__name__ + ".prompts")
    adapter = importlib.import_module(loaded().__name__ + ".clip")
    dialect = importlib.import_module(loaded().__name__.replace(".comfy_nodes", ".core.prompt")).Dialect
    for case in json.loads(file.read_text(encoding="utf-8")):
        for i, text in enumerate(case["p"]):
            prompt = prompts.Prompt(
                text=text,
                host=adapter.host_clip(clips[case["model"]], text),
                dialect=dialect(comma_backtrack=case["comma"]),
                negative=bool(case["neg"]),
                emphasis=case["emphasis"],
                clip_skip=min(case["clip_skip"], 2 if case["model"] == "sdxl" else 12),
                zero_empty=case["model"] == "sdxl" and bool(case["neg"]),
            )
            for j, part in enumerate(prompt.encoded(prompt.plan(case["steps"])).parts):
                for k, row in enumerate(part.rows):
                    TENSORS[f"golden/{case['id']}/{i}/{j}/{k}"] = part.hidden[row].clone()
                    if case["model"] == "sdxl":
                        TENSORS[f"golden-pooled/{case['id']}/{i}/{j}/{k}"] = part.pooled[row].clone()


def joined(model, clip):
    """AND as A1111 joins it, against the predictions of the parts alone."""
    empty = encode(clip, "", negative=True)
    asked = []

    def first(text, cfg):
        seen = []

        def look(model, x, sigmas, extra_args=None, callback=None, disable=None):
            seen.append(model(x, sigmas[0].expand(len(x)), **extra_args))
            return x

        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        given = (model, noise, cfg, comfy.samplers.KSAMPLER(look), torch.tensor([5.0, 0.0]))
        comfy.sample.sample_custom(*given, encode(clip, text), empty, torch.zeros_like(noise), seed=0)
        asked.append(text)
        return seen[0]

    for i, (text, cfg) in enumerate(
        (("a cat AND a dog :0.5", 4.0), ("a cat :-0.5 AND a dog :0.5", 3.0), ("a cat :0.4", 1.0))
    ):
        TENSORS[f"and/{i}"] = first(text, cfg)
    for name, text in (("cat", "a cat"), ("dog", "a dog")):
        TENSORS[f"and/{name}"] = first(text, 1.0)
    TENSORS["and/none"] = first("a cat", 0.0)


def loras(model, clip):
    empty = encode(clip, "", negative=True)
    for name, text in (
        ("scheduled", "a cat [<lora:push:0.5>::0.5]"),
        ("constant", "a cat <lora:push:0.5>"),
        ("none", "a cat"),
    ):
        for scheduler in ("normal", "exponential", "beta"):
            seen = []
            positive = encode(clip, text, dialect="concord")
            TENSORS[f"lora/{name}"] = positive[0][0].clone().contiguous()
            sample(watched(model, seen), positive, empty, "euler", scheduler=scheduler)
            REPORT[f"lora/{name}/{scheduler}"] = [(sorted(kinds), weight) for kinds, _, weight in seen]
    kind = nodes.NODE_CLASS_MAPPINGS["ConcordLoraPrompt"]
    new_model, new_clip, rest = kind.execute(
        model=model, clip=clip, text="a <lora:push:0.5>cat [<lora:push:1>::0.5]", dialect="concord"
    ).result
    TENSORS["lora/prompt"] = encode(new_clip, "a cat")[0][0].clone().contiguous()
    seen = []
    sample(watched(new_model, seen), encode(new_clip, "a cat"), empty, "euler")
    REPORT["lora/prompt"] = [rest, seen[0][2]]


def together(model, clip):
    """Schedules in other guiders, in areas, and beside a LoRA that another node hooks on."""
    cat, dog = encode(clip, "a [cat|dog]"), encode(clip, "a dog AND a [red:blue:0.5] hat :0.5")
    empty = encode(clip, "", negative=True)
    noise = custom.Noise_RandomNoise(1)

    def guided(guider):
        sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.linspace(10, 0, 5)
        latent = {"samples": torch.zeros(1, 4, 8, 8)}
        return custom.SamplerCustomAdvanced().sample(noise, guider, sampler, sigmas, latent)[0]["samples"]

    dual = custom.Guider_DualCFG(model)
    dual.set_conds(dog, cat, empty)
    dual.set_cfg(3.0, 2.0)
    perp = perpneg.Guider_PerpNeg(model)
    perp.set_conds(dog, cat, empty)
    perp.set_cfg(3.0, 1.0)
    basic = custom.Guider_Basic(model)
    basic.set_conds(dog)
    for name, guider in (("dual", dual), ("perp", perp), ("basic", basic)):
        REPORT[f"guider/{name}"] = bool(guided(guider).isfinite().all())
    left = nodes.ConditioningSetArea().append(cat, 32, 64, 0, 0, 1.0)[0]
    right = nodes.ConditioningSetArea().append(encode(clip, "[a:b:2]"), 32, 64, 32, 0, 1.0)[0]
    both = nodes.ConditioningCombine().combine(left, right)[0]
    REPORT["areas"] = bool(sample(model, both, empty, "euler").isfinite().all())
    push = comfy.hooks.create_hook_lora(
        comfy.utils.load_torch_file(str(FOLDER / "models/loras/push.safetensors")), 1.0, 0.0
    )
    hooked = comfy.hooks.set_hooks_for_conditioning(
        encode(clip, "a [<lora:push:0.5>::0.5] [cat|dog]", dialect="concord"), push
    )
    seen = []
    sample(watched(model, seen), hooked, comfy.hooks.set_hooks_for_conditioning(empty, push), "euler")
    REPORT["beside a hook"] = [(sorted(kinds), weight) for kinds, _, weight in seen]


def every_sampler(model, clip):
    positive, negative = encode(clip, "a cat"), encode(clip, "", negative=True)
    ours = [name for name in comfy.samplers.KSampler.SAMPLERS if name.startswith("concord_")]
    REPORT["finite"] = {
        name: bool(sample(model, positive, negative, name, steps=3).isfinite().all()) for name in ours
    }
    for name in ALIKE:
        one, other = (
            sample(model, positive, negative, prefix + name, cfg=1.5) for prefix in ("", "concord_")
        )
        REPORT[f"alike/{name}"] = float((one - other).abs().max() / one.std())
    sampling = model.get_model_object("model_sampling")
    lists = {
        name: [comfy.samplers.calculate_sigmas(sampling, name, n) for n in (1, 7, 40, 30000)]
        for name in comfy.samplers.KSampler.SCHEDULERS
        if name.startswith("concord_")
    }
    REPORT["schedules"] = {
        name: all(
            len(s) == min(n, 10000) + 1 and s[-1] == 0 and bool((s.diff() < 0).all())
            for n, s in zip((1, 7, 40, 30000), each, strict=True)
        )
        for name, each in lists.items()
    }


def other_models(model, clip):
    """Our samplers where ComfyUI takes the model for rectified flow, and for v-prediction with zero terminal SNR."""
    positive, negative = encode(clip, "a cat"), encode(clip, "", negative=True)
    flow = advanced.ModelSamplingSD3().patch(model, 3.0)[0]
    zsnr = advanced.ModelSamplingDiscrete().patch(model, "v_prediction", True)[0]
    for kind, patched in (("flow", flow), ("zsnr", zsnr)):
        for name in ALIKE:
            schedule = "concord_align_your_steps" if kind == "zsnr" else "concord_simple"
            try:
                out = sample(patched, positive, negative, f"concord_{name}", scheduler=schedule, steps=4)
                REPORT[f"{kind}/{name}"] = bool(out.isfinite().all())
            except ValueError as error:
                REPORT[f"{kind}/{name}"] = str(error)
        one, other = (sample(patched, positive, negative, f"{prefix}euler") for prefix in ("", "concord_"))
        REPORT[f"{kind} alike"] = float((one - other).abs().max() / one.std())


def main():
    spec = importlib.util.spec_from_file_location("probe", PROBE)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    REPORT["before"] = tables()
    load_pack()
    REPORT["after"], REPORT["menus"] = tables(), menus()
    REPORT["heavy"] = sorted(
        {name.partition(".")[0] for name in sys.modules} & {"diffusers", "ultralytics", "sd_concord"}
    )
    registration().register()
    REPORT["twice"] = tables()
    registration().unregister()
    REPORT["unloaded"] = tables()

    saved = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    rebind()
    registration().register()
    REPORT["rebound before"] = [tables(), menus()]
    registration().unregister()
    REPORT["rebound unloaded"] = tables()
    unbind(saved)
    registration().register()
    rebind()
    importlib.reload(comfy.k_diffusion.sampling)
    REPORT["rebound after"] = [tables(), menus()]

    with torch.inference_mode():
        model, clip = load("sd15.safetensors")
        _, clip_xl = load("sdxl.safetensors")
        for work in (every_sampler, schedules, constants, joined, loras, together, other_models):
            work(model, clip)
        golden()
        conds({"sd15": clip, "sdxl": clip_xl})
    (FOLDER / "report.json").write_text(json.dumps(REPORT))
    save_file(
        {name: value.float().contiguous().clone() for name, value in TENSORS.items()},
        FOLDER / "report.safetensors",
    )


main()
