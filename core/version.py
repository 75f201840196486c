"""The version of Concord, as it is written into pictures."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_CHECKOUT = "0.1.0"  # of a checkout that nobody installed, as hosts load it


def _version() -> str:
    try:
        return version("sd-concord")
    except PackageNotFoundError:
        return _CHECKOUT


VERSION = _version()
