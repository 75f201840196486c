"""What the prompt core asks of a text encoder; a front adapts its own to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from .tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Insert:
    """Vectors of a textual inversion that stand in place of token embeddings.

    ``row``: row of the id tensor; ``position``: first place in that row, BOS being 0; ``vectors``: ``(v,
    D)``, put at ``position … position + v - 1`` before position embeddings are added.
    """

    row: int
    position: int
    vectors: Tensor


class TextEncoder(Protocol):
    """One text encoder; SDXL is a sequence of two, L first.

    ``tokenizer``: its tokenizer, whose ``pad`` fills the tail of a chunk (EOS for CLIP-L, 0 for CLIP-G).
    ``embeddings``: name → ``(v, D)`` vectors of the textual inversions known for this encoder.
    ``clip_skips``: the least and the most clip skip that is obeyed; what is asked is clamped into it.
    SD1.5 has ``(1, layers)``, SDXL ``(2, 2)`` in A1111, ``(2, layers)`` in Forge, ``(1, layers)`` in
    ComfyUI.
    """

    @property
    def tokenizer(self) -> Tokenizer: ...  # noqa: D102

    @property
    def embeddings(self) -> Mapping[str, Tensor]: ...  # noqa: D102

    @property
    def clip_skips(self) -> tuple[int, int]: ...  # noqa: D102

    def __call__(
        self, ids: Tensor, clip_skip: int, inserts: Sequence[Insert] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Encode chunks.

        ``ids``: ``(n, 77)`` int64 on the CPU.  ``clip_skip``: 1 is the last layer, 2 the one before;
        whether the final layer norm follows is the family's own rule (SD1.5 yes, SDXL no).  Returns
        hidden states ``(n, 77, D)`` and the pooled output ``(n, Dp)`` at the first EOS of each row, or
        ``None`` for a family without one.
        """
        ...
