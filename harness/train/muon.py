"""Muon for matrices and convolutions, Adam for the rest, in one optimiser.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the update's size is
matched to Adam's as in Liu et al. 2025 (arXiv:2502.16982), eq. 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def split_parameters(modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return (matrices and convolutions, all else).  Embeddings are looked up, not multiplied: they go to Adam."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in modules:
        for part in module.modules():
            for parameter in part.parameters(recurse=False):
                if not parameter.requires_grad:
                    continue
                dense = parameter.ndim >= 2 and not isinstance(part, nn.Embedding)
                (matrices if dense else others).append(parameter)
    return matrices, others


def orthogonalise(gradient: Tensor, iterations: int = 5) -> Tensor:
    """Return the nearest semi-orthogonal matrix to ``gradient`` (m, n), about: singular values in 0.7 to 1.2.

    Source: the quintic Newton-Schulz iteration of Jordan et al. 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient / (gradient.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for the first group; Adam for the second.

    ``matrices``, ``others``: as `split_parameters` gives them.  ``lr`` holds for both groups; a schedule
    changes ``group["lr"]``.
    """

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], lr: float) -> None:
        """Set the two groups up with momentum 0.95 and Adam's (0.9, 0.99)."""
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        super().__init__(groups, {"lr": lr, "momentum": 0.95, "betas": (0.9, 0.99), "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, group)
        return loss

    def _muon(self, parameter: nn.Parameter, group: dict[str, float]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(parameter.grad, 1 - group["momentum"])
        nesterov = parameter.grad.lerp(momentum, group["momentum"])
        flat = orthogonalise(nesterov.flatten(1))
        size = 0.2 * max(flat.shape) ** 0.5
        parameter.add_(flat.view_as(parameter), alpha=-group["lr"] * size)

    def _adam(self, parameter: nn.Parameter, group: dict[str, tuple[float, float] | float]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        first, second = group["betas"]  # pyright: ignore
        state["step"] += 1
        state["mean"].lerp_(parameter.grad, 1 - first)
        state["square"].lerp_(parameter.grad.square(), 1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        scale = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(mean, scale, value=-group["lr"])  # pyright: ignore
