"""A guided model of a graph as the core's denoiser: conditionings with areas, masks and times put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.sampling.guidance import rescaled_cfg
from ...core.sampling.lcm import lcm_scalings
from .ranges import DISTILLED, sigma_of_share
from .regions import Area, cut_to, feathered, placed, weight_of
from .values import Entry, GuiderWire, ModelWire

MOST_REPEATS = 4
_TINY = 1e-37


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """One entry at one call: which of the sides it is of, where it holds, and what it counts there."""

    side: int
    entry: Entry
    area: Area
    weight: Tensor


class GraphDenoiser:
    """The guided clean latent of a graph's model at each call."""

    def __init__(self, guider: GuiderWire, size: tuple[int, int]) -> None:
        """Lay the conditionings out over latents of ``size`` (rows, columns)."""
        self._guider, self._model = guider, guider.model
        sides = [guider.positive, guider.negative, guider.middle]
        self._sides = placed(sides, size)
        self._size = size

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the guided clean latent seen in ``x`` (B, C, h, w)."""
        return self._guided(x, float(sigma), keeps_negative=False)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and what is seen with the negative prompt."""
        return self._guided(x, float(sigma), keeps_negative=True)

    def _guided(self, x: Tensor, sigma: float, *, keeps_negative: bool) -> tuple[Tensor, Tensor]:
        guider = self._guider
        if guider.middle:
            return self._dual(x, sigma)
        if math.isclose(guider.scale, 1.0) and not keeps_negative:
            cond = self._seen(x, sigma, (0,))[0]
            return cond, cond
        cond, uncond = self._seen(x, sigma, (0, 1))
        return self._cfg(x, sigma, cond, uncond), uncond

    def _cfg(self, x: Tensor, sigma: float, cond: Tensor, uncond: Tensor) -> Tensor:
        scale = self._guider.scale
        if self._model.rescale:
            return rescaled_cfg(x, cond, uncond, sigma=sigma, scale=scale, amount=self._model.rescale)
        return uncond + (cond - uncond) * scale

    def _dual(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        guider = self._guider
        cond, uncond, middle = self._seen(x, sigma, (0, 1, 2))
        if guider.nested:
            inner = middle + (cond - middle) * guider.scale
            return uncond + guider.middle_scale * (inner - uncond), uncond
        return uncond + (middle - uncond) * guider.middle_scale + (cond - middle) * guider.scale, uncond

    def _seen(self, x: Tensor, sigma: float, sides: Sequence[int]) -> list[Tensor]:
        """Return the clean latent of each of ``sides``, its entries averaged by their weights."""
        rows = [row for side in sides for row in self._rows(x, sigma, side)]
        sums = {side: torch.zeros_like(x) for side in sides}
        counts = {side: torch.full_like(x, _TINY) for side in sides}
        for group in _groups(rows):
            for row, out in zip(group, self._run(x, sigma, group), strict=True):
                height, width, top, left = row.area
                where = (..., slice(top, top + height), slice(left, left + width))
                sums[row.side][where] += out * row.weight
                counts[row.side][where] += row.weight
        return [sums[side] / counts[side] for side in sides]

    def _rows(self, x: Tensor, sigma: float, side: int) -> list[_Row]:
        rows: list[_Row] = []
        for entry in self._sides[side]:
            if not self._is_active(entry, sigma):
                continue
            area = cut_to(entry.area, self._size)
            height, width, top, left = area
            part = x[..., top : top + height, left : left + width]
            weight = weight_of(entry, area, part)
            if entry.area is not None and entry.mask is None:
                weight = feathered(weight, area, self._size)
            rows.append(_Row(side=side, entry=entry, area=area, weight=weight))
        return rows

    def _is_active(self, entry: Entry, sigma: float) -> bool:
        """Tell whether ``entry`` holds at ``sigma``; both ends of its range belong to it."""
        late = entry.start is not None and sigma > sigma_of_share(self._model, entry.start)
        return not late and not (entry.end is not None and sigma < sigma_of_share(self._model, entry.end))

    def _run(self, x: Tensor, sigma: float, group: Sequence[_Row]) -> list[Tensor]:
        """Run the network on the rows of ``group`` together."""
        model, batch = self._model, len(x)
        parts = [
            x[..., top : top + height, left : left + width]
            for height, width, top, left in (row.area for row in group)
        ]
        longest = math.lcm(*(row.entry.hidden.shape[1] for row in group))
        hidden = [row.entry.hidden.repeat(batch, longest // row.entry.hidden.shape[1], 1) for row in group]
        latent = torch.cat(parts)
        network = model.pipeline.model
        like = {"device": network.device, "dtype": network.dtype}
        out = network.unet(
            (latent / (sigma * sigma + 1) ** 0.5).to(**like),
            torch.tensor(told_time(model, sigma), device=x.device),
            torch.cat(hidden).to(**like),
            added_cond_kwargs=self._added(group, batch),
            return_dict=False,
        )[0].to(x.dtype)
        return list(clean(model, latent, out, sigma).chunk(len(group)))

    def _added(self, group: Sequence[_Row], batch: int) -> dict[str, Tensor] | None:
        """Return what SDXL is told besides the text: the size of the picture, and the pooled text."""
        network = self._model.pipeline.model
        pooled = [row.entry.pooled for row in group]
        if network.family != "sdxl" or any(one is None for one in pooled):
            return None
        like = {"device": network.device, "dtype": network.dtype}
        stride = network.vae_stride
        height, width = self._size[0] * stride, self._size[1] * stride
        ids = torch.tensor([[height, width, 0, 0, height, width]], **like)
        joined = torch.cat([one.repeat(batch, 1) for one in pooled if one is not None])
        return {"text_embeds": joined.to(**like), "time_ids": ids.repeat(len(group) * batch, 1)}


def _groups(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Return the rows that go through the network together: of one size, and of lengths that can be made one."""
    groups: list[list[_Row]] = []
    for row in rows:
        for group in groups:
            lengths = [one.entry.hidden.shape[1] for one in (*group, row)]
            if group[0].area[:2] == row.area[:2] and math.lcm(*lengths) <= MOST_REPEATS * min(lengths):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def told_time(model: ModelWire, sigma: float) -> float:
    """Return what the network is told as time at ``sigma``."""
    if model.times == "log":
        return 0.25 * math.log(sigma)
    index = model.sigmas.nearest_index(sigma)
    return float(index * DISTILLED + DISTILLED - 1 if model.times == "distilled" else index)


def clean(model: ModelWire, x: Tensor, out: Tensor, sigma: float) -> Tensor:
    """Return the clean latent of ``x`` (B, C, h, w) at ``sigma`` that the network's ``out`` speaks of."""
    if model.predicts == "x0":
        return out
    if model.predicts in ("v", "edm"):
        sign = 1.0 if model.predicts == "edm" else -1.0
        return (x / (sigma * sigma + 1)).add(out, alpha=sign * sigma / (sigma * sigma + 1) ** 0.5)
    seen = torch.add(x, out, alpha=-sigma)
    if model.predicts == "eps":
        return seen
    skip, scale = lcm_scalings(told_time(model, sigma))
    return seen * scale + x * skip


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldDenoiser:
    """A denoiser that paints where ``mask`` (1, 1, h, w) is 1 and holds ``latent`` with ``noise`` elsewhere."""

    inner: GraphDenoiser
    mask: Tensor
    latent: Tensor
    noise: Tensor

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the clean latent."""
        return self._after(self.inner(self._before(x, float(sigma)), sigma))

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return that and what is seen with the negative prompt, which is not held."""
        guided, uncond = self.inner.with_uncond(self._before(x, float(sigma)), sigma)
        return self._after(guided), uncond

    def _before(self, x: Tensor, sigma: float) -> Tensor:
        held = torch.add(self.latent, self.noise, alpha=sigma)
        return x * self.mask + held * (1 - self.mask)

    def _after(self, denoised: Tensor) -> Tensor:
        return denoised * self.mask + self.latent * (1 - self.mask)
