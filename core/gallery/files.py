"""Files that appear whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path


def put(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, in place of what is there; raises ``OSError``."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
