"""The random numbers of an NVIDIA card, made on any machine: Philox 4x32-10 as CUDA's ``randn`` uses it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint32]
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
UNIT = np.float32(2.0**-32)
TURN = np.float32(2 * np.pi) * UNIT


def _round(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Return the four words after one round of Salmon et al.'s bijection with ``key``."""
    wide = [counter[0].astype(np.uint64) * MULTIPLIERS[0], counter[2].astype(np.uint64) * MULTIPLIERS[1]]
    high = [(word >> np.uint64(32)).astype(np.uint32) for word in wide]
    low = [word.astype(np.uint32) for word in wide]
    return [
        high[1] ^ counter[1] ^ np.uint32(key[0]),
        low[1],
        high[0] ^ counter[3] ^ np.uint32(key[1]),
        low[0],
    ]


def philox(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Return the four random words (n,) of each of n counters under ``key``, two 32-bit words.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", sec. 3.3.
    """
    for _ in range(ROUNDS):
        counter = _round(counter, key)
        key = ((key[0] + WEYL[0]) & 0xFFFFFFFF, (key[1] + WEYL[1]) & 0xFFFFFFFF)
    return counter


class Philox:
    """A generator of normal numbers that counts as CUDA does: one draw advances the offset by one."""

    def __init__(self, seed: int) -> None:
        """Start at offset 0 with ``seed``, of which 64 bits count."""
        self._key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
        self._offset = 0

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        """Return unit-variance numbers of ``shape``, float32 on the CPU: element k is counted by k."""
        n = int(np.prod(shape))
        zero = np.zeros(n, np.uint32)
        offset = np.full(n, self._offset, np.uint32)
        words = philox([offset, zero, np.arange(n, dtype=np.uint32), zero], self._key)
        self._offset += 1
        return torch.as_tensor(_box_muller(words[0], words[1]).reshape(shape))


def _box_muller(first: Words, second: Words) -> NDArray[np.float32]:
    """Return one normal number for each pair of words, in CUDA's scaling of words to (0, 1) and (0, 2 pi)."""
    u = first * UNIT + UNIT / 2
    angle = second * TURN + TURN / 2
    return (np.sqrt(-2.0 * np.log(u)) * np.sin(angle)).astype(np.float32)
