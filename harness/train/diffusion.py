"""Train the UNet and the text encoder together on latents and freshly worded captions.

Loss: mean square error of the noise, weighted by ``min(snr, 5) / snr`` (Hang et al. 2023, arXiv:2303.09556)
and by ``clip(1 / alpha_bar, 1, clip)``, since the plain loss hardly sees the high noise where layout is decided.
With v-prediction (Salimans & Ho 2022, arXiv:2202.00512) the error of ``v``, weighted by ``min(1, 6 / (snr + 1))``.
"""

from __future__ import annotations

import copy
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...core.errors import BadFile, unknown
from ...core.prompt import chunk_tokens, clip_tokenizer
from .captions import Wording, caption
from .latents import Examples
from .muon import Muon, split_parameters
from .networks import SCHEDULER, make_text_encoder, make_unet
from .parallel import average_gradients, rank
from .run import Run, learning_rate
from .vocabulary import known_tokens, row_of

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, kw_only=True)
class DiffusionTraining:
    """How the UNet and text encoder are trained.

    ``easy``: share of the steps on easy scenes, at the beginning.  ``high_noise``: share of the timesteps that are
    drawn from ``high_from`` up; ``clip``: the most that an error weighs there.  ``pairs``: share of the scenes that
    have two things.  ``position``, ``breaks``: chances of place words and of BREAK in a caption.
    ``start``: a model's folder to begin from, ``""`` for new networks.
    ``prediction``: "epsilon" or "v_prediction"; ``zero_snr``: rescale the noise schedule to zero terminal SNR
    (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
    """

    steps: int = 20_000
    batch: int = 32
    lr: float = 3e-3
    empty: float = 0.1
    easy: float = 0.1
    high_noise: float = 0.6
    high_from: int = 400
    clip: float = 40.0
    pairs: float = 0.0
    position: float = 0.85
    breaks: float = 0.2
    ema: float = 0.999
    prediction: str = "epsilon"
    zero_snr: bool = False
    start: str = ""

    def __post_init__(self) -> None:
        """Check the prediction; raises ``BadValue``."""
        if self.prediction not in PREDICTIONS:
            raise unknown("prediction", self.prediction, PREDICTIONS)

    device: str = "cpu"
    seed: int = 0


