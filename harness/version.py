"""The version of Concord, as it is written into pictures."""

from __future__ import annotations

from ..core.version import VERSION

__all__ = ["VERSION"]
