"""Loading: every layout gives the same networks, and what a file says of itself is heard."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from miniatures import flat_tensors, miniature, save_compact, save_flat, save_folder, text_state
from safetensors.torch import load_file, save_file
from sd_concord.core.errors import BadFile, BadValue
from sd_concord.core.sigmas import ModelSigmas
from sd_concord.harness.models import Betas, Model, alpha_bar, expand_rows, export_ldm, load_model

FAMILIES = ("sd15", "sdxl")
IDS = torch.tensor([[49406, 320, 2368, 49407, *[49407] * 73], [49406, 1125, 49407, 0, *[0] * 73]])
WRITERS = {
    "folder": lambda model, out: save_folder(model, out / "model"),
    "folder-fp16": lambda model, out: save_folder(model, out / "model", variant="fp16"),
    "original": lambda model, out: export_ldm(model, out / "model.safetensors"),
    "flat": lambda model, out: save_flat(model, out / "model.safetensors"),
    "ckpt": lambda model, out: save_ckpt(model, out / "model.ckpt"),
    "pickled-folder": lambda model, out: save_pickled_folder(model, out / "model"),
    "sharded-folder": lambda model, out: save_sharded_folder(model, out / "model"),
}


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {family: miniature(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def sd15_file(models, tmp_path_factory) -> Path:
    return export_ldm(models["sd15"], tmp_path_factory.mktemp("sd15") / "model.safetensors")


def save_ckpt(model: Model, path: Path) -> Path:
    """Write the original names as the old checkpoints have them: a zip pickle with a state_dict in it."""
    tensors = load_file(export_ldm(model, path.with_name("for-ckpt.safetensors")))
    torch.save({"state_dict": tensors, "global_step": 7}, path)
    return path


def save_pickled_folder(model: Model, out: Path) -> Path:
    save_folder(model, out)
    names = {"model": "pytorch_model.bin", "diffusion_pytorch_model": "diffusion_pytorch_model.bin"}
    for file in out.glob("*/*.safetensors"):
        torch.save(load_file(file), file.with_name(names[file.stem]))
        file.unlink()
    return out


def save_sharded_folder(model: Model, out: Path) -> Path:
    save_folder(model, out)
    (out / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    model.unet.save_pretrained(out / "unet", max_shard_size="1MB")
    assert len(list((out / "unet").glob("*-of-*.safetensors"))) > 1
    return out


@torch.no_grad()
def outputs(model: Model) -> dict[str, torch.Tensor]:
    """Return what each network makes of fixed inputs."""
    random = torch.Generator().manual_seed(5)
    encoded = [encoder(IDS, 1) for encoder in model.text_encoders]
    context = torch.cat([hidden for hidden, _ in encoded], -1)
    pooled = encoded[-1][1]
    added = {}
    if pooled is not None:
        times = torch.tensor([[128.0, 128, 0, 0, 128, 128]] * 2)
        added = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": times}}
    latent = torch.randn(2, 4, 8, 8, generator=random)
    picture = torch.rand(1, 3, 32, 32, generator=random)
    vae: Any = model.vae
    return {
        "context": context,
        "pooled": torch.zeros(0) if pooled is None else pooled,
        "unet": model.unet(latent, torch.tensor([10, 900]), context, **added).sample,
        "decoded": vae.decode(latent[:1]).sample,
        "encoded": vae.encode(picture).latent_dist.mean,
    }


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, bool]:
    return {name: torch.equal(value, b[name]) for name, value in a.items()}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_gives_the_same_outputs_bit_for_bit(models, family, layout, tmp_path):
    model = models[family]
    loaded = load_model(WRITERS[layout](model, tmp_path))
    assert all(equal(outputs(model), outputs(loaded)).values())
    facts = ("family", "prediction", "ztsnr", "betas", "scale_factor", "shift_factor")
    assert {f: getattr(loaded, f) for f in facts} == {f: getattr(model, f) for f in facts}
    assert loaded.name == "model"
    assert loaded.vae.config["scaling_factor"] == loaded.scale_factor


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_names_are_those_that_diffusers_reads(models, family, tmp_path):
    """Its converters, from their own tables, make of the file the very weights that it was written from."""
    model = models[family]
    tensors = load_file(export_ldm(model, tmp_path / "model.safetensors", dtype="float32"))
    unet = single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), dict(model.unet.config))
    vae = single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(model.vae.config))
    found = [(unet, model.unet), (vae, model.vae)]
    if family == "sdxl":
        module = model.text_encoders[1].module
        state = single_file_utils.convert_open_clip_checkpoint(
            module, dict(tensors), prefix="conditioner.embedders.1.model."
        )
        found.append((state, module))
    for converted, module in found:
        wanted = module.state_dict()
        assert wanted.keys() == converted.keys()
        shapes = {name: value.reshape(wanted[name].shape) for name, value in converted.items()}
        assert all(torch.equal(wanted[name], value) for name, value in shapes.items())


def test_names_without_text_model_are_taken_too(models, tmp_path):
    """Very old checkpoints, and transformers 5, leave that prefix out."""
    tensors = load_file(export_ldm(models["sd15"], tmp_path / "model.safetensors"))
    save_file(
        {name.replace("text_model.", ""): value for name, value in tensors.items()},
        tmp_path / "old.safetensors",
    )
    assert all(equal(outputs(models["sd15"]), outputs(load_model(tmp_path / "old.safetensors"))).values())


def test_old_names_of_the_vae_attention_are_taken(models, tmp_path):
    save_folder(models["sd15"], tmp_path)
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(file)
    for now, before in old.items():
        tensors = {name.replace(now, before): value for name, value in tensors.items()}
    save_file(tensors, file)
    assert all(equal(outputs(models["sd15"]), outputs(load_model(tmp_path))).values())


@pytest.mark.parametrize(
    ("prediction", "ztsnr"), [("eps", False), ("v", False), ("v", True)], ids=["eps", "v", "v-ztsnr"]
)
@pytest.mark.parametrize("layout", ["folder", "original", "flat"])
def test_prediction_and_ztsnr_are_recognised(models, layout, prediction, ztsnr, tmp_path):
    model = dataclasses.replace(models["sdxl"], prediction=prediction, ztsnr=ztsnr)
    loaded = load_model(WRITERS[layout](model, tmp_path))
    assert (loaded.prediction, loaded.ztsnr) == (prediction, ztsnr)


@pytest.mark.parametrize(
    ("metadata", "prediction", "ztsnr"),
    [
        ({"modelspec.prediction_type": "v"}, "v", False),
        ({"modelspec.prediction_type": "epsilon"}, "eps", False),
        ({"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, "v", True),
        ({"ss_v_parameterization": "False", "ss_zero_terminal_snr": "None"}, "eps", False),
    ],
    ids=["modelspec-v", "modelspec-eps", "kohya-v", "kohya-eps"],
)
def test_prediction_is_read_from_metadata(models, metadata, prediction, ztsnr, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(flat_tensors(models["sd15"]), path, metadata=metadata)
    loaded = load_model(path)
    assert (loaded.prediction, loaded.ztsnr) == (prediction, ztsnr)


def test_the_yaml_beside_a_checkpoint_is_read(models, tmp_path):
    path = save_flat(models["sd15"], tmp_path / "model.safetensors")
    path.with_suffix(".yaml").write_text(
        "model:\n  params:\n    parameterization: v\n    linear_start: 0.001\n    linear_end: 0.02\n"
        "    scale_factor: 0.5\n    unet_config: {params: {num_heads: 4}}\n"
    )
    loaded = load_model(path)
    assert loaded.prediction == "v"
    assert loaded.betas == Betas(start=0.001, end=0.02)
    assert loaded.scale_factor == 0.5
    assert list(loaded.unet.config["attention_head_dim"]) == [4, 4]


@pytest.mark.parametrize("family", FAMILIES)
def test_arguments_overrule_the_file(models, family, tmp_path):
    path = export_ldm(
        dataclasses.replace(models[family], prediction="v", ztsnr=True), tmp_path / "m.safetensors"
    )
    loaded = load_model(path, prediction="eps", ztsnr=False)
    assert (loaded.prediction, loaded.ztsnr) == ("eps", False)


def test_sizes_are_those_of_the_family_unless_the_file_tells(models, tmp_path):
    found = {
        family: load_model(save_flat(models[family], tmp_path / f"{family}.safetensors"))
        for family in FAMILIES
    }
    assert found["sd15"].size == (512, 512)
    assert found["sdxl"].size == (1024, 1024)
    save_file(
        flat_tensors(models["sd15"]), tmp_path / "m.safetensors", metadata={"modelspec.resolution": "768x640"}
    )
    assert load_model(tmp_path / "m.safetensors").size == (768, 640)
    assert load_model(save_folder(models["sd15"], tmp_path / "folder")).size == (128, 128)


def test_the_model_tells_its_sizes(models):
    model = models["sdxl"]
    assert (model.in_channels, model.latent_channels, model.vae_stride) == (4, 4, 8)
    assert [encoder.pooled_width for encoder in model.text_encoders] == [0, 128]
    assert [encoder.tokenizer.pad for encoder in model.text_encoders] == [49407, 0]


def test_head_counts_travel_with_a_file(models, tmp_path):
    """Shapes do not tell them; 4 heads where the family's rule says 8 come back from the metadata."""
    unet = type(models["sd15"].unet).from_config({**models["sd15"].unet.config, "attention_head_dim": 4})
    unet.load_state_dict(models["sd15"].unet.state_dict())
    model = dataclasses.replace(models["sd15"], unet=unet.eval())
    path = export_ldm(model, tmp_path / "model.safetensors")
    path.with_suffix(".yaml").unlink()
    assert all(equal(outputs(model), outputs(load_model(path))).values())