class Networks(nn.Module):
    """The UNet and the text encoder, trained as one."""

    def __init__(self, tokens: list[int]) -> None:
        """Make both afresh; ``tokens`` are the ids that have a row."""
        super().__init__()
        tokenizer = clip_tokenizer()
        rows = [tokens.index(tokenizer.bos), tokens.index(tokenizer.eos)]
        self.unet = make_unet()
        self.text = make_text_encoder(len(tokens) + 1, *rows)

    def load_folder(self, folder: Path) -> None:
        """Take the weights of an exported model with the same tokens; raises ``BadFile`` where there is none."""
        if not (folder / "model_index.json").is_file():
            raise BadFile(
                f"there is no model in {folder}; name the folder that `sd-concord train export` wrote"
            )
        text = load_file(folder / "text_encoder" / "model.safetensors")
        text.pop("token_rows", None)
        names = set(self.text.state_dict())
        self.text.load_state_dict(
            {k if k in names else k.removeprefix("text_model."): v for k, v in text.items()}
        )
        self.unet.load_state_dict(load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"))

    def forward(self, x: Tensor, timesteps: Tensor, chunks: list[Tensor]) -> Tensor:
        """Predict from noisy latents (B, 4, 16, 16), timesteps (B,) and, for each, rows int64 (chunks, 77)."""
        hidden = self.text(torch.cat(chunks)).last_hidden_state
        lengths = [len(chunk) for chunk in chunks]
        context = nn.utils.rnn.pad_sequence(
            [part.flatten(0, 1) for part in hidden.split(lengths)], batch_first=True
        )
        mask = None
        if len(set(lengths)) > 1:
            mask = torch.arange(context.shape[1])[None] < 77 * torch.tensor(lengths)[:, None]
            mask = mask.to(context.device)
        return self.unet(x, timesteps, context, encoder_attention_mask=mask).sample


def alphas_cumprod(zero_snr: bool = False) -> Tensor:
    """Return the signal's share of the variance at each training timestep, float32 (1000,)."""
    start, end = SCHEDULER["beta_start"], SCHEDULER["beta_end"]
    betas = torch.linspace(start**0.5, end**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = (1 - betas).cumprod(0)
    if zero_snr:
        root = alpha_bar.sqrt()
        alpha_bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    return alpha_bar.float()


def sample_timesteps(
    count: int, high_noise: float, generator: torch.Generator, high_from: int = 400
) -> Tensor:
    """Return ``count`` timesteps: uniform over 1000, but a share of ``high_noise`` uniform from ``high_from`` up."""
    uniform = torch.rand(count, generator=generator)
    high = torch.rand(count, generator=generator) < high_noise
    return torch.where(high, high_from + (1000 - high_from) * uniform, 1000 * uniform).long()


def loss_weight(alpha_bar: Tensor, prediction: str = "epsilon", clip: float = 40.0) -> Tensor:
    """Return the weight of the error at each ``alpha_bar``; see the module's docstring."""
    snr = alpha_bar / (1 - alpha_bar)
    if prediction == "v_prediction":
        return (6 / (snr + 1)).clamp(max=1)
    return (snr.clamp(max=5) / snr) * (1 / alpha_bar).clamp(1, clip)


def token_chunks(text: str, rows: Tensor) -> Tensor:
    """Return the rows of ``text`` as int64 (chunks, 77)."""
    ids = [list(chunk.ids) for chunk in chunk_tokens(text, clip_tokenizer())]
    return rows[torch.tensor(ids, device=rows.device)]


def train_diffusion(folder: Path, options: DiffusionTraining) -> Networks:
    """Train, resuming from ``folder/unet.pt`` when it is there, and return the averaged networks."""
    torch.manual_seed(options.seed)
    tokens = known_tokens()
    device = torch.device(options.device)
    networks = Networks(tokens)
    if options.start:
        networks.load_folder(Path(options.start))
    networks.to(device)
    average = copy.deepcopy(networks).requires_grad_(False)
    optimiser = Muon(*split_parameters([networks]), lr=options.lr)
    parts = {"networks": networks, "average": average, "optimiser": optimiser}
    run = Run(folder, "unet", options.steps, parts, {**asdict(options), "tokens": tokens})
    examples, alpha_bar, rows = (
        Examples.load(folder),
        alphas_cumprod(options.zero_snr),
        row_of(tokens).to(device),
    )
    for step in run:
        rng = random.Random(f"{options.seed}/{rank()}/{step}")
        generator = torch.Generator().manual_seed(rng.getrandbits(60))
        easy = step < options.easy * options.steps
        pool = examples.easy if easy else range(len(examples.scenes))
        picks = [
            rng.choice(examples.pairs if rng.random() < options.pairs else pool) for _ in range(options.batch)
        ]
        chunks = [_chunks(examples, i, rng, options, rows) for i in picks]
        clean = examples.latents[picks].to(device, torch.float32)
        timesteps = sample_timesteps(options.batch, options.high_noise, generator, options.high_from)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        at = alpha_bar[timesteps].to(device).view(-1, 1, 1, 1)
        out = networks(at.sqrt() * clean + (1 - at).sqrt() * noise, timesteps.to(device), chunks)
        target = noise if options.prediction == "epsilon" else at.sqrt() * noise - (1 - at).sqrt() * clean
        errors = (out - target).square().mean(dim=(1, 2, 3))
        loss = (loss_weight(at.flatten(), options.prediction, options.clip) * errors).mean()
        _update(networks, average, optimiser, loss, step, options)
        low = timesteps < 500
        errors = errors.detach().cpu()
        run.report(loss=loss.item(), low=_mean(errors[low]), high=_mean(errors[~low]))
    return average


def _chunks(
    examples: Examples, i: int, rng: random.Random, options: DiffusionTraining, rows: Tensor
) -> Tensor:
    wording = Wording(position=options.position, breaks=options.breaks)
    text = "" if rng.random() < options.empty else caption(examples.scenes[i], rng, wording)
    return token_chunks(text, rows)


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else 0.0


def _update(
    networks: Networks,
    average: Networks,
    optimiser: Muon,
    loss: Tensor,
    step: int,
    options: DiffusionTraining,
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = options.lr * learning_rate(step, options.steps)
    optimiser.zero_grad()
    loss.backward()
    average_gradients(networks.parameters())
    nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
    optimiser.step()
    decay = min(options.ema, (step + 1) / (step + 10))
    pairs: Any = zip(average.parameters(), networks.parameters(), strict=True)
    with torch.no_grad():
        for slow, fast in pairs:
            slow.lerp_(fast, 1 - decay)
