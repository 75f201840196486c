"""Every sampler on every schedule at several numbers of steps, over a mixture and over the embedded model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.errors import ConcordError
from ...core.image.generation import Generation
from ...core.sampling import SAMPLERS, SamplerSpec, sample
from ...core.sampling.noise import image_noise
from ...core.sigmas import SCHEDULERS, ModelSigmas, get_sigmas
from ...core.sigmas.plan import drop_penultimate
from ..denoise import GuidedDenoiser
from ..pipeline import Pipeline
from .errors import Cloud, path_error
from .mixture import Mixture

STEPS = (10, 20, 40, 60)
ZSNR_STEPS = (20, 40)
CLOUD, FOLLOWED = 2048, 128
"""Samples that a cloud has, and how many of them are held against the exact solution of the ODE."""
TRUTH = 32 * CLOUD
DEMO_SAMPLERS = ("euler", "heun", "dpmpp_2m", "deis", "ipndm", "ipndm_v", "res_multistep", "uni_pc", "lms")
DEMO_SCHEDULES = ("karras", "exponential", "sgm_uniform", "normal", "beta", "align_your_steps")
DEMO_STEPS = (6, 10, 20, 40)
DEMO_PROMPTS = (
    "a red circle and a blue square",
    "a smiling face with black hair on a teal background",
    "a big green star",
    "a yellow heart left of a purple ring",
    "an orange cross above a blue diamond, black background",
    "a small white triangle on a gray background",
    "a face with red hair and a green circle",
    "a purple square",
)
REFERENCE = 200
"""Steps of Heun on Karras' schedule that stand for the exact solution of the embedded model."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to.  ``path``: see `path_error`, None for a sampler that draws noise; ``cloud``: `Cloud.error`,
    None where the data are not known; ``calls``: of the denoiser."""  # fmt: skip

    problem: str
    sampler: str
    schedule: str
    steps: int
    calls: int
    path: float | None = None
    cloud: float | None = None


class Counted:
    """A denoiser with its calls counted."""

    def __init__(self, inner: Mixture) -> None:
        """Count the calls of ``inner``."""
        self.inner, self.calls = inner, 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean data seen in ``x``."""
        self.calls += 1
        return self.inner(x, sigma)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guided and the unguided prediction."""
        self.calls += 1
        return self.inner.with_uncond(x, sigma)


def over_mixture(
    model: ModelSigmas,
    problem: str,
    *,
    samplers: Iterable[str] = tuple(SAMPLERS),
    schedules: Sequence[str] = tuple(SCHEDULERS),
    steps: Sequence[int] = STEPS,
) -> Iterator[Result]:
    """Yield the result of every sampler, schedule and number of steps on a mixture with the sigmas of ``model``."""
    mixture = Mixture.random()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(CLOUD, mixture.mu.shape[1], generator=generator, dtype=torch.float64)
    truth = Cloud(mixture.draw(TRUTH, generator), CLOUD)
    exact: dict[float, Tensor] = {}
    for spec in (SAMPLERS[name] for name in samplers):
        for schedule in schedules:
            for count in steps:
                sigmas = sigmas_for(spec, schedule, count, model)
                if sigmas is None:
                    continue
                first = round(float(sigmas[0]), 3)  # one exact solution serves schedules that begin alike
                if first not in exact:
                    exact[first] = mixture.solve(first * noise[:FOLLOWED], first)
                denoiser = Counted(mixture)
                ends = _ends(spec, denoiser, first * noise, sigmas, model)
                if ends is None:
                    continue
                follows = spec.kind == "deterministic"
                yield Result(
                    problem=problem,
                    sampler=spec.name,
                    schedule=schedule,
                    steps=count,
                    calls=denoiser.calls,
                    path=path_error(ends[:FOLLOWED], exact[first]) if follows else None,
                    cloud=truth.error(ends),
                )


def floor_of(count: int = 16) -> float:
    """Return the mean `Cloud.error` of true samples: no sampler can be told to be better."""
    mixture = Mixture.random()
    generator = torch.Generator().manual_seed(2)
    truth = Cloud(mixture.draw(TRUTH, generator), CLOUD)
    return sum(truth.error(mixture.draw(CLOUD, generator)) for _ in range(count)) / count


def sigmas_for(spec: SamplerSpec, schedule: str, steps: int, model: ModelSigmas) -> Tensor | None:
    """Return the sigmas of ``steps`` steps as hosts give them to a sampler; None where there are none."""
    extra = int(bool(spec.discards_penultimate))
    try:
        sigmas = get_sigmas(schedule, steps + extra, model)
    except ConcordError:
        return None
    return drop_penultimate(sigmas) if extra else sigmas


def _ends(
    spec: SamplerSpec, denoiser: Counted, start: Tensor, sigmas: Tensor, model: ModelSigmas
) -> Tensor | None:
    """Return the ends (B, D), None for what the sampler refuses."""
    if spec.resizes:
        return None  # it wants a picture
    noise = _CloudNoise(start.shape)
    try:
        ends = sample(spec.name, denoiser, start, sigmas, model=model, noise=noise)
    except ConcordError:
        return None
    return ends if math.isfinite(float(ends.square().sum())) else None


class _CloudNoise:
    """Unit noise for all samples at once."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        del sigma, sigma_next
        return torch.randn(self.shape, generator=self.generator, dtype=torch.float64)


def over_demo(pipeline: Pipeline, *, done: Callable[[], object] = lambda: None) -> Iterator[Result]:
    """Yield the path error of some samplers and schedules on the embedded model, CFG 4, eight prompts at once."""
    problem = DemoProblem(pipeline)
    reference, _ = problem.run("heun", "karras", REFERENCE)
    for sampler in DEMO_SAMPLERS:
        for schedule in DEMO_SCHEDULES:
            for steps in DEMO_STEPS:
                ends, calls = problem.run(sampler, schedule, steps)
                done()
                error = path_error(ends, reference)
                yield Result(
                    problem="demo", sampler=sampler, schedule=schedule, steps=steps, calls=calls, path=error
                )


class DemoProblem:
    """The embedded model with eight prompts and their noise."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take a pipeline over the model."""
        self.pipeline = pipeline
        shape = pipeline.latent_shape(Generation())
        self.noise = image_noise(shape, range(len(DEMO_PROMPTS))).first()

    def run(self, sampler: str, schedule: str, steps: int) -> tuple[Tensor, int]:
        """Return the latents (8, 4, h, w) and the number of calls."""
        pipeline = self.pipeline
        record = pipeline.complete(Generation(sampler=sampler, scheduler=schedule, steps=steps))
        sampling = pipeline.sampling(record)
        texts = [pipeline.read(replace(record, prompt=prompt), sampling) for prompt in DEMO_PROMPTS]
        stride = pipeline.model.vae_stride
        size = (self.noise.shape[3] * stride, self.noise.shape[2] * stride)
        denoiser = GuidedDenoiser(
            pipeline.model, [t.cond for t in texts], [t.uncond for t in texts], sampling, size
        )
        start = sampling.start(self.noise)
        _, noise = sampling.noise(tuple(self.noise.shape[1:]))  # pyright: ignore[reportArgumentType]
        return pipeline.sample(sampling, denoiser, start, noise), denoiser.calls
