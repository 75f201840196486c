"""Networks added to the weights of a live model, changed as often as wanted, taken off without a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn

from ..errors import BadValue
from .deltas import Delta, add_delta
from .keys import Part
from .matching import Matched

_Key = tuple[Part, str]
_Sum = tuple[tuple[Delta, float], ...]


@dataclass(frozen=True, kw_only=True)
class Use:
    """A network and its strengths: ``unet`` for the UNet, ``te`` for the text encoders; 0 is off."""

    network: Matched
    unet: float = 1.0
    te: float = 1.0


class Patched:
    """The weights of a model's parts with some networks added.

    Every weight is always the untouched one plus the sum of the deltas, never a sum on a sum: states can
    follow one another any number of times without drift, and DoRA reads the untouched weight whatever else
    is on.  Only weights that a network touches are kept a second time, on their own device.

        with Patched({"unet": unet, "te1": text_encoder}) as patched:
            patched.set([Use(network=matched, unet=0.8)])
            ...
    """

    def __init__(self, parts: Mapping[Part, nn.Module]) -> None:
        """Take the modules by part; nothing is changed until ``set``."""
        self._parameters: dict[_Key, nn.Parameter] = {
            (part, name): parameter
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
        }
        self._originals: dict[_Key, Tensor] = {}
        self._state: dict[_Key, _Sum] = {}

    def set(self, uses: Iterable[Use]) -> None:
        """Make the weights those of these networks and no others; only weights whose sum changes are written.

        Raises ``BadValue`` when a network was matched with another model; the weights are then restored, as
        after any error on the way.
        """
        wanted = _sums(uses)
        if missing := next((key for key in wanted if key not in self._parameters), None):
            self.restore()
            raise BadValue(f"the model has no {'.'.join(missing)}; match the network with this model first")
        try:
            for key in self._state.keys() | wanted.keys():
                self._write(key, wanted.get(key, ()))
        except BaseException:
            self.restore()
            raise

    @torch.no_grad()
    def restore(self) -> None:
        """Put every weight back, bit for bit, and drop the copies."""
        for key, original in self._originals.items():
            self._parameters[key].copy_(original)
        self._originals.clear()
        self._state.clear()

    def __enter__(self) -> Patched:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the weights."""
        self.restore()

    @torch.no_grad()
    def _write(self, key: _Key, wanted: _Sum) -> None:
        """Write the untouched weight plus the ``wanted`` deltas, and note that it is so."""
        if self._state.get(key, ()) == wanted:
            return
        weight = self._parameters[key]
        if key not in self._originals:
            self._originals[key] = weight.detach().clone()
        original = self._originals[key].to(weight.device)
        self._state[key] = wanted
        # Straight into a float32 weight; through one float32 copy into a half-precision or channels-last one.
        if weight.dtype == torch.float32 and weight.is_contiguous():
            total = weight.detach().copy_(original)
        else:
            total = original.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for delta, strength in wanted:
            add_delta(total, delta, original, strength)
        if total.data_ptr() != weight.data_ptr():
            weight.copy_(total)


def _sums(uses: Iterable[Use]) -> dict[_Key, _Sum]:
    """Return for each weight the deltas on it with their strengths, those of strength 0 left out."""
    sums: dict[_Key, _Sum] = {}
    for use in uses:
        for part, deltas in use.network.deltas.items():
            strength = use.unet if part == "unet" else use.te
            for name, delta in deltas.items() if strength else ():
                sums[part, name] = (*sums.get((part, name), ()), (delta, strength))
    return sums
