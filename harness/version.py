"""The version of Concord, as it is written into pictures."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("sd-concord")
except PackageNotFoundError:  # a checkout that nobody installed
    VERSION = "0.1.0"