def test_a_vae_given_beside_takes_the_place_of_the_models_own(models, tmp_path):
    other = miniature("sd15", seed=1)
    path = export_ldm(models["sd15"], tmp_path / "model.safetensors")
    tensors = load_file(export_ldm(other, tmp_path / "other.safetensors"))
    alone = {
        name.removeprefix("first_stage_model."): value
        for name, value in tensors.items()
        if "first_stage" in name
    }
    save_file(alone, tmp_path / "vae.safetensors")
    save_folder(other, tmp_path / "folder")
    wanted = outputs(models["sd15"]) | {name: outputs(other)[name] for name in ("decoded", "encoded")}
    for vae in ("vae.safetensors", "other.safetensors", "folder", "folder/vae"):
        assert all(equal(wanted, outputs(load_model(path, vae=tmp_path / vae))).values()), vae


@pytest.mark.parametrize("kind", ["original", "flat"])
def test_a_file_without_vae_needs_one(models, kind, tmp_path):
    tensors = load_file(WRITERS[kind](models["sd15"], tmp_path))
    bare = {
        name: value for name, value in tensors.items() if not name.startswith(("vae.", "first_stage_model."))
    }
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(BadFile, match=r"bare\.safetensors has no VAE; give one with vae="):
        load_model(tmp_path / "bare.safetensors")
    vae = tmp_path / "model.safetensors"
    assert all(
        equal(outputs(models["sd15"]), outputs(load_model(tmp_path / "bare.safetensors", vae=vae))).values()
    )


def test_compact_token_rows_are_spread_over_the_vocabulary(models, tmp_path):
    rows = [0, 320, 2368, 49406, 49407]
    loaded = load_model(save_compact(models["sd15"], tmp_path, rows))
    full = loaded.text_encoders[0].token_embedding.weight
    table = text_state(models["sd15"].text_encoders[0].module)["embeddings.token_embedding.weight"]
    assert full.shape == (49408, 64)
    assert torch.equal(full[rows], table[rows])
    assert torch.equal(full[[1, 1125, 49405]], table[[1000] * 3])


def test_expand_rows_wants_one_row_for_all_other_ids():
    table = torch.arange(6.0).view(3, 2)
    full = expand_rows(table, torch.tensor([4, 1]), 5)
    assert full[:, 0].tolist() == [4, 2, 4, 4, 0]
    for rows in ([1, 2, 3], [1, 5]):
        with pytest.raises(BadFile, match="token_rows"):
            expand_rows(table, torch.tensor(rows), 5)


@pytest.mark.parametrize("ztsnr", [False, True], ids=["sd", "ztsnr"])
def test_sigmas_are_the_cores(models, ztsnr):
    model = dataclasses.replace(models["sd15"], ztsnr=ztsnr)
    assert model.sigmas is (ModelSigmas.zsnr() if ztsnr else ModelSigmas.sd())
    squared = model.alphas_cumprod
    table = ((1 - squared) / squared).sqrt().float()
    assert torch.equal(table, model.sigmas.table)


def test_other_betas_make_their_own_sigmas(models):
    betas = Betas(start=0.0001, end=0.02, kind="linear")
    model = dataclasses.replace(models["sd15"], betas=betas)
    first, last = 0.0001, 1 - alpha_bar(betas)[-1]
    assert model.sigmas.sigma_min == pytest.approx((first / (1 - first)) ** 0.5, rel=1e-6)
    assert model.sigmas.sigma_max == pytest.approx(float((last / (1 - last)) ** 0.5), rel=1e-6)
    table = Betas(table=tuple(torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64).tolist()))
    assert torch.equal(alpha_bar(table), alpha_bar(betas))


def test_a_file_hash_is_the_one_of_a1111(sd15_file):
    digest = hashlib.sha256(sd15_file.read_bytes()).hexdigest()
    loaded = load_model(sd15_file)
    assert loaded.sha256 == digest
    assert loaded.hash == digest[:10]


def test_a_folder_hash_is_of_the_weights_alone(models, tmp_path):
    first = load_model(save_folder(models["sd15"], tmp_path / "a")).hash
    (tmp_path / "a" / "scheduler" / "scheduler_config.json").write_text("{}")
    second = load_model((tmp_path / "a").rename(tmp_path / "b"))
    parts = [hashlib.sha256(file.read_bytes()).digest() for file in second.files]
    assert [file.parent.name for file in second.files] == ["unet", "vae", "text_encoder"]
    assert first == second.hash == hashlib.sha256(b"".join(parts)).hexdigest()[:10]


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (None, torch.float32),
        ("auto", torch.float32),
        ("fp16", torch.float16),
        (torch.bfloat16, torch.bfloat16),
    ],
    ids=str,
)
def test_dtype_of_networks(sd15_file, asked, got):
    loaded = load_model(sd15_file, dtype=asked)
    assert loaded.dtype == got
    assert loaded.text_encoders[0].module.dtype == got
    assert loaded.vae.dtype == torch.float32


def test_weights_can_be_changed_without_changing_the_file(sd15_file):
    """In the file's own format they are views of the mapped file, copied when written to."""
    before = sd15_file.read_bytes()
    loaded = load_model(sd15_file, dtype="float16")
    with torch.no_grad():
        loaded.unet.conv_in.weight.add_(1)
    assert sd15_file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda:99"}, "cuda:99 is not there"),
        ({"device": "gpu"}, "unknown device 'gpu'; .*Known: cpu, cuda, mps, auto"),
        ({"dtype": "float8"}, "unknown dtype 'float8'; did you mean float"),
        ({"dtype": torch.int8}, "dtype torch.int8 is not a floating-point format"),
        ({"prediction": "x0"}, "unknown prediction 'x0'; .*Known: eps, v"),
    ],
    ids=["no-cuda", "device", "dtype", "integers", "prediction"],
)
def test_bad_arguments(sd15_file, arguments, message):
    with pytest.raises(BadValue, match=message):
        load_model(sd15_file, **arguments)
